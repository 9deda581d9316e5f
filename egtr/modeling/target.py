"""Input of the losses: ground truth of one image, and the match between queries and objects."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


@dataclass
class Target:
    """Ground truth of one image. G objects, T triplets.

    Attributes:
        classes: (G,) int64.
        boxes: (G, 4) cxcywh in 0..1.
        relations: (T, 3) int64, (subject, object, predicate); subject and object index the G objects.
    """

    classes: Tensor
    boxes: Tensor
    relations: Tensor


class Match(NamedTuple):
    """Matched pairs of one image, M = min(N, G) of them.

    Attributes:
        queries: (M,) int64 query indices.
        objects: (M,) int64 indices of ground-truth objects.
        costs: (M,) float32 matching costs, without gradient.
    """

    queries: Tensor
    objects: Tensor
    costs: Tensor
