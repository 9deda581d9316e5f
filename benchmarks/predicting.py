"""Processor time of ``egtr.predict`` for an image by several models, and the speed of processes side by side."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from tqdm import tqdm

import egtr
from egtr.data import get_metadata
from egtr.inference import EGTRPredictor
from egtr.structures import ConfigurationError

# Turns of one process and of all processes; the first does not count.
TURNS = 4
# Each process of :func:`measure_before` runs this, with the code of its checkout. The first time does not count.
CHILD = """
import json, sys, time
from itertools import islice
import egtr
files = json.load(sys.stdin)
graphs = egtr.predict(sys.argv[1], 2 * files)
list(islice(graphs, len(files)))
cpu, start = time.process_time(), time.perf_counter()
list(graphs)
print(json.dumps([egtr.__file__, time.process_time() - cpu, time.perf_counter() - start]))
"""


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
    return _compare(turns, len(files))


def measure_before(name: str, files: Sequence[str], runs: int, before: Path) -> dict[str, dict[str, float]]:
    """Measure the same for a model in this checkout and in one of an earlier commit, with its code and its weights.

    Each turn is a process of its own, which predicts all images once before its time counts.

    Args:
        name: a model that both checkouts have.
        before: root of the earlier checkout, which is the base.

    Raises:
        ConfigurationError: the folder holds no checkout, or its code cannot predict the images.
    """
    checkouts = {f"{name}, now": Path(egtr.__file__).parents[1], f"{name}, before": before.resolve()}
    turns: dict[str, list[tuple[float, float]]] = {title: [] for title in checkouts}
    for title in tqdm(list(checkouts) * runs, unit="process", disable=None, leave=False):
        turns[title].append(_time_checkout(checkouts[title], name, files))
    return _compare(turns, len(files))


def _time_checkout(root: Path, name: str, files: Sequence[str]) -> tuple[float, float]:
    """Predict all images with the code below ``root``; return its :func:`_time_all`."""
    if not (root / "egtr" / "__init__.py").is_file():
        raise ConfigurationError(
            f"--before {root}: has no folder egtr; give the root of a checkout of this repository"
        )
    found = subprocess.run(
        [sys.executable, "-c", CHILD, name],
        input=json.dumps([str(Path(file).resolve()) for file in files]),
        capture_output=True,
        text=True,
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        check=False,
    )
    if found.returncode:
        last = found.stderr.strip().rpartition("\n")[2]
        raise ConfigurationError(f"--before {root}: its code cannot predict with the model {name}: {last}")
    path, cpu, passed = json.loads(found.stdout.splitlines()[-1])
    assert Path(path).is_relative_to(root), path
    return cpu, passed


def _compare(turns: Mapping[str, Sequence[tuple[float, float]]], images: int) -> dict[str, dict[str, float]]:
    """Take the medians over turns, of (processor, passed) seconds and of shares of the last contestant's."""
    report, base = {}, list(turns.values())[-1]
    for name, found in turns.items():
        shares = [
            [mine / its for mine, its in zip(times, others, strict=True)]
            for times, others in zip(found, base, strict=True)
        ]
        cpu, passed = (1000 * statistics.median(column) / images for column in zip(*found, strict=True))
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
