"""Why a model draws an edge of a scene graph, in numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ExplainedObject:
    """One end of an edge. L decoder layers, H heads, F feature levels, P points.

    Attributes:
        query: index of the object query.
        class_id, name: its class; "class 3" if names are unknown.
        score: the score of this class, 0..1.
        box: (4,) x1 y1 x2 y2 in pixels of the image.
        points: (L, H, F, P, 2) x and y, in pixels of the image, of the points that the query's cross-attention reads
            (outside of the image it reads zeros). None if attention is dense, as in DETR.
        point_weights: (L, H, F, P), the weight of each point; weights sum to 1 for each layer and head. None if
            attention is dense.
    """

    query: int
    class_id: int
    name: str
    score: float
    box: np.ndarray
    points: np.ndarray | None
    point_weights: np.ndarray | None

    def strongest_points(self, count: int) -> list[dict[str, float]]:
        """List the ``count`` points of highest weight, over all layers, heads and levels: x, y, weight, layer."""
        if self.points is None:
            return []
        order = np.argsort(-self.point_weights, axis=None, kind="stable")[:count]
        layers = np.unravel_index(order, self.point_weights.shape)[0]
        return [
            {"x": round(float(x), 1), "y": round(float(y), 1), "weight": round(float(weight), 4), "layer": int(layer)}
            for (x, y), weight, layer in zip(
                self.points.reshape(-1, 2)[order], self.point_weights.flat[order], layers, strict=True
            )
        ]


@dataclass(frozen=True)
class EdgeExplanation:
    """Everything that went into the score of one triplet (paper, section 3.2).

    S relation sources, L decoder layers, H heads.

    The numbers add up. ``score`` is the product of ``subject.score``, ``object.score``, ``predicate_score`` and, if
    the model has a connectivity head, ``connectivity``. ``predicate_score`` is the sigmoid of ``logit``, which is
    ``head_logit + frequency_bias + logit_adjustment``. ``head_logit`` is the sum of ``contributions`` and
    ``constant``.

    Attributes:
        subject, object: the two ends.
        predicate_id, predicate: the predicate between them; "predicate 3" if names are unknown.
        score: the score of the triplet, 0..1.
        predicate_score: the score of the predicate, 0..1.
        connectivity: the probability that any predicate joins the two, 0..1; None without a connectivity head.
        connectivity_logit: the logit of ``connectivity``, or None.
        logit: the logit of the predicate.
        head_logit: the part from the relation head, which depends on the image.
        frequency_bias: the part from the training set's statistics of these two classes; 0 if it is off.
        logit_adjustment: the part from logit adjustment; 0 if it is off.
        sources: S names of relation sources, such as "layer 0" and "last state".
        gates: (S,) in 0..1, or None without a gate.
        contributions: (S,), the share of each source in ``head_logit``. A head of linear layers and ReLUs is linear
            around each input: with the ReLUs open or shut as they are for this pair, the logit is a sum over sources
            plus a constant from the biases. A contribution is also a slope: if a source grows by 1%, the logit moves
            by 1% of the contribution. It does not tell how much the logit would fall without the source, because
            other ReLUs would then open. For a head with other functions it is only the slope. None if the head reads
            more than the pair itself.
        constant: the rest of ``head_logit``; all of it if ``contributions`` is None.
        attention: (L, H), the weight that the subject's query gives to the object's query in decoder self-attention,
            among all queries. Like the pair feature, it is computed from the subject's query and the object's key.
        attention_back: (L, H), the weight that the object's query gives to the subject's query.
    """

    subject: ExplainedObject
    object: ExplainedObject
    predicate_id: int
    predicate: str
    score: float
    predicate_score: float
    connectivity: float | None
    connectivity_logit: float | None
    logit: float
    head_logit: float
    frequency_bias: float
    logit_adjustment: float
    sources: tuple[str, ...]
    gates: np.ndarray | None
    contributions: np.ndarray | None
    constant: float
    attention: np.ndarray
    attention_back: np.ndarray

    def to_dict(self, max_points: int = 40) -> dict[str, Any]:
        """Return plain values for ``json.dump``, with four decimals.

        Args:
            max_points: number of sampling points of each object; the ones of highest weight are taken.
        """
        numbers = (
            "score predicate_score connectivity connectivity_logit logit head_logit frequency_bias logit_adjustment "
            "gates contributions constant attention attention_back"
        )
        return {
            "subject": _end_to_dict(self.subject, max_points),
            "predicate": self.predicate,
            "predicate_id": self.predicate_id,
            "object": _end_to_dict(self.object, max_points),
            "sources": list(self.sources),
            **{name: _rounded(getattr(self, name)) for name in numbers.split()},
        }

    def __str__(self) -> str:
        factors = [
            (self.subject.name, self.subject.score),
            (self.predicate, self.predicate_score),
            (self.object.name, self.object.score),
        ]
        if self.connectivity is not None:
            factors.append(("connected", self.connectivity))
        shares = [("head", self.head_logit)]
        shares += [("frequency bias", self.frequency_bias)] * bool(self.frequency_bias)
        shares += [("logit adjustment", self.logit_adjustment)] * bool(self.logit_adjustment)
        lines = [
            f"{self.subject.name} - {self.predicate} - {self.object.name}",
            f"  score {self.score:.3f} = " + " x ".join(f"{name} {value:.3f}" for name, value in factors),
            f"  logit {self.logit:.2f} = " + " + ".join(f"{name} {value:.2f}" for name, value in shares),
        ]
        if self.gates is not None:
            gates = zip(self.sources, self.gates, strict=True)
            lines.append("  gates: " + ", ".join(f"{name} {gate:.2f}" for name, gate in gates))
        layer, head = np.unravel_index(self.attention.argmax(), self.attention.shape)
        highest = f"{self.attention.max():.2f} in layer {layer}, head {head}"
        lines.append(f"  attention of subject to object: at most {highest}")
        return "\n".join(lines)


def _end_to_dict(end: ExplainedObject, max_points: int) -> dict[str, Any]:
    return {
        "query": end.query,
        "class": end.name,
        "class_id": end.class_id,
        "score": _rounded(end.score),
        "box": np.round(np.asarray(end.box, dtype=float), 2).tolist(),
        "points": end.strongest_points(max_points),
    }


def _rounded(value):
    return None if value is None else np.round(np.asarray(value, dtype=float), 4).tolist()
