"""Box arithmetic on tensors. "cxcywh" is centre x, centre y, width, height; "xyxy" two corners."""

import torch
from torch import Tensor


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Compute the logit of ``x`` in 0..1; x and 1 - x are clamped to at least ``eps``, so the result is finite."""
    x = x.clamp(min=0, max=1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))


def box_cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Convert (..., 4) cxcywh to (..., 4) xyxy, in any unit."""
    cx, cy, w, h = boxes.unbind(-1)
    return torch.stack([cx - 0.5 * w, cy - 0.5 * h, cx + 0.5 * w, cy + 0.5 * h], dim=-1)


def box_xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Convert (..., 4) xyxy to (..., 4) cxcywh, in any unit."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], dim=-1)


def box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Compute the IoU of boxes that broadcast against each other; xyxy, (..., 4) to (...) values in 0..1."""
    intersection, union = _intersection_and_union(boxes1, boxes2)
    return intersection / union


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Compute the generalised IoU (Rezatofighi et al. 2019) of boxes that broadcast against each other.

    Args:
        boxes1, boxes2: xyxy, shapes (..., 4) that broadcast: (n, 1, 4) and (m, 4) give all n x m pairs.

    Returns:
        (...) values in -1..1.
    """
    intersection, union = _intersection_and_union(boxes1, boxes2)
    hull = (torch.max(boxes1[..., 2:], boxes2[..., 2:]) - torch.min(boxes1[..., :2], boxes2[..., :2])).clamp(min=0)
    hull_area = hull[..., 0] * hull[..., 1]
    return intersection / union - (hull_area - union) / hull_area


def _intersection_and_union(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the areas of intersection and union, as :func:`box_iou` needs them."""
    area1 = (boxes1[..., 2] - boxes1[..., 0]) * (boxes1[..., 3] - boxes1[..., 1])
    area2 = (boxes2[..., 2] - boxes2[..., 0]) * (boxes2[..., 3] - boxes2[..., 1])
    inner = (torch.min(boxes1[..., 2:], boxes2[..., 2:]) - torch.max(boxes1[..., :2], boxes2[..., :2])).clamp(min=0)
    intersection = inner[..., 0] * inner[..., 1]
    return intersection, area1 + area2 - intersection
