"""The time of single images, on a clock that only the model and the loader move."""

from itertools import count
from types import SimpleNamespace

import pytest
from torch import nn

from egtr.experiments import latency
from egtr.experiments.latency import WARM_UP, measure_latency, summarize


def test_summary_computed_by_hand():
    # Sorted: 10, 20, 30, 40, 100 ms. The percentiles lie at 2, 3.6 and 3.96 steps from the first value.
    found = summarize([0.03, 0.01, 0.1, 0.02, 0.04], [0.005, 0.001, 0.0, 0.0, 0.004])
    assert found.images == 5 and found.images_per_second == pytest.approx(25)
    assert [found.mean_ms, found.p50_ms, found.max_ms, found.waiting_ms] == pytest.approx([40, 30, 100, 2])
    assert [found.p90_ms, found.p99_ms] == pytest.approx([40 + 0.6 * 60, 40 + 0.96 * 60])


class Clocked(nn.Module):
    """A model whose first calls take 100 s, as they load code, and whose later ones take 2 s."""

    def __init__(self, clock):
        super().__init__()
        self.clock, self.calls = clock, count()
        self.seen = []

    def forward(self, batch):
        assert not self.training
        self.clock[0] += 100 if next(self.calls) < WARM_UP else 2
        self.seen.append(batch)


def test_first_calls_and_the_loader_do_not_count(monkeypatch):
    clock = [0.0]
    # Only there, as other threads of the process look at the clock, too.
    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def load():
        for number in range(4):
            clock[0] += 0.5
            yield [number]

    model = Clocked(clock).train()
    found = measure_latency(model, load())
    assert model.seen == [[0]] * (WARM_UP + 1) + [[1], [2], [3]]
    assert (found.images, found.mean_ms, found.max_ms) == (4, 2000, 2000)
    # The first image is there before the measurement begins; the three others take half a second each.
    assert found.waiting_ms == pytest.approx(1500 / 4)
    assert model.training
