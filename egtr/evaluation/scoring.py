"""One call from predictions to metrics."""

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

from egtr.structures import EGTRError, GroundTruth, Prediction

from .detection import OBJECT_AP, detection_ap, detections_per_class
from .protocols import Protocol, get_protocol
from .recall import recall_metrics, score_image


def evaluate(
    predictions: Iterable[Prediction],
    ground_truth: Iterable[GroundTruth],
    protocol: str | Protocol = "reference",
    topk: Sequence[int] = (20, 50, 100),
) -> dict[str, Any]:
    """Score a data set: saved predictions will do, no model is run.

    Both iterables are read once and in step, so that predictions may be streamed: only a few numbers of each
    are kept.

    Args:
        predictions: one record a picture.
        ground_truth: the same pictures in the same order.
        protocol: name of a protocol in :data:`~egtr.evaluation.protocols.PROTOCOLS`, or an own one.
        topk: the K of R@K and mR@K, positive.

    Returns:
        Fractions in 0..1 (NaN where there is nothing to be recalled): "R@K" and "mR@K", with graph
        constraint, and "ng-R@K", "ng-mR@K", without, for every K; "AP", "AP50", "AP75" of objects as COCO takes
        them, out of the 100 best (query, class) by sigmoid score, whatever the protocol. Further
        "per_predicate": a :class:`~egtr.evaluation.recall.PredicateRecall`, and "num_images": pictures read.

    Raises:
        EGTRError: the iterables differ in length; two predictions differ in the number of predicates; the
            ground truth holds a class or predicate that the prediction does not know; unknown protocol; bad
            ``topk``.
    """
    protocol, topk = get_protocol(protocol), check_topk(topk)
    hits, detections, truths = [], [], []
    num_predicates = None
    for index, (prediction, truth) in enumerate(zip_in_step(predictions, ground_truth)):
        num_predicates = prediction.relation.shape[1] if num_predicates is None else num_predicates
        if prediction.relation.shape[1] != num_predicates:
            raise EGTRError(
                f"prediction {index}: relation has {prediction.relation.shape[1]} predicates, those before "
                f"it {num_predicates}; predictions of different models cannot be scored together"
            )
        hits.append(score_image(prediction, truth, protocol, max(topk)))
        detections.append(detections_per_class(prediction))
        truths.append(truth)
    metrics = recall_metrics(hits, num_predicates or 0, protocol, topk)
    ap = detection_ap(detections, truths, **OBJECT_AP)
    metrics.update({name: ap[name] for name in ("AP", "AP50", "AP75")})
    metrics["num_images"] = len(hits)
    return metrics


def check_topk(topk: Sequence[int]) -> tuple[int, ...]:
    """``topk`` as ascending integers without repetition.

    Raises:
        EGTRError: it is empty, or holds something that is not a positive integer.
    """
    values = tuple(topk)
    if not values or any(int(k) != k or k < 1 for k in values):
        raise EGTRError(f"topk is {values}; give at least one positive integer, such as (20, 50, 100)")
    return tuple(sorted({int(k) for k in values}))


def zip_in_step(predictions: Iterable[Prediction], ground_truth: Iterable[GroundTruth]):
    """Pairs of both.

    Raises:
        EGTRError: one ends before the other.
    """
    missing = object()
    for index, (prediction, truth) in enumerate(zip_longest(predictions, ground_truth, fillvalue=missing)):
        if prediction is missing or truth is missing:
            short, long = (
                ("predictions", "ground_truth") if prediction is missing else ("ground_truth", "predictions")
            )
            raise EGTRError(f"{short} ends after {index} pictures, but {long} goes on; give both for every picture")
        yield prediction, truth
