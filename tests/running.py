"""Ways to run things in tests: in a process of its own, until it is killed, on a full disk, behind a web server."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# Seconds in which a run makes some steps even on a busy machine.
LONG = 300


def run_python(
    *words: object,
    cwd: Path | None = None,
    search: Sequence[Path] = (),
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess:
    """Run this Python in a process of its own, for tests of imports and of exit statuses.

    Args:
        words: its arguments, such as ``"-c", code``.
        cwd: its working directory.
        search: folders in which it looks for modules first. Without them it gets this process's PYTHONPATH.
        variables: changes to this process's environment.
    """
    environment = os.environ | dict(variables or {})
    if search:
        environment["PYTHONPATH"] = os.pathsep.join(map(str, search))
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process become larger than ``size`` bytes, as on a disk that is full."""
    # Here, since Windows has no such module, and tests of egtr.lite run there.
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass


@contextmanager
def served(folder: Path, handler: type[SimpleHTTPRequestHandler] = QuietHandler) -> Iterator[str]:
    """Serve a folder by HTTP on this machine until the end of the block; yields its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def children(pid: int) -> list[int]:
    """List the processes that a process has started and has not waited for."""
    with suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


class Run:
    """A training run of :mod:`benchmarks.soak.child` in a folder; ``losses`` are those of all its processes."""

    def __init__(self, folder: Path, options: dict, words: list[str]):
        self.folder, self.file, self.printed = folder / "run", folder / "losses.jsonl", folder / "printed.txt"
        options = options | {"OUTPUT_DIR": str(self.folder)}
        self.words = [*words, *(str(word) for pair in options.items() for word in pair)]

    @contextmanager
    def start(self, launcher: Sequence[str] = ()) -> Iterator[subprocess.Popen]:
        """Start the run in a group of processes of its own, and end all of them after the block.

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
            # The processes that torchrun starts are in groups of their own.
            for pid in [process.pid, *children(process.pid)]:
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            process.wait()

    @property
    def losses(self) -> list[tuple[int, float]]:
        """(iteration, loss) of each step; a last line that is cut off is left out."""
        lines = self.file.read_text().splitlines(keepends=True) if self.file.exists() else []
        return [tuple(json.loads(line).values()) for line in lines if line.endswith("\n")]

    def wait_for(self, process: subprocess.Popen, number: int) -> None:
        """Wait until the run has written ``number`` losses."""
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
    # Here, since tests that need no torch use this module too.
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    # As in other processes of a run: warnings are errors only in the one that runs the tests.
    warnings.simplefilter("default")
    dist.init_process_group("gloo", init_method=f"file://{folder / 'group'}", rank=rank, world_size=count)
    function()
    dist.destroy_process_group()
