"""Measures how well stated numbers agree with annotations, and how often sets of labels hold the right one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from egtr.structures import Calibration
from egtr.structures.calibration import Curve

from .displayed import Sample, join

# Of equal mass, in the calibration error and in diagrams.
BINS = 10


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


def calibration_error(probabilities: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Compute the expected calibration error (ECE) with bins of equal mass.

    Args:
        probabilities: (S,) in 0..1.
        right: (S,) bool.
        bins: number of bins.

    Returns:
        The mean over all S of the distance between the mean probability and the share of right ones in their bin;
        NaN for S = 0.
    """
    if len(probabilities) == 0:
        return float("nan")
    groups = list(equal_mass(probabilities, bins))
    distances = [abs(probabilities[rows].mean(dtype=np.float64) - right[rows].mean()) * len(rows) for rows in groups]
    return float(np.sum(distances) / len(probabilities))


def drawn_error(probabilities: np.ndarray, bins: int = BINS, draws: int = 200, seed: int = 0) -> float:
    """Compute the mean ECE of labels that are drawn from the probabilities: what chance makes of perfect ones.

    Args:
        probabilities: (S,) in 0..1.
        bins: see :func:`calibration_error`.
        draws: number of draws to average.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    errors = [
        calibration_error(probabilities, rng.random(len(probabilities)) < probabilities, bins) for _ in range(draws)
    ]
    return float(np.mean(errors))


def label_coverage(samples: Sequence[Sample], calibration: Calibration, coverage: float = 0.9) -> dict[str, float]:
    """Measure the share of sets that hold the right label, and the mean number of labels in a set.

    Args:
        samples: images that the calibration was not fitted to.
        calibration: to be measured.
        coverage: asked share.

    Returns:
        "classes", "predicates": shares in 0..1, NaN without any annotated one; "classes_size", "predicates_size".
    """
    result = {}
    for name, labels, logits_field in (
        ("classes", calibration.classes, "class_logits"),
        ("predicates", calibration.predicates, "predicate_logits"),
    ):
        logits, right = join(samples, logits_field), join(samples, name)
        sets = labels.sets(logits, coverage) if len(right) else np.zeros((0, 1), dtype=bool)
        result[name] = float(sets[np.arange(len(right)), right].mean()) if len(right) else float("nan")
        result[f"{name}_size"] = float(sets.sum(axis=1).mean()) if len(right) else float("nan")
    return result


@dataclass(frozen=True)
class Agreement:
    """How probabilities of one kind agree with annotations.

    Attributes:
        probabilities: (S,) in 0..1.
        right: (S,) bool.
        images: (S,) int, the image of each.
    """

    probabilities: np.ndarray
    right: np.ndarray
    images: np.ndarray

    @classmethod
    def of_triplets(cls, samples: Sequence[Sample], calibration: Calibration | None) -> "Agreement":
        """Collect displayed triplets; without a calibration their scores stand for probabilities."""
        return cls._of(samples, "scores", "right", calibration and calibration.triplets)

    @classmethod
    def of_objects(cls, samples: Sequence[Sample], calibration: Calibration | None) -> "Agreement":
        """Collect displayed objects; without a calibration their presence stands for probabilities."""
        return cls._of(samples, "presence", "found", calibration and calibration.objects)

    @classmethod
    def _of(cls, samples: Sequence[Sample], field: str, right: str, curve: Curve | None) -> "Agreement":
        values = join(samples, field)
        images = np.repeat(np.arange(len(samples)), [len(getattr(sample, field)) for sample in samples])
        return cls(values if curve is None else curve(values), join(samples, right), images)

    def bins(self) -> list[tuple[float, float, int]]:
        """Compute the points of a reliability diagram, for 10 bins of equal mass.

        Returns:
            For each bin the mean stated number, the share that is right, and how many there are.
        """
        groups = equal_mass(self.probabilities, BINS)
        return [
            (float(self.probabilities[rows].mean(dtype=np.float64)), float(self.right[rows].mean()), len(rows))
            for rows in groups
        ]

    def errors(self) -> tuple[float, float]:
        """Compute the ECE in 10 bins of equal mass, and that of labels drawn from the probabilities."""
        return calibration_error(self.probabilities, self.right), drawn_error(self.probabilities)
