"""Scoring one image: everything that any metric needs of it, worked out once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from egtr.structures import (
    CandidatePairs,
    EGTRError,
    GroundTruth,
    Prediction,
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
    """What object AP needs of one image's N queries.

    Attributes:
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels.
        queries, classes, scores: (D,) int32, int32, float32: the best (query, class) by sigmoid score.
        query_classes: (N,) int32, best class of each query.
        query_scores: "softmax" and/or "sigmoid" to the (N,) float32 scores of the best classes.
    """

    boxes: np.ndarray
    queries: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    query_classes: np.ndarray
    query_scores: dict[str, np.ndarray]

    def per_class(self) -> Detections:
        """The best (query, class) by sigmoid score."""
        return Detections(self.boxes[self.queries], self.scores, self.classes)

    def per_query(self, object_score: str) -> Detections:
        """One detection a query."""
        return Detections(self.boxes, self.query_scores[object_score], self.query_classes)


@dataclass(frozen=True)
class ImageScores:
    """One image's part in every metric under some protocols, to be pickled and gathered: 10 kB for 200 queries.

    Attributes:
        ground_truth: T triplets.
        num_classes, num_predicates: C and R of the prediction.
        has_pairs: some pair of two different queries was predicted.
        ranks: protocol name to kind of hit to (T,) int32, see :class:`~egtr.evaluation.recall.TripletTable`.
        open_images: protocol name to what the Open Images block needs.
        objects: what object AP needs.
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
    """Hold one prediction against its ground truth.

    Object scores, overlaps and rankings are worked out once for all metrics and all protocols that agree on them.

    Args:
        prediction: N queries, C classes, R predicates.
        ground_truth: T triplets; with T = 0 the image has no influence on any metric of triplets.
        protocols: scoring conventions.
        max_rank: largest K of interest; triplets ranked behind it are not looked at.
        task: one of :data:`TASKS`.

    Raises:
        EGTRError: the ground truth holds a class or a predicate that the prediction does not know; the prediction
            holds NaN, infinity, values that are no probabilities or boxes that are none, or too few pairs for
            ``max_rank``; in another task than "sgdet" queries are not the annotated objects, or pairs were left out.
    """
    check_prediction(prediction, ground_truth, task)
    try:
        check_max_rank(prediction, max(max_rank, MAX_CANDIDATES))
    except EGTRError as error:
        raise EGTRError(f"image {ground_truth.image_id!r}: {error}") from error
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


def check_prediction(prediction: Prediction, ground_truth: GroundTruth, task: str) -> None:
    """Raise EGTRError where a prediction cannot be held against a ground truth, see :func:`score_image`."""
    image = f"image {ground_truth.image_id!r}"
    for field, ids, count in (
        ("classes", ground_truth.classes, prediction.logits.shape[1]),
        ("triplets", ground_truth.triplets[:, 2], prediction.relation.shape[1]),
    ):
        if len(ids) and ids.max() >= count:
            noun = "class" if field == "classes" else "predicate"
            raise EGTRError(
                f"ground truth of {image}: {field} holds {noun} {ids.max()}, but the "
                f"prediction has only 0..{count - 1}; was the model made for another dataset?"
            )
    try:
        check_values(prediction)
    except EGTRError as error:
        raise EGTRError(f"{image}: {error}") from error
    if task != "sgdet" and prediction.num_queries != len(ground_truth.boxes):
        raise EGTRError(
            f"{image}: task {task!r} needs one query for each of the {len(ground_truth.boxes)} annotated objects, in "
            f"their order, but the prediction has {prediction.num_queries}; score it as 'sgdet'"
        )
    if task != "sgdet" and prediction.max_rank is not None:
        raise EGTRError(f"{image}: task {task!r} looks at every pair, but the prediction leaves some out")


def check_values(prediction: Prediction) -> None:
    """Raise EGTRError, naming the field, where a prediction holds numbers that mean nothing."""
    for field in ("logits", "boxes", "connectivity", "relation"):
        values = getattr(prediction, field)
        if values.size == 0:
            continue
        # NaN is both the least and the greatest.
        low, high = values.min(), values.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            raise EGTRError(f"{field} holds NaN or infinity; has the model's training diverged?")
        # Probabilities of other systems may pass 1 by a rounding error.
        if field in ("connectivity", "relation") and (low < 0 or high > 1 + 1e-6):
            raise EGTRError(f"{field} lies in {low:g}..{high:g}; these are probabilities in 0..1, not logits")
    if (prediction.boxes[:, 2:] < prediction.boxes[:, :2]).any():
        raise EGTRError("boxes holds one that ends before it begins; a box is x1, y1, x2, y2 in pixels")


class _Image:
    """Intermediate results of one image, each computed when it is first asked for."""

    def __init__(self, prediction: Prediction, ground_truth: GroundTruth, max_rank: int):
        self.prediction, self.truth, self.max_rank = prediction, ground_truth, max_rank
        # The score that all rankings multiply in is another one for another protocol, the class is not.
        self.classes = prediction.logits.argmax(axis=1) if prediction.num_queries else np.zeros(0, dtype=np.int64)
        self._repeats_pairs = repeats_pairs(prediction)
        self._known: dict[tuple, Any] = {}

    def object_scores(self, kind: str) -> np.ndarray:
        """(N,) "softmax" or "sigmoid" scores of the queries' best classes."""
        return self._once(("object scores", kind), lambda: self.prediction.object_scores(kind)[0])

    def ranks(self, protocol: Protocol) -> dict[str, np.ndarray]:
        """Kind of hit to the (T,) ranks of the first ones."""
        key = ("ranks", self._ranking(protocol), self._overlap(protocol))
        return self._once(key, lambda: self._ranks(protocol))

    def _ranks(self, protocol: Protocol) -> dict[str, np.ndarray]:
        ranks = {}
        for prefix, constraint in (("", True), ("ng-", False)):
            ranked = self._ranked(protocol, constraint)
            ranks[f"{prefix}R"] = self._first_hits(ranked, protocol)
            phrases = match_phrases(ranked, self.prediction.boxes, self.classes, self.truth, *self._overlap(protocol))
            ranks[f"{prefix}phr-R"] = first_hits(phrases)
        return ranks

    def ranks_among_annotated_pairs(self, protocol: Protocol) -> np.ndarray:
        """(T,) ranks of first hits where only the pairs that are annotated are ranked, with graph constraint."""
        record = self._entries(protocol).constrained
        annotated = np.zeros((record.num_queries, record.num_queries), dtype=bool)
        annotated[self.truth.triplets[:, 0], self.truth.triplets[:, 1]] = True
        record = select_rows(record, annotated[record.pairs[:, 0], record.pairs[:, 1]])
        candidates = self._find_candidates(record, protocol.object_score, self.max_rank)
        return self._first_hits(rank_candidates(candidates, self.max_rank, predicates_per_pair=1), protocol)

    def open_images(self, protocol: Protocol) -> OpenImagesHits:
        """What the Open Images block needs."""
        key = ("open images", self._ranking(protocol), self._overlap(protocol), protocol.oi_plus_one)
        return self._once(key, lambda: self._open_images(protocol))

    def _open_images(self, protocol: Protocol) -> OpenImagesHits:
        ranked = self._once(
            ("open images candidates", self._ranking(protocol)),
            lambda: rank_candidates(
                self._candidates(protocol, False), MAX_CANDIDATES, PREDICATES_PER_PAIR, self_pairs=True
            ),
        )
        matches = self._object_matches(protocol)
        return score_candidates(
            ranked, self.prediction.boxes, self.classes, self.truth, matches, protocol.oi_plus_one
        )

    def _ranked(self, protocol: Protocol, constraint: bool) -> RankedTriplets:
        return self._once(
            ("ranked", self._ranking(protocol), constraint),
            lambda: rank_candidates(
                self._candidates(protocol, constraint), self.max_rank, predicates_per_pair=1 if constraint else None
            ),
        )

    def _first_hits(self, ranked: RankedTriplets, protocol: Protocol) -> np.ndarray:
        return first_hits(match_triplets(ranked, self._object_matches(protocol), self.truth.triplets))

    def _object_matches(self, protocol: Protocol) -> np.ndarray:
        threshold, plus_one = self._overlap(protocol)
        prediction, truth = self.prediction, self.truth
        return self._once(
            ("objects", threshold, plus_one),
            lambda: match_objects(prediction.boxes, self.classes, truth.boxes, truth.classes, threshold, plus_one),
        )

    def _candidates(self, protocol: Protocol, constraint: bool) -> CandidatePairs:
        entries = self._entries(protocol)
        record = entries.constrained if constraint else entries.unconstrained
        # One list is long enough for all rankings of a record.
        length = max(self.max_rank, MAX_CANDIDATES)
        # Records are kept in self._known, so that an id is not used again.
        return self._once(
            ("candidates", id(record), protocol.object_score),
            lambda: self._find_candidates(record, protocol.object_score, length),
        )

    def _find_candidates(self, record: Prediction, object_score: str, length: int) -> CandidatePairs:
        try:
            return candidate_pairs(record, self.object_scores(object_score), length)
        except EGTRError as error:
            raise EGTRError(f"image {self.truth.image_id!r}: {error}") from error

    def _entries(self, protocol: Protocol) -> Entries:
        kind, _ = self._ranking(protocol)
        return self._once(("entries", kind), lambda: select_entries(self.prediction, kind))

    def _ranking(self, protocol: Protocol) -> tuple[str, str]:
        """What a ranking depends on."""
        return protocol.entries if self._repeats_pairs else "all", protocol.object_score

    def _overlap(self, protocol: Protocol) -> tuple[float, bool]:
        """What the overlap of boxes depends on."""
        return protocol.iou_threshold, protocol.iou_plus_one

    def _once(self, key: tuple, compute: Callable[[], Any]) -> Any:
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key]
