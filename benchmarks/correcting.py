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

REAL_TIME = "vg150_rtdetr_egtr.yaml"
# Milliseconds that the page may take for one step.
PATIENCE = 120_000
# The rival is what the page would do without remembered images: it sends the image for a whole graph, and shows it.
SCRIPT = """async ([correct, boxes]) => {
    if (boxes) corrector.objects = boxes.map((box) => ({ box, class: null }));
    const objects = structuredClone(corrector.objects);
    const [x1, y1, x2, y2] = objects[0].box;
    const step = x1 >= 4 ? -3 : 3;
    objects[0].box = [x1 + step, y1, x2 + step, y2];
    const start = performance.now();
    if (correct) {
        corrector.objects = objects;
        corrector.pending = Promise.withResolvers();
        const { promise } = corrector.pending;
        await corrector.ask();
        if (!(await promise)) throw new Error(byId("problem").textContent);
    } else {
        const answer = await post("scene-graph", file, { top_k: byId("top-k").value });
        corrector.page.show({ ...corrector.original, graph: await answer.json(), explanations: null });
    }
    document.body.getBoundingClientRect();
    return performance.now() - start;
}"""


def measure_correcting(cases: dict[str, tuple[Any, np.ndarray, int | None]], runs: int) -> dict[str, dict[str, Any]]:
    """Measure milliseconds of corrections and of whole predictions, in turn, on the page, with one thread.

    A correction is timed from the question of the page to its answer, drawn. The pause before the question is not
    counted, in which the page waits for further changes. The image has been seen before.

    Args:
        cases: name to model, image, (H, W, 3) uint8, RGB, and the number of boxes; None: the objects that are shown.
        runs: number of corrections and of predictions; the first of each is not counted.

    Returns:
        For each case "boxes", their number; "correction_ms" and "prediction_ms", medians; "share", the median of
        the ratios of neighbours; "runs".

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
    found = {}
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
        browser.close()
    return found


def _measure_on_page(page: Any, image: np.ndarray, count: int | None, runs: int) -> dict[str, Any]:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    page.set_input_files("#file", {"name": "image.png", "mimeType": "image/png", "buffer": file.getvalue()})
    page.locator("#correct").wait_for()
    page.click("#correct")
    boxes = None if count is None else _boxes(count, *image.shape[:2])
    corrections, predictions = [], []
    for _ in tqdm(range(runs + 1), unit="run", disable=None, leave=False):
        corrections.append(page.evaluate(SCRIPT, [True, boxes]))
        predictions.append(page.evaluate(SCRIPT, [False, boxes]))
    number = page.evaluate("corrector.graph.objects.length")
    corrections, predictions = corrections[1:], predictions[1:]
    return {
        "boxes": number,
        "correction_ms": statistics.median(corrections),
        "prediction_ms": statistics.median(predictions),
        "share": statistics.median(c / p for c, p in zip(corrections, predictions, strict=True)),
        "runs": runs,
    }


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
