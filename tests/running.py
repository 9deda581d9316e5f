"""Training runs in processes of their own, for tests that kill them, and functions in several processes."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
import torch.distributed as dist


def children(pid: int) -> list[int]:
    """Processes that a process has started and that have not been waited for."""
    with suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


# Seconds in which some steps are made even on a busy machine.
LONG = 300


class Run:
    """A run of :mod:`benchmarks.soak.child` in a folder; ``losses`` are all that any of its processes wrote."""

    def __init__(self, folder: Path, options: dict, words: list[str]):
        self.folder, self.file, self.printed = folder / "run", folder / "losses.jsonl", folder / "printed.txt"
        options = options | {"OUTPUT_DIR": str(self.folder)}
        self.words = [*words, *(str(word) for pair in options.items() for word in pair)]

    @contextmanager
    def start(self, launcher: Sequence[str] = ()) -> Iterator[subprocess.Popen]:
        """The run, in a group of processes of its own, of which none is left in the end.

        Args:
            launcher: words between python and the module to run, such as those of torchrun.
        """
        module = ["-m", "benchmarks.soak.child", str(self.file), "0", "--resume"]
        command = [sys.executable, *launcher, *module, *self.words]
        with self.printed.open("a") as printed:
            process = subprocess.Popen(command, stdout=printed, stderr=printed, start_new_session=True)
        try:
            yield process
        finally:
            # Those that torchrun starts are in groups of their own.
            for pid in [process.pid, *children(process.pid)]:
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            process.wait()

    @property
    def losses(self) -> list[tuple[int, float]]:
        lines = self.file.read_text().splitlines(keepends=True) if self.file.exists() else []
        return [tuple(json.loads(line).values()) for line in lines if line.endswith("\n")]

    def wait_for(self, process: subprocess.Popen, number: int) -> None:
        latest = time.monotonic() + LONG
        while len(self.losses) < number:
            assert process.poll() is None and time.monotonic() < latest, self.printed.read_text()
            time.sleep(0.02)


def fork_processes(function: Callable[[], None], folder: Path, count: int = 2) -> None:
    """Run ``function`` in processes that are one group; an error in one of them is an error here.

    They are forked: they have imported all that this process has, which takes most of the time of a start.
    """
    context = multiprocessing.get_context("fork")
    groups = [(function, folder, rank, count) for rank in range(count)]
    processes = [context.Process(target=_join_group, args=group, daemon=True) for group in groups]
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
