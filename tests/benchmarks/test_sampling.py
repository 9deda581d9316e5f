"""Which figures of deformable sampling are printed."""

import pytest

from benchmarks import Timing, sampling
from egtr.layers.deformable_sampling import CompiledBagsOfRows


@pytest.mark.parametrize("works", [True, False])
def test_what_was_not_compiled_has_no_time(works, monkeypatch):
    """Its arithmetic ran all the same, uncompiled, and would pass for what it is not."""
    monkeypatch.setattr(CompiledBagsOfRows, "works", works)
    monkeypatch.setattr(sampling, "build_sampling", lambda case, queries, training: {})
    timings = {"compiled": Timing(0.25, {}), "gather": Timing(0.5, {})}
    monkeypatch.setattr(sampling, "measure_time", lambda contestants, runs: timings)
    found = sampling.measure_sampling(None, "encoder", False, 5)
    assert found == {"compiled": 0.25 if works else None, "gather": 0.5}
