"""The scores of one image: everything that any metric needs of it, computed once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from egtr.structures import (
    CandidatePairs,
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

TASKS = ("sgdet", "sgcls", "predcls")


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
    """One image's part in every metric under some protocols. Pickled it has 10 kB for 200 queries.

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
    image = _Image(prediction, ground_truth, max_rank)
    ranks = {p.name: image.ranks(p) for p in protocols}
    if task != "sgdet":
        ranks = {p.name: {**ranks[p.name], "A": image.ranks_among_annotated_pairs(p)} for p in protocols}
    kinds = {p.object_score for p in protocols}
    queries, classes, scores = best_classes(prediction)
    return ImageScores(
        ground_truth=ground_truth,
        num_classes=prediction.logits.shape[1],
        num_predicates=prediction.relation.shape[1],
        has_pairs=bool((prediction.pairs[:, 0] != prediction.pairs[:, 1]).any()),
        ranks=ranks,
        open_images={p.name: image.open_images(p) for p in protocols},
        objects=ObjectScores(
            boxes=prediction.boxes,
            queries=queries,
            classes=classes,
            scores=scores,
            query_classes=image.classes.astype(np.int32),
            query_scores={kind: image.object_scores(kind) for kind in kinds},
        ),
    )


def check_ground_truth(prediction: Prediction, ground_truth: GroundTruth) -> None:
    """Check that a prediction knows all classes and predicates of its ground truth.

    Raises:
        PredictionError: it does not.
    """
    for field, what, ids, count in (
        ("classes", "class", ground_truth.classes, prediction.logits.shape[1]),
        ("triplets", "predicate", ground_truth.triplets[:, 2], prediction.relation.shape[1]),
    ):
        if len(ids) and ids.max() >= count:
            raise PredictionError(
                f"ground truth: {field} holds {what} {ids.max()}, but the prediction has only 0..{count - 1}; was the "
                "model made for another dataset?"
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
                f"{where}{field} has {found} columns, but {source} has {expected}; was the model made for another "
                "dataset?"
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


class _Rankings:
    """The ranked triplets of one image under one choice of rows and object score, each ranked when first read."""

    def __init__(self, entries: Entries, object_scores: np.ndarray, max_rank: int):
        self.entries, self.object_scores, self.max_rank = entries, object_scores, max_rank

    @cached_property
    def constrained(self) -> RankedTriplets:
        """The first triplets with graph constraint."""
        return rank_candidates(self._constrained_candidates, self.max_rank, predicates_per_pair=1)

    @cached_property
    def unconstrained(self) -> RankedTriplets:
        """The first triplets without graph constraint."""
        return rank_candidates(self._unconstrained_candidates, self.max_rank)

    @cached_property
    def open_images(self) -> RankedTriplets:
        """The candidates of the Open Images block."""
        return rank_candidates(self._unconstrained_candidates, MAX_CANDIDATES, PREDICATES_PER_PAIR, self_pairs=True)

    @cached_property
    def _constrained_candidates(self) -> CandidatePairs:
        return self._find_candidates(self.entries.constrained)

    @cached_property
    def _unconstrained_candidates(self) -> CandidatePairs:
        if self.entries.unconstrained is self.entries.constrained:
            return self._constrained_candidates
        return self._find_candidates(self.entries.unconstrained)

    def _find_candidates(self, record: Prediction) -> CandidatePairs:
        # One list is long enough for all rankings of a record.
        return candidate_pairs(record, self.object_scores, max(self.max_rank, MAX_CANDIDATES))


class _Image:
    """One image's part in all metrics, where protocols that agree in a convention share what depends on it."""

    def __init__(self, prediction: Prediction, ground_truth: GroundTruth, max_rank: int):
        self.prediction, self.truth, self.max_rank = prediction, ground_truth, max_rank
        # The object score depends on the protocol, the class does not.
        self.classes = prediction.logits.argmax(axis=1) if prediction.num_queries else np.zeros(0, dtype=np.int64)
        self._repeats_pairs = repeats_pairs(prediction)
        self._entries: dict[str, Entries] = {}
        self._object_scores: dict[str, np.ndarray] = {}
        self._rankings: dict[tuple[str, str], _Rankings] = {}
        self._matches: dict[tuple[float, bool], np.ndarray] = {}
        self._ranks: dict[tuple, dict[str, np.ndarray]] = {}
        self._open_images: dict[tuple, OpenImagesHits] = {}

    def object_scores(self, kind: str) -> np.ndarray:
        """Compute the (N,) "softmax" or "sigmoid" scores of the queries' best classes."""
        if kind not in self._object_scores:
            self._object_scores[kind] = self.prediction.object_scores(kind)[0]
        return self._object_scores[kind]

    def ranks(self, protocol: Protocol) -> dict[str, np.ndarray]:
        """Find the ranks of the first hits: kind of hit to (T,) int32."""
        rankings, overlap = self.rankings(protocol), _overlap(protocol)
        key = (rankings, overlap)
        if key not in self._ranks:
            ranks = {}
            for prefix, ranked in (("", rankings.constrained), ("ng-", rankings.unconstrained)):
                ranks[f"{prefix}R"] = self._first_hits(ranked, protocol)
                phrases = match_phrases(ranked, self.prediction.boxes, self.classes, self.truth, *overlap)
                ranks[f"{prefix}phr-R"] = first_hits(phrases)
            self._ranks[key] = ranks
        return self._ranks[key]

    def ranks_among_annotated_pairs(self, protocol: Protocol) -> np.ndarray:
        """Find the (T,) ranks of first hits if only annotated pairs are ranked, with graph constraint."""
        rankings = self.rankings(protocol)
        record = rankings.entries.constrained
        annotated = np.zeros((record.num_queries, record.num_queries), dtype=bool)
        annotated[self.truth.triplets[:, 0], self.truth.triplets[:, 1]] = True
        record = select_rows(record, annotated[record.pairs[:, 0], record.pairs[:, 1]])
        candidates = candidate_pairs(record, rankings.object_scores, self.max_rank)
        return self._first_hits(rank_candidates(candidates, self.max_rank, predicates_per_pair=1), protocol)

    def open_images(self, protocol: Protocol) -> OpenImagesHits:
        """Compute the image's part in the Open Images block."""
        rankings, plus_one = self.rankings(protocol), protocol.oi_plus_one
        key = (rankings, _overlap(protocol), plus_one)
        if key not in self._open_images:
            matches = self._object_matches(protocol)
            self._open_images[key] = score_candidates(
                rankings.open_images, self.prediction.boxes, self.classes, self.truth, matches, plus_one
            )
        return self._open_images[key]

    def rankings(self, protocol: Protocol) -> _Rankings:
        """Return the rankings under the protocol's rows and object score."""
        kind = protocol.entries if self._repeats_pairs else "all"
        if kind not in self._entries:
            self._entries[kind] = select_entries(self.prediction, kind)
        key = (kind, protocol.object_score)
        if key not in self._rankings:
            scores = self.object_scores(protocol.object_score)
            self._rankings[key] = _Rankings(self._entries[kind], scores, self.max_rank)
        return self._rankings[key]

    def _first_hits(self, ranked: RankedTriplets, protocol: Protocol) -> np.ndarray:
        return first_hits(match_triplets(ranked, self._object_matches(protocol), self.truth.triplets))

    def _object_matches(self, protocol: Protocol) -> np.ndarray:
        overlap = _overlap(protocol)
        if overlap not in self._matches:
            prediction, truth = self.prediction, self.truth
            self._matches[overlap] = match_objects(
                prediction.boxes, self.classes, truth.boxes, truth.classes, *overlap
            )
        return self._matches[overlap]


def _overlap(protocol: Protocol) -> tuple[float, bool]:
    """Return the conventions that decide which boxes overlap."""
    return protocol.iou_threshold, protocol.iou_plus_one
