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
    candidate_pairs,
    check_max_rank,
    rank_candidates,
)

from .conventions import Protocol
from .detection import Detections, best_classes
from .entries import repeats_pairs, select_entries, select_rows
from .instances import distinct_instances
from .matching import first_hits, match_objects, match_pairs, match_phrases, match_triplets, misses_before
from .open_images import MAX_CANDIDATES, PREDICATES_PER_PAIR, OpenImagesHits, score_candidates
from .predicate_rank import predicate_ranks
from .record_checks import check_given_objects, check_ground_truth, check_values


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


class Precision(NamedTuple):
    """The K best triplets of one image with graph constraint.

    Attributes:
        right: (K,) bool, True for a triplet that hits an annotated one that no better triplet hits.
        scores: (K,) float32, descending.
    """

    right: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class ImageScores:
    """One image's part in every metric under some protocols. Pickled, it takes 10 kB for 200 queries.

    Attributes:
        ground_truth: T triplets.
        num_classes, num_predicates: C and R of the prediction.
        has_pairs: True if some pair of two different queries was predicted.
        ranks: protocol name to kind of hit to (T,) int32, see :class:`~egtr.evaluation.triplet_table.TripletTable`.
        misses: protocol name to "R" and "ng-R" to (T,) int32, likewise.
        sure_ranks: protocol name to the length up to which rankings are the same as with all pairs; a protocol that
            leaves queries out needs more pairs than a pruned record has. None: all are.
        found_objects: protocol name to the number of annotated objects that some query matches.
        predicate_ranks: protocol name to (T,) float64, see :func:`~egtr.evaluation.predicate_rank.predicate_ranks`;
            only for protocols whose ``matching`` is "best", and records that leave out no pair.
        precision: protocol name to the image's part in precision; empty unless it was asked for.
        open_images: protocol name to the image's part in the Open Images block.
        objects: the image's part in object AP.
    """

    ground_truth: GroundTruth
    num_classes: int
    num_predicates: int
    has_pairs: bool
    ranks: dict[str, dict[str, np.ndarray]]
    misses: dict[str, dict[str, np.ndarray]]
    sure_ranks: dict[str, int | None]
    found_objects: dict[str, int]
    predicate_ranks: dict[str, np.ndarray]
    precision: dict[str, Precision]
    open_images: dict[str, OpenImagesHits]
    objects: ObjectScores


def score_image(
    prediction: Prediction,
    ground_truth: GroundTruth,
    protocols: Sequence[Protocol],
    max_rank: int = 100,
    task: str = "sgdet",
    whole: bool = True,
    exhaustive: bool = False,
) -> ImageScores:
    """Compare one prediction with its ground truth.

    Object scores, overlaps and rankings are computed once for all metrics and all protocols that agree on them.

    Args:
        prediction: N queries, C classes, R predicates.
        ground_truth: T triplets. If T = 0, the image has no influence on metrics of triplets.
        protocols: scoring conventions.
        max_rank: the largest K; triplets that rank lower are ignored.
        task: one of :data:`TASKS`.
        whole, exhaustive: see :class:`~egtr.evaluation.Scorer`.

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
    classes = prediction.classes
    if classes is None:
        classes = prediction.logits.argmax(axis=1) if prediction.num_queries else np.zeros(0, dtype=np.int64)
    repeated = repeats_pairs(prediction)

    # Objects that are given stand for one each.
    merging = {p for p in protocols if p.single_instance and task == "sgdet"}
    # One list is long enough for all rankings of a record.
    length = max(max_rank, MAX_CANDIDATES)

    def rows(protocol: Protocol) -> tuple:
        # Only which queries take part depends on more than how repeated pairs count.
        instances = (protocol.object_score, *iou(protocol)) if protocol in merging else None
        return protocol.entries if repeated else "all", instances

    def ranking(protocol: Protocol) -> tuple:
        return *rows(protocol), protocol.object_score

    def without_constraint(protocol: Protocol) -> tuple:
        return *ranking(protocol), protocol.ng_predicates

    def oi_ranking(protocol: Protocol) -> tuple:
        return *ranking(protocol), protocol.oi_self_pairs

    def iou(protocol: Protocol) -> tuple:
        return protocol.iou_threshold, protocol.iou_plus_one, protocol.iou_area_plus_one

    def overlap(protocol: Protocol) -> tuple:
        return *iou(protocol), protocol.matching

    def oi_overlap(protocol: Protocol) -> tuple:
        return protocol.oi_plus_one, protocol.oi_area_plus_one

    def selected(protocol: Protocol) -> np.ndarray:
        return distinct_instances(prediction.boxes, classes, scores[protocol], *iou(protocol))

    def taking_part(protocol: Protocol) -> Prediction:
        if protocol not in merging:
            return prediction
        return select_rows(prediction, selected(protocol)[prediction.pairs].all(axis=1))

    def sure_rank(protocol: Protocol) -> int | None:
        if protocol not in merging or (whole and prediction.max_rank is None):
            return None
        kept, chosen, sure = selected(protocol), select_entries(prediction, rows(protocol)[0]), []
        for record, width in ((chosen.constrained, 1), (chosen.unconstrained, protocol.ng_predicates)):
            # These rankings are sure, and what is left of their beginning begins the ranking of what is left.
            ranked = rank_candidates(candidate_pairs(record, scores[protocol], max_rank), max_rank, width)
            if len(ranked.subjects) == max_rank:
                sure.append(int((kept[ranked.subjects] & kept[ranked.objects]).sum()))
        return min(sure, default=None)

    def candidates(protocol: Protocol) -> Any:
        chosen, object_scores = entries[protocol], scores[protocol]
        constrained = candidate_pairs(chosen.constrained, object_scores, length)
        if chosen.unconstrained is chosen.constrained:
            return constrained, constrained
        return constrained, candidate_pairs(chosen.unconstrained, object_scores, length)

    def first_ranks(protocol: Protocol) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        ranks, misses = {}, {}
        triplets = ground_truth.triplets
        for prefix, rankings in (("", constrained), ("ng-", unconstrained)):
            ranked = rankings[protocol]
            pairs = match_pairs(ranked, matches[protocol], triplets)
            ranks[f"{prefix}PairR"] = first_hits(pairs)
            hits = pairs & (ranked.predicates[:, None] == triplets[None, :, 2])
            ranks[f"{prefix}R"] = first_hits(hits)
            misses[f"{prefix}R"] = misses_before(hits, ranks[f"{prefix}R"])
            phrases = match_phrases(ranked, prediction.boxes, classes, ground_truth, *iou(protocol))
            ranks[f"{prefix}phr-R"] = first_hits(phrases)
        if task != "sgdet":
            chosen = entries[protocol]
            for kind, listed_rows, width in (
                ("A", chosen.constrained, 1),
                ("ng-A", chosen.unconstrained, protocol.ng_predicates),
            ):
                record = _among_annotated_pairs(listed_rows, ground_truth)
                ranked = rank_candidates(candidate_pairs(record, scores[protocol], max_rank), max_rank, width)
                ranks[kind] = first_hits(match_triplets(ranked, matches[protocol], triplets))
        return ranks, misses

    def open_images(protocol: Protocol) -> OpenImagesHits:
        ranked, plus_one = oi_candidates[protocol], oi_overlap(protocol)
        return score_candidates(ranked, prediction.boxes, classes, ground_truth, matches[protocol], *plus_one)

    scores = _shared(protocols, lambda p: p.object_score, lambda p: prediction.object_scores(p.object_score)[0])
    entries = _shared(protocols, rows, lambda p: select_entries(taking_part(p), rows(p)[0]))
    listed = _shared(protocols, ranking, candidates)
    constrained = _shared(protocols, ranking, lambda p: rank_candidates(listed[p][0], max_rank, 1))
    unconstrained = _shared(
        protocols, without_constraint, lambda p: rank_candidates(listed[p][1], max_rank, p.ng_predicates)
    )
    oi_candidates = _shared(
        protocols,
        oi_ranking,
        lambda p: rank_candidates(listed[p][1], MAX_CANDIDATES, PREDICATES_PER_PAIR, p.oi_self_pairs),
    )
    objects = prediction.boxes, classes, ground_truth.boxes, ground_truth.classes
    matches = _shared(protocols, overlap, lambda p: match_objects(*objects, *overlap(p)))
    ranks = _shared(protocols, lambda p: (without_constraint(p), overlap(p)), first_ranks)
    hits = _shared(protocols, lambda p: (oi_ranking(p), overlap(p), oi_overlap(p)), open_images)
    one_object_each = [p for p in protocols if p.matching == "best" and whole and prediction.max_rank is None]
    places = _shared(
        one_object_each,
        lambda p: (ranking(p), overlap(p)),
        lambda p: predicate_ranks(entries[p].unconstrained, scores[p], matches[p], ground_truth.triplets),
    )

    def precision(protocol: Protocol) -> Precision:
        ranked, first = constrained[protocol], ranks[protocol][0]["R"]
        right = np.zeros(len(ranked.scores), dtype=bool)
        right[first[first < len(right)]] = True
        return Precision(right, ranked.scores)

    queries, best, best_scores = best_classes(prediction)
    return ImageScores(
        ground_truth=ground_truth,
        num_classes=prediction.logits.shape[1],
        num_predicates=prediction.relation.shape[1],
        has_pairs=bool((prediction.pairs[:, 0] != prediction.pairs[:, 1]).any()),
        ranks={protocol.name: ranks[protocol][0] for protocol in protocols},
        misses={protocol.name: ranks[protocol][1] for protocol in protocols},
        sure_ranks={protocol.name: sure_rank(protocol) for protocol in protocols},
        found_objects={protocol.name: int(matches[protocol].any(axis=0).sum()) for protocol in protocols},
        predicate_ranks={protocol.name: places[protocol] for protocol in one_object_each},
        precision={protocol.name: precision(protocol) for protocol in protocols} if exhaustive else {},
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
