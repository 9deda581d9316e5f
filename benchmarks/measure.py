"""Time and memory of calls."""

import ctypes
import gc
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from egtr.structures import EGTRError

STATUS = Path("/proc/self/status")


class Contestant(NamedTuple):
    """A step to measure, and its inputs.

    Attributes:
        step: the function that is timed; it takes ``inputs``.
        inputs: of the size to be measured.
        small: inputs of a small size, for the first call, which loads code and starts threads.
        parts: name of each part to an object and the name of its method; the time in this method counts as the part.
        kept: counts, after a call, the bytes that the first call allocates and keeps, such as an optimizer's state.
    """

    step: Callable[[Any], Any]
    inputs: Any
    small: Any
    parts: Mapping[str, tuple[Any, str]] = {}
    kept: Callable[[], int] | None = None


class Timing(NamedTuple):
    """Medians over the runs, in seconds: of the whole step, and of its parts."""

    seconds: float
    parts: dict[str, float]


def measure_time(contestants: Mapping[str, Contestant], runs: int) -> dict[str, Timing]:
    """Measure the median times of all contestants, in one process.

    Each gets one call to warm up. Then they run in turn, so that a slow moment of the machine meets all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    parts: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    rounds = [(turn, name) for turn in range(runs + 1) for name in contestants]
    for turn, name in tqdm(rounds, unit="run", disable=None, leave=False):
        contestant = contestants[name]
        with _stopwatches(contestant.parts) as spent:
            elapsed = time_once(lambda step=contestant.step, inputs=contestant.inputs: step(inputs))
        if turn:
            seconds[name].append(elapsed)
            parts[name].append(dict(spent))
    return {
        name: Timing(
            statistics.median(seconds[name]),
            {part: statistics.median(run[part] for run in parts[name]) for part in contestants[name].parts},
        )
        for name in contestants
    }


def time_once(call: Callable[[], Any]) -> float:
    """Measure the seconds of one call, including the work that it queues on a GPU."""
    _synchronize()
    start = time.perf_counter()
    call()
    _synchronize()
    return time.perf_counter() - start


def _synchronize() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


@contextmanager
def _stopwatches(parts: Mapping[str, tuple[Any, str]]) -> Iterator[dict[str, float]]:
    """Add up the time in methods, until the end of the block."""
    spent = dict.fromkeys(parts, 0.0)

    def watch(name: str, method: Callable) -> Callable:
        def watched(*args, **kwargs):
            _synchronize()
            start = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                _synchronize()
                spent[name] += time.perf_counter() - start

        return watched

    for name, (owner, method) in parts.items():
        # An attribute of the instance goes before the method of its class.
        setattr(owner, method, watch(name, getattr(owner, method)))
    try:
        yield spent
    finally:
        for owner, method in parts.values():
            delattr(owner, method)


class Memory(NamedTuple):
    """Resident memory in MB (10^6 bytes).

    Attributes:
        added: peak during the call, minus the memory before it.
        total: the whole process at that moment.
        kept: memory that the first, small call allocated and kept (:class:`Contestant`); not in ``added``.
    """

    added: float
    total: float
    kept: float = 0.0


def measure_memory(build: Callable[..., Contestant], *args: Any, processes: int = 3) -> Memory | None:
    """Measure the peak memory of one call in a fresh process; return the median of several processes.

    The same call adds about 10 to 20% more in one process than in the next, because each process lays out its heap
    differently, with gaps of freed memory that the call may or may not fill.

    Args:
        build: ``build(*args)`` makes the contestant in each process. It must be importable.
        args: arguments of ``build``, picklable.
        processes: number of processes, at least 1; they run one after the other.

    Returns:
        The memory of the process with the median peak (the upper one of two). With a GPU it is the memory of the
        tensors on it. None if the system does not report it: without a GPU, only Linux does.

    Raises:
        EGTRError: the process died, most likely because memory ran out.
    """
    if not (STATUS.exists() or torch.cuda.is_available()):
        return None
    found = sorted(_measure_in_process(build, args) for _ in range(processes))
    return found[processes // 2]


def _measure_in_process(build: Callable[..., Contestant], args: tuple) -> Memory:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(measure_here, build, args).result()
        except BrokenProcessPool as error:
            raise EGTRError(
                "benchmark: the process that measures memory was killed, most likely because memory ran out; "
                "measure a smaller case, or only time (--no-memory)"
            ) from error


def measure_here(build: Callable[..., Contestant], args: tuple) -> Memory:
    """Measure as :func:`measure_memory`, but in this process, so memory freed earlier may hide a part of the peak."""
    contestant = build(*args)
    contestant.step(contestant.small)
    kept = contestant.kept() / 1e6 if contestant.kept else 0.0
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 1e6
        contestant.step(contestant.inputs)
        peak = torch.cuda.max_memory_allocated() / 1e6
    else:
        _give_back_memory()
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        before = _status_field("VmRSS")
        contestant.step(contestant.inputs)
        peak = _status_field("VmHWM")
    return Memory(added=peak - before, total=peak, kept=kept)


def _give_back_memory() -> None:
    """Return freed memory to the system; otherwise the call could reuse it unnoticed. Only glibc keeps much of it."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status_field(name: str) -> float:
    """Read a field of /proc/self/status, in MB."""
    return int(re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())[1]) * 1024 / 1e6


def describe_machine() -> dict[str, Any]:
    """Describe the machine that figures depend on: processor, threads, GPU, version of PyTorch."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        model = found[1] if found else model
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"processor": model, "threads": torch.get_num_threads(), "gpu": gpu, "torch": torch.__version__}
