"""Checks of a prediction before it is scored or written."""

import numpy as np

from egtr.structures import GroundTruth, Prediction, PredictionError


def check_ground_truth(prediction: Prediction, ground_truth: GroundTruth) -> None:
    """Check that a prediction knows all classes and predicates of its ground truth.

    Raises:
        PredictionError: it does not.
    """
    for field, what, ids, count in (
        ("classes", "class", ground_truth.classes, prediction.logits.shape[1]),
        ("crowd_classes", "class", ground_truth.crowd_classes, prediction.logits.shape[1]),
        ("triplets", "predicate", ground_truth.triplets[:, 2], prediction.relation.shape[1]),
    ):
        if len(ids) and ids.max() >= count:
            raise PredictionError(
                f"ground truth: {field} holds {what} {ids.max()}, but the prediction has only 0..{count - 1}; was "
                "the model made for another dataset?"
            )


def check_columns(
    prediction: Prediction, num_classes: int | None, num_predicates: int | None, source: str, where: str = ""
) -> None:
    """Check that a prediction has the expected numbers of classes and predicates.

    Args:
        prediction: C classes, R predicates.
        num_classes, num_predicates: the expected C and R; None: any number.
        source: the source of these numbers, for the message.
        where: begins the message.

    Raises:
        PredictionError: C or R differs.
    """
    for field, found, expected in (
        ("logits", prediction.logits.shape[1], num_classes),
        ("relation", prediction.relation.shape[1], num_predicates),
    ):
        if expected is not None and found != expected:
            raise PredictionError(
                f"{where}{field} has {found} columns, but {source} has {expected}; was the model made for "
                "another dataset?"
            )


def check_given_objects(prediction: Prediction, ground_truth: GroundTruth, task: str) -> None:
    """Check that queries are the annotated objects and no pair is missing, as "sgcls" and "predcls" need.

    Raises:
        PredictionError: they are not.
    """
    if prediction.num_queries != len(ground_truth.boxes):
        raise PredictionError(
            f"task {task!r} needs one query for each of the {len(ground_truth.boxes)} annotated objects, in their "
            f"order, but the prediction has {prediction.num_queries}; score it as 'sgdet'"
        )
    if prediction.max_rank is not None:
        raise PredictionError(f"task {task!r} looks at every pair, but the prediction leaves some out")


def check_values(prediction: Prediction) -> None:
    """Check that a prediction holds meaningful numbers.

    Raises:
        PredictionError: names the field that holds NaN, infinity, values that are no probabilities or invalid boxes.
    """
    for field in ("logits", "boxes", "connectivity", "relation", "scores"):
        values = getattr(prediction, field)
        if values is None or values.size == 0:
            continue
        # NaN is both the least and the greatest.
        low, high = values.min(), values.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            raise PredictionError(f"{field} holds NaN or infinity; has the model's training diverged?")
        # Probabilities of other systems may pass 1 by a rounding error.
        if field in ("connectivity", "relation", "scores") and (low < 0 or high > 1 + 1e-6):
            raise PredictionError(f"{field} lies in {low:g}..{high:g}; these are probabilities in 0..1, not logits")
    if (prediction.boxes[:, 2:] < prediction.boxes[:, :2]).any():
        raise PredictionError("boxes holds one that ends before it begins; a box is x1, y1, x2, y2 in pixels")
