"""Processor time of ``egtr.predict`` for an image by several models, and the speed of processes side by side."""

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from tqdm import tqdm

import egtr
from egtr.data import get_metadata
from egtr.inference import EGTRPredictor

# Turns of one process and of all processes; the first does not count.
TURNS = 4


def list_files(cfg: CfgNode, images: int | None) -> list[str]:
    """List the files of DATASETS.TEST[0]: only this number of them, from the first, or all.

    Raises:
        DataError: there is no such dataset, or it cannot be read.
    """
    name = cfg.DATASETS.TEST[0]
    get_metadata(name)
    return [record["file_name"] for record in islice(DatasetCatalog.get(name), images)]


def measure_predicting(names: Sequence[str], files: Sequence[str], runs: int) -> dict[str, dict[str, float]]:
    """Measure the time that models take for an image, from its file to its graph, in turn in one process.

    Args:
        names: models, as ``egtr.predict`` takes them; the last one is the base.
        files: images; each turn predicts all of them.
        runs: turns that count; a first one does not.

    Returns:
        For each model the medians of "cpu_ms", processor time of all threads for an image in milliseconds; of "ms",
        the time that passes; and of the shares of the base's in the same turn, "cpu_share" and "share".

    Raises:
        EGTRError: a model cannot be loaded, or an image cannot be read.
    """
    models = {name: EGTRPredictor.create(name) for name in names}
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for turn in tqdm(range(runs + 1), unit="turn", disable=None, leave=False):
        for name, model in models.items():
            times = _time_all(model, files)
            if turn:
                turns[name].append(times)
    report, base = {}, turns[names[-1]]
    for name, found in turns.items():
        shares = [
            [mine / its for mine, its in zip(times, others, strict=True)]
            for times, others in zip(found, base, strict=True)
        ]
        cpu, passed = (1000 * statistics.median(column) / len(files) for column in zip(*found, strict=True))
        cpu_share, share = (statistics.median(column) for column in zip(*shares, strict=True))
        report[name] = {"cpu_ms": cpu, "ms": passed, "cpu_share": cpu_share, "share": share}
    return report


def _time_all(model: EGTRPredictor, files: Sequence[str]) -> tuple[float, float]:
    """Predict all images; return the seconds of the processor, and those that passed."""
    cpu, start = time.process_time(), time.perf_counter()
    for _ in egtr.predict(model, files):
        pass
    return time.process_time() - cpu, time.perf_counter() - start


def measure_processes(name: str, files: Sequence[str], processes: int) -> dict[str, Any]:
    """Compare the images that processes of one thread each predict in a second with those of a single one.

    Turns of one process and of all of them alternate. In a turn all begin at once and predict all images, and the
    turn lasts until the last one has finished.

    Returns:
        "processes"; "alone" and "together", medians of images/s; "gain", the median of their ratios in a turn.
    """
    context = get_context("spawn")
    start = context.Barrier(processes)
    with ProcessPoolExecutor(processes, context, _open, (name, start)) as pool:
        # Each process waits for the others, so that none takes two parts of a turn.
        def turn(working: int) -> float:
            work = [list(files) if number < working else [] for number in range(processes)]
            return working * len(files) / max(pool.map(_work, work))

        speeds = [(turn(1), turn(processes)) for _ in tqdm(range(TURNS), unit="turn", disable=None, leave=False)][1:]
    alone, together = (statistics.median(column) for column in zip(*speeds, strict=True))
    gain = statistics.median(both / one for one, both in speeds)
    return {"processes": processes, "alone": alone, "together": together, "gain": gain}


def _open(name: str, start: Any) -> None:
    """Load the model of a process, and keep it with the barrier at which the processes meet."""
    global _model, _start
    torch.set_num_threads(1)
    _model, _start = EGTRPredictor.create(name), start


def _work(files: list[str]) -> float:
    """Predict images when all processes are ready; return the seconds that it takes."""
    _start.wait()
    begin = time.perf_counter()
    for _ in egtr.predict(_model, files) if files else ():
        pass
    return time.perf_counter() - begin
