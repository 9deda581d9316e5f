"""Agreement of two graphs of one image, such as those of a model before and after it is rounded."""

import numpy as np

from .boxes import pairwise_iou
from .scene_graph import SceneGraph

# Boxes that overlap this much show the same object, as in recall.
MIN_IOU = 0.5


def share_of_triplets(graph: SceneGraph, other: SceneGraph, top_k: int = 50) -> float:
    """Compute the share of a graph's best triplets that another graph has among its best ones, too.

    Two triplets agree if their three names do and the boxes of subject and object overlap by IoU 0.5 or more. Queries
    are not compared: a detector that chooses its queries by score numbers them in another order after any rounding.

    Args:
        graph, other: two graphs of one image, triplets by descending score.
        top_k: number of triplets of each graph that count.

    Returns:
        The share in 0..1, each triplet of ``other`` counted once; 1 if ``graph`` has no triplet.
    """
    ours, theirs = graph.triplets[:top_k], other.triplets[:top_k]
    agrees = ours[:, None, 2] == theirs[None, :, 2]
    overlaps = pairwise_iou(graph.boxes, other.boxes) >= MIN_IOU
    overlaps &= graph.classes[:, None] == other.classes[None]
    for end in (0, 1):
        agrees &= overlaps[ours[:, end]][:, theirs[:, end]]
    found, taken = 0, np.zeros(len(theirs), dtype=bool)
    for row in agrees:
        free = np.flatnonzero(row & ~taken)
        if len(free):
            found += 1
            taken[free[0]] = True
    return found / len(ours) if len(ours) else 1.0
