"""Scores that become probabilities: applied with numpy, by a record that ``egtr calibrate`` fits."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from .errors import PredictionError, WeightsError
from .model_info import ModelInfo
from .prediction import OBJECT_SCORES, choose_object_score
from .scene_graph import LEAST_PROBABILITY, SceneGraph

# Logits of probabilities 0 and 1 stay finite.
_EPSILON = 1e-6


@dataclass(frozen=True)
class Curve:
    """A monotone map from scores to probabilities: straight lines between points, and level after the last one.

    Attributes:
        scores: (B,) ascending, without repetition, 0..1.
        probabilities: (B,) not descending, 0..1.
    """

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Map scores of any shape to probabilities, float32."""
        return np.interp(scores, self.scores, self.probabilities).astype(np.float32)


@dataclass(frozen=True)
class Labels:
    """Probabilities of the labels of one kind (classes or predicates), and sets that hold the right one.

    Attributes:
        temperature: divisor of the logits, above 0.
        coverages: (Q,) ascending shares, 0..1.
        thresholds: (Q,) not descending: among labels of the fit, the share of the coverage had a probability of at
            least one less the threshold. Above 1: the fit had too few images to promise the coverage.
    """

    temperature: float
    coverages: tuple[float, ...]
    thresholds: tuple[float, ...]

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Compute the softmax of logits, (..., C), divided by the temperature."""
        scaled = np.asarray(logits, dtype=np.float64) / self.temperature
        exponentials = np.exp(scaled - scaled.max(axis=-1, keepdims=True, initial=-np.inf))
        return exponentials / exponentials.sum(axis=-1, keepdims=True)

    def sets(self, logits: np.ndarray, coverage: float = 0.9) -> np.ndarray:
        """Choose the labels whose probability reaches a level (split conformal prediction).

        Args:
            logits: (..., C).
            coverage: share of the sets that shall hold the right label; the next listed coverage is taken.

        Returns:
            (..., C) bool. A set may be empty: then no label is as probable as right labels usually are.

        Raises:
            PredictionError: the coverage lies outside 0..1, or is higher than all listed ones.
        """
        position = int(np.searchsorted(self.coverages, coverage - 1e-9))
        if not 0 <= coverage <= 1 or position == len(self.coverages):
            raise PredictionError(f"sets: coverage is {coverage}; choose one from 0 to {self.coverages[-1]}")
        return self.probabilities(logits) >= 1.0 - self.thresholds[position]


@dataclass(frozen=True)
class Calibration:
    """How the scores of a model become probabilities; all are with respect to annotations like those of the fit.

    Attributes:
        dataset: the images of the fit.
        num_images: their number.
        exhaustive: their annotations hold every relation. If not, probabilities are too low: a relation that is right
            but not annotated counted as wrong.
        triplets: score of a triplet to the probability that it is annotated, fitted on the triplets that
            :meth:`~egtr.structures.SceneGraph.for_display` chooses by rank.
        precision: score of a triplet to the expected share of annotated ones among all that score at least as high.
        objects: presence of an object to the probability that an object of its class is annotated there.
        classes, predicates: probabilities and sets of labels.
        object_score: the object score of the fit, see :meth:`~egtr.structures.Prediction.object_scores`.
    """

    dataset: str
    num_images: int
    exhaustive: bool
    triplets: Curve
    precision: Curve
    objects: Curve
    classes: Labels
    predicates: Labels
    object_score: str = "auto"

    @classmethod
    def of(cls, info: ModelInfo | None, object_score: str = "auto") -> Self | None:
        """Read the calibration of a model from its record.

        Args:
            info: the record, or None.
            object_score: the object score of the graphs, see :meth:`~egtr.structures.Prediction.object_scores`.

        Returns:
            The calibration; None if the record has none, or one for another object score.

        Raises:
            ConfigurationError: there is no such object score.
            WeightsError: the record has a calibration that cannot be used.
        """
        if info is None or info.calibration is None:
            return None
        # Without names there is no way to know; most models have several classes.
        num_classes = len(info.class_names) if info.class_names else 2
        calibration = cls.from_dict(info.calibration)
        fitted, wanted = (choose_object_score(kind, num_classes) for kind in (calibration.object_score, object_score))
        return calibration if fitted == wanted else None

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Make a calibration of what :meth:`to_dict` returns.

        Raises:
            WeightsError: a field is missing or malformed.
        """
        try:
            return cls(
                dataset=str(record["dataset"]),
                num_images=int(record["num_images"]),
                exhaustive=bool(record["exhaustive"]),
                **{name: _read_curve(name, record[name]) for name in ("triplets", "precision", "objects")},
                **{name: _read_labels(name, record[name]) for name in ("classes", "predicates")},
                object_score=_read_object_score(record.get("object_score", "auto")),
            )
        except (KeyError, TypeError, ValueError) as error:
            reason = f"lacks {error}" if isinstance(error, KeyError) else error
            raise WeightsError(
                f"model record: calibration: {reason}. Write it again with egtr calibrate, or leave it out"
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for :attr:`ModelInfo.calibration`."""
        return asdict(self)

    @property
    def least_probability(self) -> float | None:
        """Least probability of the triplets that drawings show.

        None where annotators leave most relations out, as in Visual Genome: most true triplets then are improbable.
        """
        return LEAST_PROBABILITY if self.exhaustive else None

    def apply(self, graph: SceneGraph) -> SceneGraph:
        """Return the graph with its probabilities; order and scores stay the same.

        A graph of given boxes is returned as it is: the scores of such boxes are others than those of the fit.
        """
        if graph.given is not None:
            return graph
        return replace(
            graph,
            least_probability=self.least_probability,
            triplet_probabilities=self.triplets(graph.triplet_scores),
            triplet_precisions=self.precision(graph.triplet_scores),
            object_probabilities=None if graph.presence is None else self.objects(graph.presence),
        )

    def class_sets(self, logits: np.ndarray, coverage: float = 0.9) -> np.ndarray:
        """Choose for each query a set of classes: ``calibration.class_sets(graph.prediction.logits)``.

        Among annotated objects that a query covers, the share ``coverage`` has its class in the set.

        Args:
            logits: (N, C).
            coverage: see :meth:`Labels.sets`.

        Returns:
            (N, C) bool.
        """
        return self.classes.sets(logits, coverage)

    def predicate_sets(self, relation: np.ndarray, coverage: float = 0.9) -> np.ndarray:
        """Choose for each pair a set of predicates: ``calibration.predicate_sets(graph.prediction.relation)``.

        Among displayed pairs whose relation is annotated, the share ``coverage`` has its predicate in the set.

        Args:
            relation: (M, R) in 0..1, see :class:`~egtr.structures.Prediction`.
            coverage: see :meth:`Labels.sets`.

        Returns:
            (M, R) bool.
        """
        return self.predicates.sets(predicate_logits(relation), coverage)


def predicate_logits(relation: np.ndarray) -> np.ndarray:
    """Compute the logits of predicate probabilities, of any shape."""
    relation = np.clip(np.asarray(relation, dtype=np.float64), _EPSILON, 1 - _EPSILON)
    return np.log(relation) - np.log1p(-relation)


def _read_curve(name: str, record: Mapping[str, Any]) -> Curve:
    scores, probabilities = _read_steps(name, record, "scores", "probabilities")
    if (np.diff(scores) <= 0).any():
        raise ValueError(f"{name}.scores do not ascend")
    return Curve(tuple(scores.tolist()), tuple(probabilities.tolist()))


def _read_labels(name: str, record: Mapping[str, Any]) -> Labels:
    coverages, thresholds = _read_steps(name, record, "coverages", "thresholds")
    temperature = float(record["temperature"])
    if not 0 < temperature < np.inf:
        raise ValueError(f"{name}.temperature is {temperature}")
    return Labels(temperature, tuple(coverages.tolist()), tuple(thresholds.tolist()))


def _read_object_score(kind: Any) -> str:
    if kind not in ("auto", *OBJECT_SCORES):
        raise ValueError(f"object_score is {kind!r}, not one of auto, {', '.join(OBJECT_SCORES)}")
    return kind


def _read_steps(name: str, record: Mapping[str, Any], first: str, second: str) -> tuple[np.ndarray, np.ndarray]:
    columns = [np.asarray(record[field], dtype=np.float64) for field in (first, second)]
    for field, column in zip((first, second), columns, strict=True):
        if column.ndim != 1 or len(column) == 0 or len(column) != len(columns[0]):
            raise ValueError(f"{name}.{field} is no list as long as {name}.{first}, or is empty")
        if not np.isfinite(column).all() or (np.diff(column) < 0).any() or column[0] < 0:
            raise ValueError(f"{name}.{field} holds numbers that are not finite, negative or out of order")
    if columns[0][-1] > 1 or (second == "probabilities" and columns[1][-1] > 1):
        raise ValueError(f"{name} holds a number above 1")
    return columns[0], columns[1]
