"""Fits probabilities to scores on a validation split; ``reliability`` measures how well they agree with annotations.

"Right" is always with respect to annotations: a triplet is right if it hits an annotated triplet (same predicate,
both objects matched), an object if it matches an annotated object of its class. Where annotators leave relations
out, a triplet that is true but not annotated counts as wrong.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression, minimize_scalar

from egtr.structures import (
    Calibration,
    ConfigurationError,
    GroundTruth,
    Prediction,
    RankedTriplets,
    SceneGraph,
    pairwise_iou,
)
from egtr.structures.calibration import Curve, Labels, predicate_logits

from .matching import match_objects, match_pairs, match_triplets

# Fewer bins lose detail, more fit noise; cross-validation on scenes_val finds 10 to 40 to be alike.
BINS = 20
# Expected shares of right triplets are kept for this many scores.
PRECISION_POINTS = 50
COVERAGES = tuple(round(0.01 * step, 2) for step in range(50, 100))
IOU_THRESHOLD = 0.5


class Sample(NamedTuple):
    """The displayed part of one image, with what is right in it.

    Attributes:
        scores, right: (K,) scores of the displayed triplets, descending, and whether each is annotated.
        presence, found: (N,) presence of the displayed objects, and whether each is annotated with its class.
        class_logits, classes: (A, C) logits of displayed objects that cover an annotated one, and (A,) its class.
        predicate_logits, predicates: (B, R) logits of displayed pairs that are annotated, and (B,) the predicate.
    """

    scores: np.ndarray
    right: np.ndarray
    presence: np.ndarray
    found: np.ndarray
    class_logits: np.ndarray
    classes: np.ndarray
    predicate_logits: np.ndarray
    predicates: np.ndarray

    def without_labels(self) -> "Sample":
        """Return the sample without labels and their logits, which are most of its size."""
        none = {name: getattr(self, name)[:0] for name in Sample._fields[4:]}
        return self._replace(**none)


def sample_image(prediction: Prediction, truth: GroundTruth) -> Sample:
    """Compare the relations and objects that ``for_display`` chooses by rank with an image's annotations.

    Args:
        prediction: N queries.
        truth: G objects and T triplets.
    """
    graph = SceneGraph.from_prediction(prediction).for_display()
    _, classes = prediction.object_scores()
    matches = match_objects(prediction.boxes, classes, truth.boxes, truth.classes, IOU_THRESHOLD)
    shown = RankedTriplets(*graph.triplet_queries.T, graph.triplets[:, 2], graph.triplet_scores)
    # The annotated object that each displayed one covers, whatever its class is.
    overlaps = pairwise_iou(graph.boxes, truth.boxes)
    covers = overlaps.max(axis=1, initial=0.0) >= IOU_THRESHOLD
    covered = overlaps[covers].argmax(axis=1) if len(truth.boxes) else np.zeros(0, dtype=np.int64)
    joined = match_pairs(shown, matches, truth.triplets)
    edges = np.flatnonzero(joined.any(axis=1))
    # An annotated pair may have several predicates; the first one that is annotated stands for it.
    predicates = truth.triplets[joined[edges].argmax(axis=1), 2] if len(edges) else np.zeros(0, dtype=np.int64)
    return Sample(
        scores=graph.triplet_scores,
        right=match_triplets(shown, matches, truth.triplets).any(axis=1),
        presence=graph.presence,
        found=matches[graph.query_index].any(axis=1),
        class_logits=prediction.logits[graph.query_index[covers]],
        classes=truth.classes[covered],
        predicate_logits=predicate_logits(prediction.relation[_rows(prediction, graph.triplet_queries[edges])]),
        predicates=predicates,
    )


def _rows(prediction: Prediction, pairs: np.ndarray) -> np.ndarray:
    """Find the rows of (B, 2) pairs of queries in ``prediction.pairs``; of repeated ones, any."""
    keys = prediction.pairs @ (prediction.num_queries, 1)
    order = np.argsort(keys, kind="stable")
    wanted = pairs @ (prediction.num_queries, 1)
    return order[np.searchsorted(keys[order], wanted)]


def fit(samples: Iterable[Sample], dataset: str, exhaustive: bool) -> Calibration:
    """Fit a calibration to the images of a validation split.

    Triplets and objects: isotonic regression of the shares in bins of equal mass, joined by straight lines. Classes
    and predicates: a temperature, by maximum likelihood, and quantiles of one less the probability of the right
    label (split conformal prediction, least ambiguous sets).

    Args:
        samples: one for each image, see :func:`sample_image`.
        dataset: name of the split.
        exhaustive: its annotations hold every relation.

    Raises:
        ConfigurationError: there are too few displayed triplets, objects or annotated ones to fit to.
    """
    samples = list(samples)
    scores, right, presence, found = (join(samples, name) for name in ("scores", "right", "presence", "found"))
    for name, number in (("displayed triplets", len(scores)), ("displayed objects", len(presence))):
        if number < BINS:
            raise ConfigurationError(
                f"calibration on {dataset}: {len(samples)} images have {number} {name}, but at least {BINS} are "
                "needed; take more images, or a model that is trained"
            )
    triplets = fit_curve(scores, right)
    return Calibration(
        dataset=dataset,
        num_images=len(samples),
        exhaustive=exhaustive,
        triplets=triplets,
        precision=fit_precision(scores, triplets),
        objects=fit_curve(presence, found),
        classes=_fit_labels(samples, "class_logits", "classes", dataset),
        predicates=_fit_labels(samples, "predicate_logits", "predicates", dataset),
    )


def fit_curve(scores: np.ndarray, right: np.ndarray, bins: int = BINS) -> Curve:
    """Fit a monotone map from scores to the share that is right.

    The scores are cut into bins of equal mass; the points are the mean score of each bin and the isotonic regression
    of the shares. Score 0 has probability 0, so that scores below those of the fit become ever less probable.

    Args:
        scores: (S,) in 0..1.
        right: (S,) bool.
        bins: number of bins; scores that are equal stay in one.
    """
    groups = list(equal_mass(scores, bins))
    means = np.array([scores[rows].mean(dtype=np.float64) for rows in groups])
    shares = np.array([right[rows].mean() for rows in groups])
    weights = np.array([len(rows) for rows in groups], dtype=np.float64)
    levels = np.clip(isotonic_regression(shares, weights=weights).x, 0.0, 1.0)
    points: dict[float, float] = {0.0: 0.0}
    for mean, level in zip(means.round(6).tolist(), levels.round(6).tolist(), strict=True):
        points[mean] = level
    return Curve(tuple(points), tuple(points.values()))


def fit_precision(scores: np.ndarray, curve: Curve) -> Curve:
    """Fit the expected share of right triplets among all that score at least as high.

    It is the mean of their probabilities, which descends with the score as the probabilities do.

    Args:
        scores: (S,) scores of all displayed triplets of the fit.
        curve: their probabilities.
    """
    ordered = np.sort(scores.astype(np.float64))
    tail_means = np.cumsum(curve(ordered[::-1]).astype(np.float64))[::-1] / np.arange(len(ordered), 0, -1)
    chosen = np.unique(np.linspace(0, len(ordered) - 1, PRECISION_POINTS).round().astype(np.int64))
    points: dict[float, float] = {}
    for row in chosen.tolist():
        points.setdefault(round(float(ordered[row]), 6), round(float(tail_means[row]), 6))
    return Curve(tuple(points), tuple(np.maximum.accumulate(list(points.values())).tolist()))


def equal_mass(scores: np.ndarray, bins: int) -> Iterator[np.ndarray]:
    """Cut scores into bins of nearly equal size, of which none is empty.

    Args:
        scores: (S,) float.
        bins: the largest number of bins. Equal scores stay together, so there may be fewer.

    Yields:
        The indices of each bin, by ascending score.
    """
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    cuts = (np.arange(1, bins) * len(scores)) // bins
    # A cut inside a run of equal scores moves to its beginning.
    cuts = np.unique(np.searchsorted(ordered, ordered[cuts], side="left")) if len(scores) else cuts[:0]
    yield from (rows for rows in np.split(order, cuts) if len(rows))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Find the temperature that makes labels most likely: the softmax of logits / temperature.

    Args:
        logits: (S, C).
        labels: (S,) int, columns of ``logits``.

    Returns:
        A number in 0.05..20.
    """
    logits = logits.astype(np.float64)
    logits = logits - logits.max(axis=1, keepdims=True)

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(labels)), labels]))

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def conformal_thresholds(scores: np.ndarray, coverages: Sequence[float] = COVERAGES) -> np.ndarray:
    """Find the levels below which a further score lies with the given probabilities (split conformal prediction).

    Args:
        scores: (S,) scores of the calibration set; high means that the label does not conform.
        coverages: shares in 0..1.

    Returns:
        For each share the ceil((S + 1) * share)-th smallest score; 2, above all scores, where S is too small.
    """
    ordered = np.append(np.sort(scores.astype(np.float64)), 2.0)
    # Rounded, because 0.9 * 10 must count as 9 although 0.9 is not exact.
    places = np.ceil(np.round((len(scores) + 1) * np.asarray(coverages, dtype=np.float64), 9)).astype(np.int64)
    return ordered[np.minimum(np.maximum(places, 1) - 1, len(scores))]


def _fit_labels(samples: Sequence[Sample], logits_field: str, labels_field: str, dataset: str) -> Labels:
    logits, labels = join(samples, logits_field), join(samples, labels_field)
    if len(labels) == 0:
        raise ConfigurationError(
            f"calibration on {dataset}: no displayed {'object' if labels_field == 'classes' else 'pair'} of "
            f"{len(samples)} images is annotated; is it the dataset of this model?"
        )
    temperature = round(fit_temperature(logits, labels), 6)
    probabilities = Labels(temperature, COVERAGES, COVERAGES).probabilities(logits)
    thresholds = conformal_thresholds(1.0 - probabilities[np.arange(len(labels)), labels])
    # Rounded up, so that the promised coverage is kept.
    return Labels(temperature, COVERAGES, tuple((np.ceil(thresholds * 1e6) / 1e6).tolist()))


def join(samples: Sequence[Sample], field: str) -> np.ndarray:
    """Concatenate a field of all images."""
    # The first part of each field has its number of columns, also where no image has a row.
    return np.concatenate([getattr(sample, field) for sample in samples]) if samples else np.zeros(0)
