"""The time that a trained model takes for each image of a dataset."""

import argparse
import logging
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from detectron2.evaluation.evaluator import inference_context
from tabulate import tabulate
from torch import nn
from tqdm import tqdm

from egtr.data import build_test_loader, check_dataset_matches_config
from egtr.engine import setup
from egtr.engine.launch import load_trained_model
from egtr.engine.loader_workers import explaining_worker_errors
from egtr.evaluation.report import write_json
from egtr.structures import ConfigurationError

logger = logging.getLogger(__name__)

# The first calls load code and start threads: they are made with the first image, and do not count.
WARM_UP = 3


@dataclass(frozen=True)
class Latency:
    """Times of single images, one after the other.

    Attributes:
        images: number of images.
        images_per_second: their number by the time that the model took for all of them.
        mean_ms, p50_ms, p90_ms, p99_ms, max_ms: time of an image in milliseconds: mean, percentiles, and the longest.
        waiting_ms: mean time for which the model waited for the loader to read and resize the next image, in
            milliseconds; no other value contains it.
    """

    images: int
    images_per_second: float
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    waiting_ms: float


@torch.no_grad()
def measure_latency(model: nn.Module, loader: Iterable[list[dict[str, Any]]]) -> Latency:
    """Measure how long a model takes for each batch of ``loader``, from pixels to the scene graph.

    The time begins with resized pixels in the memory of the CPU, and ends with the graph, when all work that was
    queued on a GPU is done. Reading, resizing and scoring do not count.

    Args:
        model: an EGTR, or another Detectron2 model.
        loader: batches of one image, at least one; such as from :func:`egtr.data.build_test_loader`.
    """
    spent, waited = [], []
    with inference_context(model):
        batches = iter(tqdm(loader, unit="image", disable=None, leave=False))
        first = next(batches)
        for _ in range(WARM_UP):
            _seconds(model, first)
        start = time.perf_counter()
        for batch in chain([first], batches):
            waited.append(time.perf_counter() - start)
            spent.append(_seconds(model, batch))
            start = time.perf_counter()
    return summarize(spent, waited)


def summarize(spent: list[float], waited: list[float]) -> Latency:
    """Summarize the seconds of each image: ``spent`` by the model, and ``waited`` for the loader."""
    milliseconds = 1000 * np.asarray(spent)
    percentiles = np.percentile(milliseconds, (50, 90, 99)).tolist()
    mean, longest = float(milliseconds.mean()), float(milliseconds.max())
    return Latency(len(spent), 1000 / mean, mean, *percentiles, longest, 1000 * float(np.mean(waited)))


def measure(args: argparse.Namespace) -> dict[str, Latency]:
    """Measure a trained model on each of DATASETS.TEST, log a table, and write OUTPUT_DIR/latency_<dataset>.json.

    Args:
        args: as :func:`egtr.engine.train_or_evaluate` takes them, with ``eval_only``.

    Raises:
        EGTRError: the configuration, the data or the weights are not usable.
    """
    cfg = setup(args)
    if not cfg.DATASETS.TEST:
        raise ConfigurationError("--latency: DATASETS.TEST is empty. Name a dataset to measure on")
    check_dataset_matches_config(cfg, train=False)
    model = load_trained_model(cfg, args.resume)
    device = torch.device(cfg.MODEL.DEVICE)
    about = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "threads": torch.get_num_threads(),
        "min_size": cfg.INPUT.MIN_SIZE_TEST,
        "max_size": cfg.INPUT.MAX_SIZE_TEST,
    }
    found = {}
    for name in cfg.DATASETS.TEST:
        with explaining_worker_errors(cfg.DATALOADER.NUM_WORKERS, "then measure again"):
            found[name] = measure_latency(model, build_test_loader(cfg, name))
        if cfg.OUTPUT_DIR:
            path = os.path.join(cfg.OUTPUT_DIR, f"latency_{name}.json")
            write_json(path, {"dataset": name, **about, **asdict(found[name])})
            logger.info("%s: written", path)
    rows = [{"dataset": name} | asdict(latency) for name, latency in found.items()]
    logger.info(
        "Time of the model for one image after the other, without reading and resizing, which waiting_ms is for; "
        "%s:\n%s",
        ", ".join(f"{key} {value}" for key, value in about.items()),
        tabulate(rows, headers="keys", tablefmt="pipe", floatfmt=".1f"),
    )
    return found


def _seconds(model: nn.Module, batch: list[dict[str, Any]]) -> float:
    _synchronize()
    start = time.perf_counter()
    model(batch)
    _synchronize()
    return time.perf_counter() - start


def _synchronize() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
