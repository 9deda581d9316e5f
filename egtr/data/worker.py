"""A loader's worker that cannot hand over what it has read."""

import multiprocessing.queues
import os
import sys
from collections.abc import Callable
from typing import Any

from torch.utils.data import DataLoader


def end_lost_workers(loader: DataLoader) -> DataLoader:
    """Let a worker of a loader end when a batch of it is lost, and return the loader.

    Workers hand over tensors in files in memory. Where such a file cannot be made (/dev/shm is full, or the size of
    files is limited), Python prints a traceback in the worker and drops the batch, for which the loader would wait
    without end. The end of a worker is noticed: the loader then raises an error.
    """
    loader.worker_init_fn = _Init(loader.worker_init_fn)
    return loader


class _Init:
    """The ``worker_init_fn`` of a loader, after one for lost batches; a class, because workers may be spawned."""

    def __init__(self, init: Callable[[int], None] | None):
        self.init = init

    def __call__(self, worker_id: int) -> None:
        # Python calls this hook in the thread that sends. concurrent.futures replaces it in the same way.
        multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end)
        if self.init is not None:
            self.init(worker_id)


def _end(error: Exception, lost: Any) -> None:
    print(f"loader's worker: a batch cannot be handed over, {error}", file=sys.stderr, flush=True)
    os._exit(1)
