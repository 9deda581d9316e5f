"""Weights of Deformable DETR without denoising as the start of training with it."""

from collections.abc import Mapping
from typing import Any

import torch

_PARAMETERS = ("transformer.reference_points.weight", "transformer.reference_points.bias")


def points_to_boxes(weights: Mapping[str, Any], shapes: Mapping[str, torch.Size]) -> dict[str, Any]:
    """Let learned queries whose first reference is a point start from a box, if the model asks for boxes.

    MODEL.EGTR.DENOISING gives the queries of Deformable DETR boxes as first references. The new rows of the layer are
    zeros: each box has its point as centre, and half of the image's width and height. The first layer then corrects
    sizes as before, because a size of one half adds nothing to its logits, and samples nearly where it did.

    Args:
        weights: the checkpoint's, tensors or arrays by name.
        shapes: shapes of the model's parameters by name.

    Returns:
        The weights, with four rows in place of two where the model has four.
    """
    weights = dict(weights)
    for name in _PARAMETERS:
        value = weights.get(name)
        if value is not None and name in shapes and len(value) == 2 and shapes[name] == (4, *value.shape[1:]):
            value = torch.as_tensor(value)
            weights[name] = torch.cat([value, torch.zeros_like(value)])
    return weights
