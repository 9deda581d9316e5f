"""Auxiliary tasks on pairs: offsets computed by hand, a user's own task, and inference without tasks."""

import math
import textwrap

import pytest
import torch

from egtr.config import import_extensions
from egtr.modeling import Target
from egtr.modeling.relation import BoxOffsetTask
from egtr.modeling.relation.tasks import box_offsets, related_pairs
from egtr.modeling.target import Match
from egtr.structures import ConfigurationError
from tests.modeling.models import image, small_model

TASKS = "MODEL.EGTR.RELATION.TASKS"


def test_offsets_by_hand():
    # The object lies one subject width to the right and half a height above; it is twice as wide and half as high.
    subject, object_ = torch.tensor([[0.4, 0.5, 0.2, 0.4]]), torch.tensor([[0.6, 0.3, 0.4, 0.2]])
    wanted = torch.tensor([[1.0, -0.5, math.log(2), -math.log(2)]])
    torch.testing.assert_close(box_offsets(subject, object_), wanted)


def test_related_pairs_are_those_of_matched_objects_each_once():
    # Object 2 is not matched; two predicates join (0, 1); (1, 1) joins an object to itself.
    relations = torch.tensor([[0, 1, 3], [0, 1, 0], [1, 2, 0], [1, 1, 0], [1, 0, 2]])
    target = Target(torch.zeros(3, dtype=torch.int64), torch.rand(3, 4), relations)
    match = Match(torch.tensor([5, 7]), torch.tensor([1, 0]), *torch.zeros(2, 2))
    queries, objects = related_pairs(target, match)
    assert objects.tolist() == [[0, 1], [1, 0]]
    assert queries.tolist() == [[7, 5], [5, 7]]


def test_loss_by_hand():
    """One related pair: the prediction is 0, the offsets are (1, -0.5, ln 2, -ln 2), none larger than 1."""
    boxes = torch.tensor([[0.4, 0.5, 0.2, 0.4], [0.6, 0.3, 0.4, 0.2]])
    target = Target(torch.zeros(2, dtype=torch.int64), boxes, torch.tensor([[0, 1, 0]]))
    match = Match(torch.tensor([0, 1]), torch.tensor([0, 1]), *torch.zeros(2, 2))
    loss = BoxOffsetTask.loss(BoxOffsetTask, torch.zeros(1, 2, 2, 4), [target], [match])
    assert float(loss) == pytest.approx((0.5 * 1 + 0.5 * 0.25 + 2 * 0.5 * math.log(2) ** 2) / 4)


def test_no_relations_no_loss_but_a_gradient():
    model = small_model(TASKS, ["BoxOffsetTask"]).train()
    losses, _ = model.losses([image(relations=())])
    assert losses["loss_box_offset"].item() == 0
    losses["loss_box_offset"].backward()


def test_the_task_is_learned(tmp_path):
    options = (TASKS, ["BoxOffsetTask"], "MODEL.EGTR.LOSS.BOX_OFFSET_WEIGHT", 3.0)
    frozen = ("MODEL.EGTR.FREEZE_DETECTOR", True, "MODEL.EGTR.DETECTOR_CACHE", str(tmp_path))
    model = small_model(*options, *frozen).train()
    inputs = [image()]
    unweighted, _ = model.losses(inputs)
    torch.testing.assert_close(model(inputs)["loss_box_offset"], 3 * unweighted["loss_box_offset"])
    optimizer = torch.optim.Adam(model.relation.parameters(), lr=0.01)
    first = float(unweighted["loss_box_offset"].detach())
    for _ in range(30):
        optimizer.zero_grad()
        loss = model.losses(inputs)[0]["loss_box_offset"]
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.2 * first


def test_inference_does_without_tasks(monkeypatch):
    model = small_model(TASKS, ["BoxOffsetTask"]).eval()

    def fail(self, pairs):
        raise AssertionError("computed at inference")

    monkeypatch.setattr(BoxOffsetTask, "forward", fail)
    assert len(model([image()])) == 1


def test_a_task_of_ones_own(tmp_path):
    """A file outside the package, named in the configuration, trains a step."""
    path = tmp_path / "closeness.py"
    path.write_text(
        textwrap.dedent(
            """
            import torch
            from torch import nn

            from egtr.modeling import RELATION_TASK_REGISTRY, RelationTask


            @RELATION_TASK_REGISTRY.register()
            class ClosenessTask(RelationTask):
                name, weight = "closeness", 0.5

                def __init__(self, cfg, input_dim):
                    super().__init__()
                    self.linear = nn.Linear(input_dim, 1)

                def forward(self, pairs):
                    return pairs.linear(self.linear)[..., 0]

                def loss(self, predicted, targets, matches):
                    found = [p[m.queries][:, m.queries] for p, m in zip(predicted, matches)]
                    centres = [t.boxes[m.objects, :2] for t, m in zip(targets, matches)]
                    errors = [(a - torch.cdist(b, b)).square().mean() for a, b in zip(found, centres)]
                    return sum(errors) / len(errors)
            """
        )
    )
    import_extensions([str(path)])
    model = small_model(TASKS, ["BoxOffsetTask", "ClosenessTask"]).train()
    losses = model([image()])
    assert {"loss_box_offset", "loss_closeness"} <= set(losses)
    sum(losses.values()).backward()
    linear = model.relation.tasks["closeness"].linear
    before = linear.weight.detach().clone()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert not torch.equal(linear.weight, before)


def test_bad_names_are_refused():
    with pytest.raises(ConfigurationError, match="TASKS: 'Offset' is not registered. Known: BoxOffsetTask"):
        small_model(TASKS, ["Offset"])
    with pytest.raises(ConfigurationError, match="two tasks are called 'box_offset'"):
        small_model(TASKS, ["BoxOffsetTask", "BoxOffsetTask"])
