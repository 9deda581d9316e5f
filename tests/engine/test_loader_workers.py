"""The errors of processes that read images, as a user sees them."""

import sys

import pytest
from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader

from egtr.data import build_test_loader, build_train_loader
from egtr.data.annotated_image import BrokenImageError
from egtr.engine.loader_workers import explaining_worker_errors
from egtr.experiments.relation_analysis import load_annotated
from egtr.structures import ConfigurationError, EGTRError
from tests.running import largest_file


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


@pytest.mark.skipif(sys.platform != "linux", reason="files in memory are files of Linux")
@pytest.mark.parametrize("kind", ["train", "test", "analysis"])
# PyTorch raises its own error about the same worker again, and Python ignores it, if the loader is freed just then.
@pytest.mark.filterwarnings("ignore:.*_MultiProcessingDataLoaderIter.__del__:pytest.PytestUnraisableExceptionWarning")
def test_a_batch_that_is_lost_ends_the_loader(kind, make_cfg, tiny_dataset, monkeypatch, capfd):
    """Python drops what a process cannot hand over; without the end of the worker, the loader waits without end."""
    cfg = make_cfg({"DATALOADER.NUM_WORKERS": 1})
    make = {
        "train": lambda: build_train_loader(cfg),
        "test": lambda: build_test_loader(cfg, tiny_dataset.val),
        "analysis": lambda: load_annotated(cfg, tiny_dataset.val),
    }[kind]
    # A loader that waits without end would say so after a minute, in other words.
    init = DataLoader.__init__
    monkeypatch.setattr(DataLoader, "__init__", lambda self, *a, **k: init(self, *a, **{**k, "timeout": 60}))
    with largest_file(4096), pytest.raises(EGTRError, match="process that reads images.*ulimit -f"):
        with explaining_worker_errors(1, "then go on"):
            next(iter(make()))
    assert "a batch cannot be handed over, unable to resize file" in capfd.readouterr().err


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
    beginning = r"^(A )?DataLoader worker .*\w.*process that reads images"
    with pytest.raises(EGTRError, match=beginning + ".*memory.*NUM_WORKERS.*, then go on$"):
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
