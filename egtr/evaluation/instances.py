"""One prediction for each object: the best of the queries that find the same one."""

import numpy as np

from egtr.structures import pairwise_iou


def distinct_instances(
    boxes: np.ndarray,
    classes: np.ndarray,
    scores: np.ndarray,
    iou_threshold: float,
    plus_one: bool = False,
    area_plus_one: bool = True,
) -> np.ndarray:
    """Select the queries that are no repetition of a better one.

    Queries are looked at by descending score, equal scores by number. A query repeats a selected one if both have the
    same class and their boxes overlap enough.

    Args:
        boxes, classes, scores: (N, 4), (N,) and (N,) of the prediction.
        iou_threshold: the least IoU of a repetition, in 0..1.
        plus_one, area_plus_one: as for :func:`~egtr.evaluation.matching.match_objects`.

    Returns:
        (N,) bool.
    """
    selected = np.zeros(len(boxes), dtype=bool)
    repeats = pairwise_iou(boxes, boxes, plus_one, plus_one and area_plus_one) >= iou_threshold
    repeats &= classes[:, None] == classes[None, :]
    for query in np.argsort(-scores, kind="stable"):
        selected[query] = not (repeats[query] & selected).any()
    return selected
