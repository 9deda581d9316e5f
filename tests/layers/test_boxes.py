import pytest
import torch

from egtr.layers import box_cxcywh_to_xyxy, box_xyxy_to_cxcywh, generalized_box_iou, inverse_sigmoid


def test_conversions_are_inverse():
    boxes = torch.tensor([[0.5, 0.25, 0.5, 0.1]])
    corners = box_cxcywh_to_xyxy(boxes)
    torch.testing.assert_close(corners, torch.tensor([[0.25, 0.20, 0.75, 0.30]]))
    torch.testing.assert_close(box_xyxy_to_cxcywh(corners), boxes)


def test_generalized_iou_by_hand():
    a = torch.tensor([0.0, 0.0, 2.0, 2.0])
    # Overlap 1, union 4 + 4 - 1 = 7, hull 3 x 3 = 9: 1/7 - 2/9.
    assert float(generalized_box_iou(a, torch.tensor([1.0, 1.0, 3.0, 3.0]))) == pytest.approx(1 / 7 - 2 / 9)
    # No overlap, union 8, hull 2 x 6 = 12: 0 - 4/12.
    assert float(generalized_box_iou(a, torch.tensor([0.0, 4.0, 2.0, 6.0]))) == pytest.approx(-1 / 3)
    assert float(generalized_box_iou(a, a)) == pytest.approx(1.0)


def test_generalized_iou_of_all_pairs():
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 3.0, 3.0], [5.0, 5.0, 6.0, 6.0]])
    table = generalized_box_iou(boxes[:, None], boxes)
    assert table.shape == (3, 3)
    torch.testing.assert_close(table, table.T)
    torch.testing.assert_close(table.diagonal(), torch.ones(3))


def test_inverse_sigmoid_stays_finite():
    x = torch.tensor([0.0, 0.3, 1.0])
    y = inverse_sigmoid(x)
    assert torch.isfinite(y).all()
    assert float(y[1].sigmoid()) == pytest.approx(0.3)
    # 1e-5 in place of 0, so log(1e-5 / 1).
    assert float(y[0]) == pytest.approx(-11.512925, rel=1e-5)
