"""The prediction of a model for one image, before triplets are ranked or named."""

from dataclasses import dataclass

import numpy as np

from .errors import ConfigurationError, PredictionError

OBJECT_SCORES = ("softmax", "sigmoid")


def choose_object_score(kind: str, num_classes: int) -> str:
    """Say which object score "auto" stands for; "softmax" and "sigmoid" stand for themselves.

    The softmax over a single class is 1 whatever the logit, so that a model of one class is scored by sigmoid.

    Args:
        kind: "auto", "softmax" or "sigmoid".
        num_classes: C.

    Raises:
        ConfigurationError: ``kind`` is unknown.
    """
    if kind == "auto":
        return "sigmoid" if num_classes == 1 else "softmax"
    if kind not in OBJECT_SCORES:
        raise ConfigurationError(f"object score {kind!r} is unknown, choose one of auto, {', '.join(OBJECT_SCORES)}")
    return kind


def all_pairs(num_queries: int) -> np.ndarray:
    """List every ordered pair of ``num_queries`` queries, subject-major.

    Row ``i * num_queries + j`` is (i, j), in the order of a dense (N, N, ...) array reshaped to (N * N, ...).

    Returns:
        (N * N, 2) int64 array of (subject query, object query); pairs (i, i) included.
    """
    subjects, objects = np.divmod(np.arange(num_queries * num_queries, dtype=np.int64), max(num_queries, 1))
    return np.stack([subjects, objects], axis=1)


def object_scores(logits: np.ndarray, kind: str = "auto") -> tuple[np.ndarray, np.ndarray]:
    """Find the best class of each query and its score.

    Args:
        logits: (N, C) float32 class logits.
        kind: "softmax" over the C logits (as in the released evaluation), "sigmoid" (as logits are trained), or
            "auto": softmax, but sigmoid for a single class. The class is the same for all.

    Returns:
        scores (N,) float32 in 0..1 and classes (N,) int64.

    Raises:
        ConfigurationError: ``kind`` is unknown.
    """
    kind = choose_object_score(kind, logits.shape[1])
    if len(logits) == 0:
        return np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int64)
    classes = logits.argmax(axis=1)
    best = logits[np.arange(len(logits)), classes]
    if kind == "softmax":
        scores = 1.0 / np.exp(logits - best[:, None]).sum(axis=1)
    else:
        # exp of a number that is never positive, so that it cannot overflow.
        scores = np.where(best >= 0, 1.0, np.exp(-np.abs(best))) / (1.0 + np.exp(-np.abs(best)))
    return scores.astype(np.float32), classes.astype(np.int64)


@dataclass
class Prediction:
    """Raw output for one image: the record that evaluators read.

    There are N object queries, C object classes, M pairs with relations (dense: M = N * N) and R predicates.

    Attributes:
        logits: (N, C) float32 class logits; there is no background class.
        boxes: (N, 4) float32 boxes, x1 y1 x2 y2 in pixels of the image file.
        pairs: (M, 2) int64, (subject query, object query) of each row of ``connectivity`` and ``relation``.
        connectivity: (M,) float32 in 0..1, probability that any relation joins the pair; ones for a model without a
            connectivity head.
        relation: (M, R) float32 in 0..1, probability of each predicate *before* it is multiplied by connectivity.
        image_size: (height, width) of the image in pixels.
        max_rank: if pairs were left out, the largest K for which rankings of K triplets are the same as with all
            pairs; None: no pairs are known to be left out.
        classes: (N,) int64, the class of each query if it is not the best of ``logits``, as after non-maximum
            suppression of each class; or None.
        scores: (N,) float32 in 0..1, the object scores that belong to ``classes``; or None. Both or none are given.

    Raises:
        PredictionError: a field has a wrong shape, a pair names a query that does not exist, or a class is unknown.
    """

    logits: np.ndarray
    boxes: np.ndarray
    pairs: np.ndarray
    connectivity: np.ndarray
    relation: np.ndarray
    image_size: tuple[int, int]
    max_rank: int | None = None
    classes: np.ndarray | None = None
    scores: np.ndarray | None = None

    def __post_init__(self):
        # Numbers too large for float32 become infinite, which scoring refuses.
        with np.errstate(over="ignore"):
            for field in ("logits", "boxes", "connectivity", "relation"):
                setattr(self, field, np.asarray(getattr(self, field), dtype=np.float32))
        self.pairs = np.asarray(self.pairs, dtype=np.int64)
        if (self.classes is None) != (self.scores is None):
            raise PredictionError("Prediction.classes and Prediction.scores belong together; give both or neither")
        labels = []
        if self.classes is not None:
            self.classes = np.asarray(self.classes, dtype=np.int64)
            self.scores = np.asarray(self.scores, dtype=np.float32)
            labels = [("classes", self.classes), ("scores", self.scores)]
        n, m = (len(array) if array.ndim else 0 for array in (self.logits, self.pairs))
        for name, shape, wanted in (
            ("logits", self.logits.shape, (n, None)),
            ("boxes", self.boxes.shape, (n, 4)),
            ("pairs", self.pairs.shape, (m, 2)),
            ("connectivity", self.connectivity.shape, (m,)),
            ("relation", self.relation.shape, (m, None)),
            *((name, array.shape, (len(self.logits),)) for name, array in labels),
        ):
            if len(shape) != len(wanted) or any(w is not None and s != w for s, w in zip(shape, wanted, strict=True)):
                expected = tuple("any" if w is None else w for w in wanted)
                raise PredictionError(f"Prediction.{name} has shape {shape}, expected {expected}")
        if n and self.logits.shape[1] == 0:
            raise PredictionError("Prediction.logits has no column; a query needs at least one class")
        if (
            self.classes is not None
            and n
            and not 0 <= self.classes.min() <= self.classes.max() < self.logits.shape[1]
        ):
            raise PredictionError(
                f"Prediction.classes lie outside 0..{self.logits.shape[1] - 1}, the columns of logits"
            )
        if m and (self.pairs.min() < 0 or self.pairs.max() >= n):
            raise PredictionError(f"Prediction.pairs indexes queries outside 0..{n - 1}")

    @property
    def num_queries(self) -> int:
        """N."""
        return len(self.logits)

    @property
    def pair_share(self) -> float:
        """Share of the N * N pairs that the record keeps; EGTR keeps the pairs for which it computed relations."""
        return len(self.pairs) / max(self.num_queries**2, 1)

    def object_scores(self, kind: str = "auto") -> tuple[np.ndarray, np.ndarray]:
        """Find the class of each query and its score: those that are given, or see :func:`object_scores`."""
        if self.classes is not None and self.scores is not None:
            choose_object_score(kind, self.logits.shape[1])
            return self.scores, self.classes
        return object_scores(self.logits, kind)
