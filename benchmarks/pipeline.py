"""The time for which training waits for images to be read and resized."""

import time
from typing import NamedTuple

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from tqdm import tqdm

import egtr.modeling  # noqa: F401 - registers the architecture
from egtr.config.loading import without_pretrained
from egtr.data import build_train_loader, build_triplet_counts
from egtr.engine.optimizer import build_optimizer
from egtr.engine.random_state import seed_process
from egtr.engine.train_loop import build_train_loop

# Iterations in which the workers fill their queues.
WARMUP = 10


class Waiting(NamedTuple):
    """Seconds of all measured iterations together, and the part in which training waited for the next batch."""

    total: float
    waiting: float

    @property
    def share(self) -> float:
        """The share of the time, 0 to 1."""
        return self.waiting / self.total


def measure_waiting(cfg: CfgNode, iterations: int) -> Waiting:
    """Train from random weights for ``iterations``, after a few that do not count; nothing is written.

    Raises:
        DataError: DATASETS.TRAIN cannot be read.
    """
    cfg = without_pretrained(cfg)
    cfg.defrost()
    cfg.DATASETS.TEST = ()
    seed_process(cfg)
    model = build_model(cfg).train()
    if cfg.MODEL.EGTR.RELATION.ENABLED:
        model.set_relation_statistics(torch.from_numpy(build_triplet_counts(cfg).dense()))
    trainer = build_train_loop(cfg, model, build_train_loader(cfg), build_optimizer(cfg, model))
    with EventStorage() as storage:
        for iteration in tqdm(range(WARMUP + iterations), unit="it", disable=None, leave=False):
            if iteration == WARMUP:
                start = time.perf_counter()
            trainer.run_step()
            storage.step()
        total = time.perf_counter() - start
    waited = [seconds for seconds, iteration in storage.history("data_time").values() if iteration >= WARMUP]
    return Waiting(total, sum(waited))
