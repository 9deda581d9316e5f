"""The scores of one image: everything that any metric needs of it, computed once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from egtr.structures import (
    EGTRError,
    GroundTruth,
    Prediction,
    PredictionError,
    RankedTriplets,
    candidate_pairs,
    check_max_rank,
    rank_candidates,
)

from .detection import Detections, best_classes
from .entries import Entries, repeats_pairs, select_entries, select_rows
from .matching import first_hits, match_objects, match_phrases, match_triplets
from .open_images import MAX_CANDIDATES, PREDICATES_PER_PAIR, OpenImagesHits, score_candidates
from .protocols import Protocol


class ObjectScores(NamedTuple):
    """The part of one image's N queries that object AP needs.

    Attributes:
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels.
        queries, classes, scores: (D,) int32, int32, float32: the best (query, class) by sigmoid score.
        query_classes: (N,) int32, best class of each query.
        query_scores: "softmax" or "sigmoid", or both, to the (N,) float32 scores of the best classes.
    """

    boxes: np.ndarray
    queries: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    query_classes: np.ndarray
    query_scores: dict[str, np.ndarray]

    def per_class(self) -> Detections:
        """Return the best (query, class) by sigmoid score."""
        return Detections(self.boxes[self.queries], self.scores, self.classes)

    def per_query(self, object_score: str) -> Detections:
        """Return one detection for each query."""
        return Detections(self.boxes, self.query_scores[object_score], self.query_classes)


@dataclass(frozen=True)
class ImageScores:
    """One image's part in every metric under some protocols. Pickled, it takes 10 kB for 200 queries.

    Attributes:
        ground_truth: T triplets.
        num_classes, num_predicates: C and R of the prediction.
        has_pairs: True if some pair of two different queries was predicted.
        ranks: protocol name to kind of hit to (T,) int32, see :class:`~egtr.evaluation.recall.TripletTable`.
        open_images: protocol name to the image's part in the Open Images block.
        objects: the image's part in object AP.
    """

    ground_truth: GroundTruth
    num_classes: int
    num_predicates: int
    has_pairs: bool
    ranks: dict[str, dict[str, np.ndarray]]
    open_images: dict[str, OpenImagesHits]
    objects: ObjectScores


def score_image(
    prediction: Prediction,
    ground_truth: GroundTruth,
    protocols: Sequence[Protocol],
    max_rank: int = 100,
    task: str = "sgdet",
) -> ImageScores:
    """Compare one prediction with its ground truth.

    Object scores, overlaps and rankings are computed once for all metrics and all protocols that agree on them.

    Args:
        prediction: N queries, C classes, R predicates.
        ground_truth: T triplets. If T = 0, the image has no influence on metrics of triplets.
        protocols: scoring conventions.
        max_rank: the largest K; triplets that rank lower are ignored.
        task: one of :data:`TASKS`.

    Raises:
        PredictionError: the ground truth holds a class or a predicate that the prediction does not know; the
            prediction holds NaN, infinity, values that are no probabilities, invalid boxes, or too few pairs for
            ``max_rank``; or, in another task than "sgdet", queries are not the annotated objects, or pairs were left
            out.
    """
    try:
        check_ground_truth(prediction, ground_truth)
        check_values(prediction)
        if task != "sgdet":
            check_given_objects(prediction, ground_truth, task)
        check_max_rank(prediction, max(max_rank, MAX_CANDIDATES))
    except EGTRError as error:
        raise PredictionError(f"image {ground_truth.image_id!r}: {error}") from error
    # The object score depends on the protocol, the class does not.
    classes = prediction.logits.argmax(axis=1) if prediction.num_queries else np.zeros(0, dtype=np.int64)
    repeated = repeats_pairs(prediction)

    def rows(protocol: Protocol) -> str:
        return protocol.entries if repeated else "all"

    def ranking(protocol: Protocol) -> tuple:
        return rows(protocol), protocol.object_score

    def overlap(protocol: Protocol) -> tuple:
        return protocol.iou_threshold, protocol.iou_plus_one

    def first_ranks(protocol: Protocol) -> dict[str, np.ndarray]:
        ranks = {}
        for prefix, ranked in (("", rankings[protocol].constrained), ("ng-", rankings[protocol].unconstrained)):
            ranks[f"{prefix}R"] = first_hits(match_triplets(ranked, matches[protocol], ground_truth.triplets))
            phrases = match_phrases(ranked, prediction.boxes, classes, ground_truth, *overlap(protocol))
            ranks[f"{prefix}phr-R"] = first_hits(phrases)
        if task != "sgdet":
            record = _among_annotated_pairs(entries[protocol].constrained, ground_truth)
            ranked = rank_candidates(candidate_pairs(record, scores[protocol], max_rank), max_rank, 1)
            ranks["A"] = first_hits(match_triplets(ranked, matches[protocol], ground_truth.triplets))
        return ranks

    def open_images(protocol: Protocol) -> OpenImagesHits:
        ranked, plus_one = rankings[protocol].open_images, protocol.oi_plus_one
        return score_candidates(ranked, prediction.boxes, classes, ground_truth, matches[protocol], plus_one)

    scores = _shared(protocols, lambda p: p.object_score, lambda p: prediction.object_scores(p.object_score)[0])
    entries = _shared(protocols, rows, lambda p: select_entries(prediction, rows(p)))
    rankings = _shared(protocols, ranking, lambda p: _rank(entries[p], scores[p], max_rank))
    objects = prediction.boxes, classes, ground_truth.boxes, ground_truth.classes
    matches = _shared(protocols, overlap, lambda p: match_objects(*objects, *overlap(p)))
    ranks = _shared(protocols, lambda p: (ranking(p), overlap(p)), first_ranks)
    hits = _shared(protocols, lambda p: (ranking(p), overlap(p), p.oi_plus_one), open_images)
    queries, best, best_scores = best_classes(prediction)
    return ImageScores(
        ground_truth=ground_truth,
        num_classes=prediction.logits.shape[1],
        num_predicates=prediction.relation.shape[1],
        has_pairs=bool((prediction.pairs[:, 0] != prediction.pairs[:, 1]).any()),
        ranks={protocol.name: ranks[protocol] for protocol in protocols},
        open_images={protocol.name: hits[protocol] for protocol in protocols},
        objects=ObjectScores(
            boxes=prediction.boxes,
            queries=queries,
            classes=best,
            scores=best_scores,
            query_classes=classes.astype(np.int32),
            query_scores={protocol.object_score: scores[protocol] for protocol in protocols},
        ),
    )


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
    for field in ("logits", "boxes", "connectivity", "relation"):
        values = getattr(prediction, field)
        if values.size == 0:
            continue
        # NaN is both the least and the greatest.
        low, high = values.min(), values.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            raise PredictionError(f"{field} holds NaN or infinity; has the model's training diverged?")
        # Probabilities of other systems may pass 1 by a rounding error.
        if field in ("connectivity", "relation") and (low < 0 or high > 1 + 1e-6):
            raise PredictionError(f"{field} lies in {low:g}..{high:g}; these are probabilities in 0..1, not logits")
    if (prediction.boxes[:, 2:] < prediction.boxes[:, :2]).any():
        raise PredictionError("boxes holds one that ends before it begins; a box is x1, y1, x2, y2 in pixels")


class _Rankings(NamedTuple):
    """The first triplets with and without graph constraint, and the candidates of the Open Images block."""

    constrained: RankedTriplets
    unconstrained: RankedTriplets
    open_images: RankedTriplets


def _rank(entries: Entries, object_scores: np.ndarray, max_rank: int) -> _Rankings:
    # One list is long enough for all rankings of a record.
    length = max(max_rank, MAX_CANDIDATES)
    constrained = unconstrained = candidate_pairs(entries.constrained, object_scores, length)
    if entries.unconstrained is not entries.constrained:
        unconstrained = candidate_pairs(entries.unconstrained, object_scores, length)
    return _Rankings(
        rank_candidates(constrained, max_rank, predicates_per_pair=1),
        rank_candidates(unconstrained, max_rank),
        rank_candidates(unconstrained, MAX_CANDIDATES, PREDICATES_PER_PAIR, self_pairs=True),
    )


def _among_annotated_pairs(record: Prediction, ground_truth: GroundTruth) -> Prediction:
    """Keep only the pairs that some triplet of the ground truth joins."""
    annotated = np.zeros((record.num_queries, record.num_queries), dtype=bool)
    annotated[ground_truth.triplets[:, 0], ground_truth.triplets[:, 1]] = True
    return select_rows(record, annotated[record.pairs[:, 0], record.pairs[:, 1]])


def _shared(
    protocols: Sequence[Protocol], key: Callable[[Protocol], Any], compute: Callable[[Protocol], Any]
) -> dict[Protocol, Any]:
    """Compute a value for each protocol, but only once for all protocols with the same key."""
    known: dict[Any, Any] = {}
    for protocol in protocols:
        if key(protocol) not in known:
            known[key(protocol)] = compute(protocol)
    return {protocol: known[key(protocol)] for protocol in protocols}
