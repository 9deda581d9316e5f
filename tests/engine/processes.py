"""Functions in several processes at little cost."""

import multiprocessing
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from tests.running import LONG


def fork_processes(function: Callable[[], None], folder: Path, count: int = 2) -> None:
    """Run ``function`` in processes that are one group; an error in one of them is an error here.

    They are forked: they have imported all that this process has, which takes most of the time of a start.
    """
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_join_group, args=(function, folder, rank, count)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LONG)
    assert [process.exitcode for process in processes] == [0] * count


def _join_group(function: Callable[[], None], folder: Path, rank: int, count: int) -> None:
    torch.set_num_threads(1)
    # As in other processes of a run: warnings are errors only in the one that runs the tests.
    warnings.simplefilter("default")
    dist.init_process_group("gloo", init_method=f"file://{folder / 'group'}", rank=rank, world_size=count)
    function()
    dist.destroy_process_group()
