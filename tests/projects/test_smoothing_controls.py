"""The controls for adaptive smoothing, computed by hand."""

from pathlib import Path

import pytest
import torch

from egtr.config import import_extensions
from egtr.modeling import SMOOTHING_REGISTRY

FILE = Path(__file__).parents[2] / "projects/EGTR/smoothing_controls.py"
# Targets (1 - u_subject) * (1 - u_object): 0.72, 0.25, 0.06 and, without a query, 1.
SUBJECTS, OBJECTS = torch.tensor([0.1, 0.5, 0.8, 0.0]), torch.tensor([0.2, 0.5, 0.7, 0.0])
MATCHED = torch.tensor([True, True, True, False])


@pytest.fixture
def targets():
    import_extensions([str(FILE)])
    return lambda name: SMOOTHING_REGISTRY.get(name)().targets(SUBJECTS, OBJECTS, MATCHED)


def test_shuffled_targets_are_the_same_values_in_other_places(targets):
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        found, weights = targets("ShuffledSmoothing")
        assert weights is None and sorted(found[:3].tolist()) == pytest.approx([0.06, 0.25, 0.72])
        seen.add(tuple(round(value, 2) for value in found[:3].tolist()))
    assert len(seen) == 6


def test_mean_is_one_value(targets):
    found, weights = targets("MeanSmoothing")
    assert weights is None and found[:3].tolist() == pytest.approx([(0.72 + 0.25 + 0.06) / 3] * 3)


def test_down_weighting_leaves_targets_at_one(targets):
    found, weights = targets("DownWeighting")
    assert found.tolist() == [1] * 4 and weights[:3].tolist() == pytest.approx([0.72, 0.25, 0.06])
