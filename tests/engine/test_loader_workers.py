"""The errors of processes that read images, as a user sees them."""

import pytest
from torch._utils import ExceptionWrapper

from egtr.data.annotated_image import BrokenImageError
from egtr.engine.loader_workers import explaining_worker_errors
from egtr.structures import ConfigurationError, EGTRError


def run(error: Exception, workers: int = 2) -> None:
    with explaining_worker_errors(workers, "then go on"):
        raise error


def raised_in_a_worker(error: Exception) -> Exception:
    """Return the error that PyTorch raises in the main process for an error of a worker."""
    try:
        raise error
    except Exception:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(type(error)) as caught:
        wrapped.reraise()
    assert "Traceback" in str(caught.value)
    return caught.value


@pytest.mark.parametrize("kind", [EGTRError, ConfigurationError, BrokenImageError])
def test_an_error_of_a_worker_keeps_its_kind_and_its_own_words(kind):
    with pytest.raises(kind) as caught:
        run(raised_in_a_worker(kind("1.png: is cut off\nCopy it there again")))
    assert type(caught.value) is kind and str(caught.value) == "1.png: is cut off\nCopy it there again"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
        RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"),
        ConnectionResetError(104, "Connection reset by peer"),
        EOFError(),
    ],
)
def test_a_worker_that_dies_is_one_clear_error(error):
    with pytest.raises(EGTRError, match="process that reads images.*memory.*NUM_WORKERS.*, then go on$"):
        run(error)


@pytest.mark.parametrize(
    ("error", "workers"),
    [
        (EGTRError("its own"), 2),
        (RuntimeError("shapes do not match"), 2),
        (ConnectionResetError("out of a mapper that reads from a server"), 0),
        (raised_in_a_worker(ConnectionResetError("the same in a worker")), 2),
    ],
)
def test_other_errors_stay_as_they_are(error, workers):
    with pytest.raises(type(error)) as caught:
        run(error, workers)
    assert caught.value is error
