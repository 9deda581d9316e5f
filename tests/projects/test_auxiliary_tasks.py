"""Auxiliary tasks of the project: losses by hand, and that they are learned."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from egtr.config import import_extensions
from egtr.data.scenes import SCENES_FAMILIES, SCENES_PREDICATES
from egtr.modeling import RELATION_TASK_REGISTRY, Target
from egtr.modeling.target import Match
from egtr.structures import ConfigurationError
from tests.modeling.models import image, small_model

FILE = Path(__file__).resolve().parents[2] / "projects/EGTR/auxiliary_tasks.py"
# near and behind are spatial, has is possessive, riding is an action.
NAMES = ["near", "has", "behind", "riding"]
OBJECTS = Target(torch.zeros(3, dtype=torch.int64), torch.rand(3, 4), torch.zeros(0, 3, dtype=torch.int64))
# Object 0 is query 2, object 1 is query 0, object 2 has no query.
MATCH = Match(torch.tensor([2, 0]), torch.tensor([0, 1]), *torch.zeros(2, 2))


def make(*tasks):
    import_extensions([str(FILE)])
    options = ("MODEL.EGTR.RELATION.TASKS", list(tasks), "MODEL.EGTR.PREDICATE_NAMES", NAMES)
    return small_model(*options).train()


def loss_of(model, name, logits, relations):
    target = replace(OBJECTS, relations=torch.tensor(relations, dtype=torch.int64).reshape(-1, 3))
    return float(model.criterion.tasks[name].loss(logits, [target], [MATCH]))


def test_every_predicate_of_scenes_has_one_family():
    assert sorted(name for names in SCENES_FAMILIES.values() for name in names) == sorted(SCENES_PREDICATES)


def test_family_loss_by_hand():
    model = make("PredicateFamilyTask")
    logits = torch.zeros(1, 3, 3, 3)
    logits[0, 2, 0] = torch.tensor([1.0, -2.0, 3.0])
    # Pair (0, 1) is near and behind (one family) and riding; the pair with object 2 does not count.
    relations = [(0, 1, 0), (0, 1, 2), (0, 1, 3), (2, 1, 1)]
    expected = [math.log(1 + math.exp(-1)), math.log(1 + math.exp(-2)), math.log(1 + math.exp(-3))]
    assert loss_of(model, "predicate_family", logits, relations) == pytest.approx(sum(expected) / 3)
    # The other direction is possessive: three logits of 0 cost log 2 each.
    relations.append((1, 0, 1))
    expected = (sum(expected) + 3 * math.log(2)) / 6
    assert loss_of(model, "predicate_family", logits, relations) == pytest.approx(expected)


def test_direction_loss_by_hand():
    model = make("DirectionTask")
    logits = torch.zeros(1, 3, 3)
    logits[0, 2, 0], logits[0, 0, 2] = 1.5, -0.5
    wanted = math.log(1 + math.exp(-2))
    assert loss_of(model, "direction", logits, [(0, 1, 0), (0, 1, 3)]) == pytest.approx(wanted)
    assert loss_of(model, "direction", logits, [(1, 0, 0)]) == pytest.approx(2 + wanted)
    # Related in both directions, or with an object that has no query.
    assert loss_of(model, "direction", logits, [(0, 1, 0), (1, 0, 1), (0, 2, 0)]) == 0


@pytest.mark.parametrize("task", ["PredicateFamilyTask", "DirectionTask"])
def test_it_is_learned(task):
    model = make(task)
    name = f"loss_{RELATION_TASK_REGISTRY.get(task).name}"
    inputs = [image(), image(relations=())]
    optimizer = torch.optim.Adam(model.relation.parameters(), lr=0.01)
    course = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = model.losses(inputs)[0][name]
        loss.backward()
        optimizer.step()
        course.append(float(loss.detach()))
    assert course[-1] < 0.3 * course[0]
    # Nothing to learn from.
    nothing = model.losses([image(relations=()), image(boxes=(), classes=(), relations=())])[0][name]
    nothing.backward()
    assert nothing.item() == 0


def test_other_predicates_are_refused():
    import_extensions([str(FILE)])
    with pytest.raises(ConfigurationError, match="predicates of `scenes`"):
        small_model("MODEL.EGTR.RELATION.TASKS", ["PredicateFamilyTask"])
