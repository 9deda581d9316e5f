"""The time of a correction on the page of `egtr serve`, in a real browser, beside that of a whole prediction."""

import io
import statistics
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from PIL import Image
from tqdm import tqdm

from egtr.config import read_config
from egtr.data.scenes import draw_scene
from egtr.inference import EGTRPredictor
from egtr.serving import Limits, ModelStore, Worker
from egtr.structures import EGTRError

from .browser import FLAGS, find_browser, serving
from .case import Case
from .measure import time_once

REAL_TIME = "vg150_rtdetr_egtr.yaml"
# Milliseconds that the page may take for one step.
PATIENCE = 120_000
# The steps that are timed: a correction, from the question to the graph drawn; the graph of the whole image, drawn;
# and all that the page does with a new image, which asks for explanations, too.
KINDS = ("correction", "graph", "page")
SCRIPT = """async ([kind, boxes]) => {
    if (boxes) corrector.objects = boxes.map((box) => ({ box, class: null }));
    const objects = structuredClone(corrector.objects);
    const [x1, y1, x2, y2] = objects[0].box;
    const step = x1 >= 4 ? -3 : 3;
    objects[0].box = [x1 + step, y1, x2 + step, y2];
    const start = performance.now();
    if (kind === "correction") {
        corrector.objects = objects;
        corrector.pending = Promise.withResolvers();
        const { promise } = corrector.pending;
        await corrector.ask();
        if (!(await promise)) throw new Error(byId("problem").textContent);
    } else {
        const parameters = kind === "page" ? readSelection() : { top_k: byId("top-k").value };
        const found = await (await post(kind === "page" ? "explanations" : "scene-graph", file, parameters)).json();
        const { graph, explanations = null } = kind === "page" ? found : { graph: found };
        corrector.page.show({ ...corrector.original, graph, explanations });
    }
    document.body.getBoundingClientRect();
    return performance.now() - start;
}"""


def measure_correcting(cases: dict[str, tuple[Any, np.ndarray, int | None]], runs: int) -> dict[str, dict[str, Any]]:
    """Measure milliseconds of corrections and of whole predictions, in turn, on the page, with one thread.

    The image has been seen before. The pause in which the page waits for further changes, before it asks, is not
    counted.

    Args:
        cases: name to model, image, (H, W, 3) uint8, RGB, and the number of boxes; None: the objects that are shown.
        runs: number of each of KINDS; one more, the first, is not counted.

    Returns:
        For each case "boxes", their number, and "runs"; "ms": the median of each of KINDS; "share": the median ratio
        of a correction to each other kind after it; "predict" and "relate", the medians of these calls without a
        server, in ms, and "model_share", their ratio.

    Raises:
        EGTRError: playwright or a browser is missing.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise EGTRError("correcting: playwright is missing; install it: pip install playwright") from error
    program = find_browser()
    if program is None:
        raise EGTRError("correcting: no Chromium or Chrome was found; install one, or name it in EGTR_BROWSER")
    found, threads = {}, torch.get_num_threads()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        for name, (model, image, count) in cases.items():
            worker = Worker(Limits())
            worker.submit(torch.set_num_threads, 1).result()
            with serving(ModelStore({name: model}), worker) as address:
                page = browser.new_page()
                page.set_default_timeout(PATIENCE)
                page.goto(address)
                found[name] = _measure_on_page(page, image, count, runs)
                page.close()
                model_only = worker.submit(_measure_model, model, image, found[name].pop("objects"), runs)
                found[name] |= model_only.result()
        browser.close()
    torch.set_num_threads(threads)
    return found


def _measure_on_page(page: Any, image: np.ndarray, count: int | None, runs: int) -> dict[str, Any]:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    page.set_input_files("#file", {"name": "image.png", "mimeType": "image/png", "buffer": file.getvalue()})
    page.locator("#correct").wait_for()
    page.click("#correct")
    boxes = None if count is None else _boxes(count, *image.shape[:2])
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    rounds = [(turn, kind) for turn in range(runs + 1) for kind in KINDS]
    for turn, kind in tqdm(rounds, unit="run", disable=None, leave=False):
        milliseconds = page.evaluate(SCRIPT, [kind, boxes])
        if turn:
            times[kind].append(milliseconds)
    objects = page.evaluate("corrector.objects")
    return {
        "boxes": len(objects),
        "runs": runs,
        "ms": {kind: statistics.median(found) for kind, found in times.items()},
        "share": {kind: _median_ratio(times["correction"], times[kind]) for kind in KINDS[1:]},
        "objects": objects,
    }


def _measure_model(
    model: EGTRPredictor, image: np.ndarray, objects: list[dict[str, Any]], runs: int
) -> dict[str, Any]:
    boxes, classes = [entry["box"] for entry in objects], [entry["class"] for entry in objects]
    remembered = model.remember(image, "RGB")
    calls = {"relate": lambda: remembered.relate(boxes, classes), "predict": lambda: model(image, "RGB")}
    times = {name: [time_once(call) for _ in range(runs + 1)][1:] for name, call in calls.items()}
    medians = {name: 1000 * statistics.median(found) for name, found in times.items()}
    return {**medians, "model_share": medians["relate"] / medians["predict"]}


def _median_ratio(these: list[float], others: list[float]) -> float:
    return statistics.median(this / other for this, other in zip(these, others, strict=True))


def _boxes(count: int, height: int, width: int) -> list[list[float]]:
    random = np.random.default_rng(0)
    corners = np.sort(random.uniform(0.02, 0.9, (count, 2, 2)), axis=1)
    corners[:, 1] += 0.05
    return (corners * (width, height)).reshape(count, 4).tolist()


def make_cases(cfg: CfgNode, side: int, count: int) -> dict[str, tuple[Any, np.ndarray, int | None]]:
    """Make the cases of the command: a trained model on a drawn scene, and an RT-DETR on a ResNet-50 on noise.

    Args:
        cfg: of the trained model.
        side: side of the image for the RT-DETR, whose weights are random, in pixels.
        count: number of its boxes.
    """
    case = Case.from_config(read_config(REAL_TIME, ["MODEL.DEVICE", cfg.MODEL.DEVICE]), side, side)
    # Box queries are the slower way.
    denoising = ("MODEL.EGTR.DENOISING.ENABLED", True, "MODEL.EGTR.DENOISING.UNKNOWN_LABEL", 0.3)
    model = case.build_model("INPUT.MIN_SIZE_TEST", side, "INPUT.MAX_SIZE_TEST", side, *denoising).eval()
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return {
        "scenes": (EGTRPredictor(cfg), draw_scene(0, "test", 0)[0], None),
        "rtdetr_r50": (EGTRPredictor.create(model), noise, count),
    }
