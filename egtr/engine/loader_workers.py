"""The processes that read images for a loader: how they start, and how their errors are reported."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from egtr.structures import EGTRError, TrainingError
from egtr.structures.errors import library_kind


def init_worker(init: Callable[[int], None] | None, worker_id: int) -> None:
    """Make a loader's worker ignore stop signals that are sent to its whole process group.

    The last step still needs it. Only the process that it works for ends it.

    Args:
        init: the loader's own ``worker_init_fn``.
        worker_id: for ``init``.
    """
    for number in (signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    # Not every system has this (macOS does not): there a worker ends with its group.
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, daemon=True).start()
    if init is not None:
        init(worker_id)


def _end_with_parent() -> None:
    # A handler could not tell which process has sent the signal.
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


@contextmanager
def explaining_worker_errors(workers: int, remedy: str) -> Iterator[None]:
    """Turn an error of a loader's worker, or its death, into one clear error.

    Args:
        workers: DATALOADER.NUM_WORKERS; with 0 nothing is changed.
        remedy: what to do after a worker has died, as the end of a sentence.

    Raises:
        EGTRError: the worker's own error, without the traceback that PyTorch puts around its message; or one in
            place of PyTorch's error about a worker that has died.
    """
    try:
        yield
    except EGTRError as error:
        name = f"{type(error).__module__}.{type(error).__qualname__}: "
        message = str(error).rpartition(name)[2].strip()
        if not workers or message == str(error):
            raise
        raise library_kind(error)(message) from None
    except (RuntimeError, ConnectionError, EOFError) as error:
        if not workers or not _tells_of_death(error):
            raise
        told = str(error).strip().rstrip(".")
        if not isinstance(error, RuntimeError):
            # A broken connection does not name the worker, and may say nothing.
            told = f"A DataLoader worker has ended ({told or type(error).__name__})"
        raise TrainingError(
            f"{told}. It is a process that reads images; most likely the system ended it "
            "because memory ran out: that of the machine, of the job, or /dev/shm, or its files may not be so large "
            f"(ulimit -f). Lower DATALOADER.NUM_WORKERS or give the job more memory, {remedy}"
        ) from error


def _tells_of_death(error: Exception) -> bool:
    # PyTorch has no separate class for this error. Any line may raise it, because a signal handler does so.
    if isinstance(error, RuntimeError):
        return str(error).startswith("DataLoader worker (pid")
    # The connection to a dead worker breaks before the system says that it is dead. An error that a living worker
    # has raised begins with "Caught".
    return not str(error).startswith("Caught")
