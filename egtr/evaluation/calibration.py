"""Fits probabilities to scores on a validation split; ``reliability`` measures how well they agree."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.optimize import isotonic_regression, minimize_scalar

from egtr.structures import Calibration, ConfigurationError
from egtr.structures.calibration import Curve, Labels

from .displayed import Sample, join
from .reliability import equal_mass, label_coverage

# Fewer bins lose detail, more fit noise; cross-validation on scenes_val finds 10 to 40 to be alike.
BINS = 20
# Expected shares of right triplets are kept for this many scores.
PRECISION_POINTS = 50
COVERAGES = tuple(round(0.01 * step, 2) for step in range(50, 100))


def fit(samples: Iterable[Sample], dataset: str, exhaustive: bool, object_score: str = "auto") -> Calibration:
    """Fit a calibration to the images of a validation split.

    Triplets and objects: isotonic regression of the shares in bins of equal mass, joined by straight lines. Classes
    and predicates: a temperature, by maximum likelihood, and quantiles of one less the probability of the right
    label (split conformal prediction, least ambiguous sets).

    Args:
        samples: one for each image, see :func:`~egtr.evaluation.displayed.sample_image`.
        dataset: name of the split.
        exhaustive: its annotations hold every relation.
        object_score: the object score of the samples.

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
        object_score=object_score,
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


def split_coverage(
    samples: Sequence[Sample], coverage: float = 0.9, splits: int = 20, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Fit to one random half of the images and measure :func:`label_coverage` on the other, again and again.

    Args:
        samples: images of all splits together.
        coverage: asked share.
        splits: number of random halves.
        seed: of the halves.

    Returns:
        For each number of :func:`label_coverage`, its mean and its standard deviation over the splits.

    Raises:
        ConfigurationError: half of the images are too few to fit to.
    """
    rng = np.random.default_rng(seed)
    half, found = len(samples) // 2, []
    for _ in range(splits):
        order = rng.permutation(len(samples))
        fitted = fit([samples[i] for i in order[:half]], "half of the images", True)
        found.append(label_coverage([samples[i] for i in order[half:]], fitted, coverage))
    columns = {name: [one[name] for one in found] for name in found[0]}
    return {name: (float(np.mean(values)), float(np.std(values))) for name, values in columns.items()}
