import numpy as np
import pytest
import torch
from torch import nn

from egtr.checkpoint import EGTRCheckpointer
from egtr.checkpoint.references import points_to_boxes

WEIGHT, BIAS = "transformer.reference_points.weight", "transformer.reference_points.bias"


class Toy(nn.Module):
    def __init__(self, coordinates: int):
        super().__init__()
        self.transformer = nn.ModuleDict({"reference_points": nn.Linear(3, coordinates)})


@pytest.mark.parametrize("convert", [torch.tensor, np.array], ids=["tensor", "array"])
def test_a_point_becomes_a_box_of_half_the_image(convert):
    weights = {WEIGHT: convert([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), BIAS: convert([0.5, -0.5]), "other": 1}
    boxes = points_to_boxes(weights, {WEIGHT: torch.Size([4, 3]), BIAS: torch.Size([4])})
    assert boxes[WEIGHT].tolist() == [[1, 2, 3], [4, 5, 6], [0, 0, 0], [0, 0, 0]]
    assert boxes[BIAS].tolist() == [0.5, -0.5, 0, 0] and boxes["other"] == 1
    reference = nn.functional.linear(torch.rand(5, 3), boxes[WEIGHT].float(), boxes[BIAS].float()).sigmoid()
    assert (reference[:, 2:] == 0.5).all()
    assert len(weights[WEIGHT]) == 2


@pytest.mark.parametrize(
    ("own", "found"),
    [(2, 2), (4, 4), (2, 4), (4, 3)],
    ids=["points", "boxes", "boxes for points", "another number"],
)
def test_other_shapes_stay(own, found):
    weights = {WEIGHT: torch.ones(found, 3), BIAS: torch.ones(found)}
    kept = points_to_boxes(weights, {WEIGHT: torch.Size([own, 3]), BIAS: torch.Size([own])})
    assert len(kept[WEIGHT]) == len(kept[BIAS]) == found


def test_another_width_stays():
    weights = {WEIGHT: torch.ones(2, 5), BIAS: torch.ones(2)}
    kept = points_to_boxes(weights, {WEIGHT: torch.Size([4, 3]), BIAS: torch.Size([4])})
    assert len(kept[WEIGHT]) == 2 and len(kept[BIAS]) == 4


def test_the_checkpointer_does_it(tmp_path):
    points, boxes = Toy(2), Toy(4)
    torch.save({"model": points.state_dict()}, tmp_path / "points.pth")
    checkpointer = EGTRCheckpointer(boxes)
    checkpointer.load(str(tmp_path / "points.pth"))
    layer, grown = (model.transformer["reference_points"] for model in (points, boxes))
    assert torch.equal(grown.weight[:2], layer.weight) and torch.equal(grown.bias[:2], layer.bias)
    assert not grown.weight[2:].any() and not grown.bias[2:].any()
    assert not checkpointer.incompatible.incorrect_shapes
