"""Metrics of predictions, computed at once or image by image."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from egtr.structures import ConfigurationError, GroundTruth, Prediction, PredictionError, TripletCounts

from .bootstrap import bootstrap_intervals, check_bootstrap
from .detection import OBJECT_AP, detection_ap
from .image_scores import ImageScores, score_image
from .open_images import MAX_CANDIDATES, open_images_metrics
from .precision import check_precision, precision_metrics
from .protocols import TASKS, Protocol, get_protocols
from .recall import recall_metrics
from .record_checks import check_columns
from .triplet_table import triplet_table

logger = logging.getLogger(__name__)


class Scorer:
    """Every metric under one or several protocols, in two steps.

    :meth:`score` turns one image into a compact record, as soon as it is predicted, in any process.
    :meth:`summarize` turns the records of a dataset into metrics.
    """

    def __init__(
        self,
        protocols: str | Protocol | Sequence[str | Protocol] = "reference",
        top_k: Sequence[int] = (20, 50, 100),
        training: TripletCounts | None = None,
        task: str = "sgdet",
        zero_shot: TripletCounts | None = None,
        whole: bool = True,
        groups: Mapping[str, Sequence[int]] | None = None,
        exhaustive: bool = False,
        precision_at: float | None = None,
    ):
        """Choose what is scored.

        Args:
            protocols: scoring conventions, by name or your own.
            top_k: the K of R@K and similar metrics, positive.
            training: triplets of the training set, for zero-shot recall and groups of predicates.
            task: the input of the model: "sgdet" only the image, "sgcls" also the boxes of all objects, "predcls"
                also their classes, so that there is no object AP.
            zero_shot: the triplets of zero-shot recall, for comparison with published numbers that used a fixed
                list; None: all triplets that ``training`` does not hold.
            whole: False if records leave pairs out without saying so by ``max_rank``, as those of pruned files do.
                Then there is no PRank, for which every pair counts.

        Raises:
            ConfigurationError: unknown protocol or task; bad ``top_k``; ``precision_at`` without ``exhaustive``.
        """
        check_precision(precision_at, exhaustive)
        self.exhaustive, self.precision_at = exhaustive, precision_at
        self.protocols = get_protocols(protocols)
        self.top_k = check_top_k(top_k)
        self.training, self.zero_shot = training, zero_shot
        self.whole = whole
        self.groups = None if groups is None else {name: np.asarray(ids, int) for name, ids in groups.items()}
        if task not in TASKS:
            raise ConfigurationError(f"task {task!r} is unknown, choose one of {', '.join(TASKS)}")
        self.task = task

    def score(self, prediction: Prediction, ground_truth: GroundTruth) -> ImageScores:
        """Compute one image's part in every metric.

        Raises:
            PredictionError: see :func:`~egtr.evaluation.image_scores.score_image`; or the prediction has other
                numbers of classes and predicates than ``training`` or ``zero_shot``.
        """
        for name, counts in (("training", self.training), ("zero_shot", self.zero_shot)):
            if counts is not None:
                where = f"image {ground_truth.image_id!r}: "
                check_columns(prediction, counts.num_classes, counts.num_predicates, name, where)
        return score_image(
            prediction, ground_truth, self.protocols, max(self.top_k), self.task, self.whole, self.exhaustive
        )

    def summarize(self, scores: Sequence[ImageScores], bootstrap: int = 0) -> dict[str, dict[str, Any]]:
        """Compute the metrics of a dataset.

        Args:
            scores: one record for each image, from :meth:`score` of this scorer or an equal one.
            bootstrap: draws for the intervals, such as 1000; 0: no intervals.

        Returns:
            Protocol name to its metrics, see :func:`evaluate`.

        Raises:
            PredictionError: two predictions differ in the number of predicates.
            ConfigurationError: ``bootstrap`` is no number of draws; ``groups`` hold a predicate that does not exist.
        """
        check_bootstrap(bootstrap)
        num_predicates = self._num_predicates(scores)
        for name, ids in (self.groups or {}).items():
            if scores and len(ids) and ids.max() >= num_predicates:
                raise ConfigurationError(
                    f"groups: {name} holds predicate {ids.max()}, but predictions have only 0..{num_predicates - 1}; "
                    "give the groups of this dataset's predicates"
                )
        softmax = [protocol.name for protocol in self.protocols if protocol.object_score == "softmax"]
        if scores and scores[0].num_classes == 1 and softmax:
            logger.warning(
                "There is one class, and %s takes a softmax over it, which gives every object score 1: triplets are "
                "ranked by their relation only. Protocol strict scores objects by sigmoid.",
                ", ".join(softmax),
            )
        average_precision = _AveragePrecision(scores)
        return {
            protocol.name: self._summarize(protocol, scores, num_predicates, average_precision, bootstrap)
            for protocol in self.protocols
        }

    def _summarize(
        self,
        protocol: Protocol,
        scores: Sequence[ImageScores],
        num_predicates: int,
        average_precision: "_AveragePrecision",
        bootstrap: int,
    ) -> dict[str, Any]:
        counted = [_counted_triplets(record.ground_truth, protocol) for record in scores]
        relevant = [
            i for i, record in enumerate(scores) if record.has_pairs or not protocol.skip_images_without_pairs
        ]
        chosen = [scores[i] for i in relevant], [counted[i] for i in relevant]
        table = triplet_table(protocol, *chosen, num_predicates, self.task)
        metrics = {"num_images": len(scores)}
        metrics |= recall_metrics(table, protocol, self.top_k, self.training, self.zero_shot, self.groups)
        if self.exhaustive:
            found = [scores[i].precision[protocol.name] for i in relevant]
            metrics |= precision_metrics(found, self.top_k, self.precision_at)
        # Where boxes and classes are given, nothing is detected.
        has_ap = self.task != "predcls"
        if has_ap:
            metrics |= average_precision.of_protocol(protocol)
        gt_predicates = [
            np.where(count, record.ground_truth.triplets[:, 2], -1)
            for record, count in zip(scores, counted, strict=True)
        ]
        block = open_images_metrics(
            [record.open_images[protocol.name] for record in scores],
            gt_predicates,
            protocol.oi_recall,
            protocol.oi_empty_images_count,
            num_predicates if protocol.absent_predicates_count else None,
        )
        if has_ap:
            block |= average_precision.of_open_images(protocol)
        metrics |= {f"oi/{name}": value for name, value in block.items()}
        self._leave_out_unsure(protocol, scores, metrics)
        if bootstrap:
            metrics["intervals"] = bootstrap_intervals(
                table, self.top_k, protocol.absent_predicates_count, bootstrap, protocol.recall == "micro"
            )
            for name in metrics["intervals"]:
                if np.isnan(metrics[name]):
                    metrics["intervals"][name] = (float("nan"), float("nan"))
        return metrics

    def _leave_out_unsure(self, protocol: Protocol, scores: Sequence[ImageScores], metrics: dict[str, Any]) -> None:
        """Put NaN for metrics that need more pairs than the records have."""
        known = [record.sure_ranks[protocol.name] for record in scores]
        sure = min((rank for rank in known if rank is not None), default=None)
        if sure is None or sure >= max(*self.top_k, MAX_CANDIDATES):
            return
        longest = max(len(record.ground_truth.triplets) for record in scores)
        for name in metrics:
            _, _, k = name.partition("@")
            length = {"rel": longest, "mean": max(self.top_k)}.get(k) or int(k or 0)
            if name.startswith("P("):
                length = max(self.top_k)
            if name.startswith("oi/") and not name.startswith("oi/AP"):
                length = MAX_CANDIDATES
            if length > sure:
                metrics[name] = float("nan")
        for name, recall in metrics["per_predicate"].recall.items():
            if np.isnan(metrics[name]):
                recall[:] = np.nan
        logger.warning(
            "Protocol %s leaves out queries. The records hold only the pairs of the first %d triplets, so that only "
            "metrics up to K = %d are sure, and others are not given. Predict with MODEL.EGTR.RELATION.PRUNE_PAIRS "
            "False, or write whole records (max_rank null).",
            protocol.name,
            max(self.top_k),
            sure,
        )

    def _num_predicates(self, scores: Sequence[ImageScores]) -> int:
        if not scores:
            return 0 if self.training is None else self.training.num_predicates
        expected = scores[0].num_predicates
        for index, record in enumerate(scores):
            if record.num_predicates != expected:
                raise PredictionError(
                    f"prediction {index} (image {record.ground_truth.image_id!r}): relation has "
                    f"{record.num_predicates} predicates, the ones before it {expected}; predictions of different "
                    "models cannot be scored together"
                )
        return expected


class _AveragePrecision:
    """Object AP of a dataset. Each kind is computed when it is first needed, and shared between protocols."""

    def __init__(self, scores: Sequence[ImageScores]):
        self._scores = scores
        self._truths = [record.ground_truth for record in scores]
        self._known: dict[tuple, dict[str, float]] = {}

    def of_protocol(self, protocol: Protocol) -> dict[str, float]:
        """Compute "AP" and its kin as a protocol has them."""
        if protocol.object_ap == "query":
            boxes = (protocol.ap_plus_one != "none", protocol.ap_plus_one == "both")
            return self._of_queries(protocol.object_score, protocol.ap_first_id, *boxes)
        if () not in self._known:
            detections = [record.objects.per_class() for record in self._scores]
            ap = detection_ap(detections, self._truths, **OBJECT_AP)
            self._known[()] = {name: ap[name] for name in ("AP", "AP50", "AP75")}
        return self._known[()]

    def of_open_images(self, protocol: Protocol) -> dict[str, float]:
        """Compute the AP of the Open Images block, of one detection for each query."""
        return self._of_queries(
            protocol.object_score, protocol.oi_first_id, protocol.oi_plus_one, protocol.oi_plus_one
        )

    def _of_queries(self, object_score: str, first_id: int, plus_one: bool, truth_plus_one: bool) -> dict[str, float]:
        key = (object_score, first_id, plus_one, truth_plus_one)
        if key not in self._known:
            detections = [record.objects.per_query(object_score) for record in self._scores]
            self._known[key] = detection_ap(detections, self._truths, plus_one, first_id, truth_plus_one)
        return self._known[key]


def _counted_triplets(ground_truth: GroundTruth, protocol: Protocol) -> np.ndarray:
    """Select the triplets of an image that count: all, or the first of equal ones: (T,) bool."""
    triplets = ground_truth.triplets
    if not protocol.deduplicate_ground_truth:
        return np.ones(len(triplets), dtype=bool)
    counted = np.zeros(len(triplets), dtype=bool)
    counted[np.unique(triplets, axis=0, return_index=True)[1]] = True
    return counted


def evaluate(
    predictions: Iterable[Prediction],
    ground_truth: Iterable[GroundTruth],
    protocol: str | Protocol = "reference",
    top_k: Sequence[int] = (20, 50, 100),
    *,
    training: TripletCounts | None = None,
    task: str = "sgdet",
    bootstrap: int = 0,
    zero_shot: TripletCounts | None = None,
    groups: Mapping[str, Sequence[int]] | None = None,
    exhaustive: bool = False,
    precision_at: float | None = None,
) -> dict[str, Any]:
    """Score the predictions of a dataset, without running a model.

    Both iterables are read once and in step, so that predictions may be streamed: only a few kB of each are kept.

    Args:
        predictions: one record for each image.
        ground_truth: the same images in the same order.
        protocol: name of a protocol in :data:`~egtr.evaluation.PROTOCOLS`, or your own.
        top_k: the K of R@K and similar metrics, positive.
        training: triplets of the training set, for zero-shot recall and groups of predicates.
        task: "sgdet", "sgcls" or "predcls", see :class:`Scorer`.
        bootstrap: draws for the intervals; 0: no intervals.
        zero_shot: a fixed list for zero-shot recall, in place of all triplets that ``training`` does not hold.
        groups, exhaustive, precision_at: see :class:`Scorer`.

    Returns:
        Fractions in 0..1, NaN if there is nothing to be found. For every K, and with the prefix "ng-" for the
        ranking without graph constraint:
        "R@K": the share of an image's triplets that the first K predictions hit, mean over images with triplets;
        "mR@K": the same for the ground truth of one predicate only, mean over predicates;
        "F1@K": harmonic mean of the two, and "F1@mean" its mean over K; "phr-R@K": R@K if one box around subject and
        object has to overlap instead of both boxes;
        with ``training`` or ``zero_shot`` "zR@K": R@K of the triplets of classes that training never showed;
        with ``training`` "head-mR@K", "body-mR@K", "tail-mR@K": mR@K over its frequent, middle and rare third of
        predicates.
        for exhaustive data "P@K" and "P(score>=...)", see :func:`~egtr.evaluation.precision.precision_metrics`;
        in tasks other than "sgdet", "A@K": triplets hit over triplets, of all images, if only annotated pairs are
        ranked, with graph constraint;
        "AP", "AP50", "AP75": object AP as COCO computes it, over the 100 best (query, class) by sigmoid score; in
        protocols whose ``object_ap`` is "query" that of one detection for each query, and "APs", "APm", "APl".
        "oi/microR@50", "oi/R@50", "oi/wmAP_rel", "oi/wmAP_phr", "oi/score", "oi/AP", "oi/AP50", "oi/AP75", "oi/APs",
        "oi/APm", "oi/APl": the Open Images block, see :mod:`~egtr.evaluation.open_images`; its AP is of one
        detection for each query. Task "predcls" has no AP of objects.
        "per_predicate": a :class:`~egtr.evaluation.recall.PredicateRecall`. "num_images", and the denominators
        "num_images_with_triplets", "num_triplets", "num_predicates_present" and, with zR@K,
        "num_zero_shot_triplets". With ``bootstrap`` "intervals": 95% intervals (low, high) of R@K and mR@K.

    Raises:
        PredictionError: the iterables differ in length; two predictions, or one and ``training``, differ in their
            numbers of classes or predicates; the ground truth holds a class or predicate that the prediction does not
            know; a prediction holds NaN, infinity or values that are no probabilities.
        ConfigurationError: unknown protocol or task; bad ``top_k`` or ``bootstrap``.
    """
    check_bootstrap(bootstrap)
    scorer = Scorer(protocol, top_k, training, task, zero_shot, True, groups, exhaustive, precision_at)
    scores = [scorer.score(p, t) for p, t in zip_in_step(predictions, ground_truth)]
    (metrics,) = scorer.summarize(scores, bootstrap).values()
    return metrics


def check_top_k(top_k: Sequence[int]) -> tuple[int, ...]:
    """Convert ``top_k`` to ascending integers without repetition.

    Raises:
        ConfigurationError: it is empty, or holds anything but positive integers.
    """
    values = tuple(top_k)
    if not values or any(int(k) != k or k < 1 for k in values):
        raise ConfigurationError(f"top_k is {values}; give at least one positive integer, such as (20, 50, 100)")
    return tuple(sorted({int(k) for k in values}))


def zip_in_step(predictions: Iterable[Prediction], ground_truth: Iterable[GroundTruth]):
    """Yield pairs of a prediction and its ground truth.

    Raises:
        PredictionError: one ends before the other.
    """
    missing = object()
    for index, (prediction, truth) in enumerate(zip_longest(predictions, ground_truth, fillvalue=missing)):
        if prediction is missing or truth is missing:
            short, long = (
                ("predictions", "ground_truth") if prediction is missing else ("ground_truth", "predictions")
            )
            raise PredictionError(f"{short} ends after {index} images, but {long} goes on; give both for every image")
        yield prediction, truth
