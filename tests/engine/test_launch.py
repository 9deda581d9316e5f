"""Errors of the processes of a run, as the one that has started them raises them."""

import atexit
import importlib
import os
import time
from argparse import Namespace

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from egtr.engine import launch
from egtr.structures import DataError, EGTRError

# The package has a function of the same name.
MODULE = importlib.import_module("egtr.engine.launch")
TWO = {"num_gpus": 2, "num_machines": 1, "machine_rank": 0, "dist_url": "auto"}


def fail(args: Namespace) -> None:
    raise args.error


@pytest.mark.parametrize("kind", [ProcessRaisedException, ProcessExitedException])
def test_the_cause_is_raised_whichever_process_ends_first(monkeypatch, kind):
    """The first may only have lost its connection to the one with the error."""

    def start(main, *processes, args):
        with pytest.raises(EGTRError):
            main(*args)
        status = (1,) if kind is ProcessExitedException else ()
        raise kind("ConnectionResetError: [Errno 104] Connection reset by peer", 1, 4711, *status)

    monkeypatch.setattr(MODULE, "launch_processes", start)
    with pytest.raises(DataError, match=r"^first line\nsecond line$"):
        launch(fail, Namespace(**TWO, error=DataError("first line\nsecond line")))


class OwnError(DataError):
    """An error of a user's extension, which the starting process does not know."""

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.number = number


def test_an_error_of_a_user_s_class_and_a_long_message_arrive(monkeypatch):
    def start(main, *processes, args):
        with pytest.raises(OwnError):
            main(*args)
        raise ProcessRaisedException("no matter", 0, 4711)

    monkeypatch.setattr(MODULE, "launch_processes", start)
    with pytest.raises(DataError) as caught:
        launch(fail, Namespace(**TWO, error=OwnError("x" * 70_000, 3)))
    assert type(caught.value) is DataError and str(caught.value) == "x" * 10_000


def test_an_error_of_another_kind_is_raised_as_it_is(monkeypatch):
    def start(main, *processes, args):
        with pytest.raises(KeyError):
            main(*args)
        raise ProcessRaisedException("KeyError: 'EGTRError: no'", 0, 4711)

    monkeypatch.setattr(MODULE, "launch_processes", start)
    with pytest.raises(ProcessRaisedException, match="KeyError"):
        launch(fail, Namespace(**TWO, error=KeyError("EGTRError: no")))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_processes_on_the_cpu_are_announced_in_one_line_and_keep_warnings_to_themselves(monkeypatch, capfd):
    seen = {}
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    monkeypatch.setattr(MODULE, "launch_processes", lambda *words, args: seen.update(os.environ))
    launch(fail, Namespace(**TWO))
    line = "No GPU is available: --num-gpus 2 starts 2 processes on the CPU\n"
    assert capfd.readouterr() == ("", line)
    assert seen["PYTHONWARNINGS"] == "ignore::FutureWarning" and "PYTHONWARNINGS" not in os.environ


def test_processes_that_end_well_return_nothing(monkeypatch):
    monkeypatch.setattr(MODULE, "launch_processes", lambda main, *processes, args: main(*args))
    assert launch(lambda args: "unused", Namespace(**TWO)) is None


def fail_and_be_missed(args: Namespace) -> None:
    """Fail in the second process; the first one loses its connection and ends long before."""
    if dist.get_rank() == 1:
        try:
            raise DataError("train.json: no such image")
        finally:
            dist.destroy_process_group()
            # The error is noted when this function is left, and the process ends two seconds later.
            atexit.register(time.sleep, 2)
    dist.barrier()


@pytest.mark.slow
def test_two_real_processes_of_which_one_fails():
    with pytest.raises(DataError, match=r"^train\.json: no such image$"):
        launch(fail_and_be_missed, Namespace(**TWO))
