"""Speed of exported models in their runtimes, compared with the model in PyTorch."""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from egtr.config import read_config
from egtr.export.network import ExportedNetwork
from egtr.export.onnx import trace
from egtr.export.openvino import convert
from egtr.lite.session import open_session
from egtr.structures import ModelInfo

from .case import Case
from .contestants import without_choice
from .measure import time_once

# Configuration, further keys, height and width.
MODELS: dict[str, tuple[str, list[Any], tuple[int, int]]] = {
    "deformable": ("vg150_egtr.yaml", [], (600, 1000)),
    "rtdetr": ("vg150_rtdetr_egtr.yaml", ["MODEL.EGTR.BACKBONE.NAME", "resnet18d"], (640, 640)),
    "scenes": ("scenes/rtdetr.yaml", [], (192, 224)),
}


def measure_runtimes(names: list[str], runs: int, threads: int, int8: bool = False) -> dict[str, dict[str, float]]:
    """Measure the networks of models with random weights, from pixels to the scores of all pairs.

    All contestants run in turn in one process, and a contestant is compared with the base in the same turn, so that
    a slow moment of the machine meets both.

    Args:
        names: models, of MODELS; the first one's float32 in PyTorch with F.linear is the base.
        runs: turns that count; a first one does not.
        threads: threads of each contestant.
        int8: also OpenVINO in int8, with bfloat16 for the rest. Noise calibrates it, so only its time is of use.

    Returns:
        For each contestant the median of its "seconds"; of its time divided by the base's, "share"; and of its time
        divided by the fastest of its model in PyTorch, "of fastest".
    """
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        calls: dict[str, Callable[[], Any]] = {}
        for name in names:
            calls |= _contestants(name, Path(folder), threads, int8)
        seconds: dict[str, list[float]] = {label: [] for label in calls}
        for turn in tqdm(range(runs + 1), unit="turn", disable=None, leave=False):
            for label, call in calls.items():
                elapsed = time_once(call)
                if turn:
                    seconds[label].append(elapsed)
    base = next(iter(seconds.values()))
    report = {}
    for name in names:
        own = {label: found for label, found in seconds.items() if label.startswith(f"{name}, ")}
        eager = [found for label, found in own.items() if label.startswith(f"{name}, PyTorch")]
        fastest = min(eager, key=statistics.median)
        for label, found in own.items():
            shares = {"share": _share(found, base), "of fastest": _share(found, fastest)}
            report[label] = {"seconds": statistics.median(found)} | shares
    return report


def _share(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def _contestants(name: str, folder: Path, threads: int, int8: bool) -> dict[str, Callable[[], Any]]:
    config, keys, size = MODELS[name]
    case = Case.from_config(read_config(config, ["MODEL.DEVICE", "cpu", *keys]), *size)
    model = case.build_model().eval()
    network, image = ExportedNetwork(model), torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)) * 255

    pixels = image.numpy()

    def eager(bfloat16: bool = False) -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            network(image)

    calls = {
        "PyTorch float32, F.linear": without_choice(eager),
        "PyTorch float32": eager,
        "PyTorch bfloat16": lambda: eager(bfloat16=True),
    }
    files = {"onnxruntime float32": folder / f"{name}.onnx", "OpenVINO float32": folder / f"{name}.xml"}
    traced = files["onnxruntime float32"]
    trace(model, ModelInfo(), traced, size)
    convert(traced, files["OpenVINO float32"])
    files["OpenVINO bfloat16"] = files["OpenVINO float32"]
    if int8:
        files["OpenVINO int8 and bfloat16"] = folder / f"{name}_int8.xml"
        convert(traced, files["OpenVINO int8 and bfloat16"], [pixels])
    for label, file in files.items():
        precision = "bfloat16" if label.endswith("bfloat16") else "float32"
        session = open_session(str(file), threads=threads, precision=precision)
        calls[label] = lambda session=session: session.run(pixels)
    return {f"{name}, {label}": call for label, call in calls.items()}
