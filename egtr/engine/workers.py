"""Workers of loaders that die."""

from collections.abc import Iterator
from contextlib import contextmanager

from egtr.structures import EGTRError


@contextmanager
def explaining_dead_workers(remedy: str) -> Iterator[None]:
    """Let a worker of a loader that is killed be one clear error.

    Args:
        remedy: what to do after that, as the end of a sentence.

    Raises:
        EGTRError: in place of PyTorch's error about such a worker.
    """
    try:
        yield
    except RuntimeError as error:
        # PyTorch has no class of its own for it. The error may come out of any line: a signal brings it.
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise EGTRError(
            f"{str(error).strip().rstrip('.')}. It is a process that reads images; most likely the system ended it "
            "because memory ran out: that of the machine, of the job, or /dev/shm. Lower DATALOADER.NUM_WORKERS or "
            f"give the job more memory, {remedy}"
        ) from error
