"""Times and amounts of memory that are known beforehand are measured right."""

import os
import time
from functools import partial

import pytest
import torch

from benchmarks import measure
from benchmarks.measure import Contestant, Memory, measure_memory, measure_time
from egtr.structures import EGTRError


class Sleeper:
    def __init__(self):
        self.calls = []

    def nap(self, seconds):
        time.sleep(seconds)
        return seconds

    def __call__(self, seconds):
        self.calls.append(seconds)
        self.nap(seconds)
        return self.nap(seconds)


def test_time_of_a_whole_and_of_its_part():
    sleeper = Sleeper()
    contestants = {
        "naps": Contestant(sleeper, 0.02, None, {"nap": (sleeper, "nap")}),
        "nothing": Contestant(lambda _: None, None, None),
    }
    timings = measure_time(contestants, runs=3)
    assert sleeper.calls == [0.02] * 4  # one call to warm up
    # Two naps of 20 ms a call; sleep never ends early.
    assert 0.04 <= timings["naps"].parts["nap"] <= timings["naps"].seconds
    assert timings["nothing"].seconds < 0.02
    assert timings["nothing"].parts == {}
    assert "nap" not in vars(sleeper)  # the method is the class's again


def build_array(megabytes):
    """Build a contestant that fills an array of that number of MB, and frees it."""
    return Contestant(lambda size: torch.ones(int(size * 250_000)).sum(), megabytes, 1)


def test_memory_is_what_a_call_adds():
    memory = measure_memory(partial(build_array, 300), processes=1)
    assert memory.added == pytest.approx(300, abs=15)
    assert memory.total > memory.added


@pytest.mark.parametrize(("processes", "median"), [(1, 9), (2, 9), (3, 5), (5, 4)])
def test_memory_is_that_of_the_median_process(processes, median, monkeypatch):
    # Sorted: 9; 5 9; 2 5 9; 2 3 4 5 9. Of two, the upper one counts.
    runs = iter(Memory(added, added + 100.0) for added in (9.0, 5.0, 2.0, 4.0, 3.0))
    monkeypatch.setattr(measure, "_measure_in_process", lambda build, args: next(runs))
    assert measure_memory(build_array, 1, processes=processes) == (median, median + 100, 0)
    assert len(list(runs)) == 5 - processes


def die():
    os._exit(1)


@pytest.mark.slow
def test_a_killed_process_is_one_clear_error():
    with pytest.raises(EGTRError, match="was killed"):
        measure_memory(die)
