"""What people read: objects with names, and ranked triplets between them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .errors import EGTRError
from .prediction import Prediction
from .ranking import rank_triplets
from .relations import remap_relations

FORMAT_VERSION = 1


@dataclass
class SceneGraph:
    """Ranked, named view of a :class:`Prediction`.

    N is the number of objects (queries, unless filtered) and K of triplets.

    Attributes:
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels.
        classes: (N,) int64, the class of highest logit.
        scores: (N,) float32 in 0..1.
        triplets: (K, 3) int64, (subject, object, predicate); subject and object index the objects of *this* graph.
        triplet_scores: (K,) float32 in 0..1, descending.
        image_size: (height, width) in pixels.
        class_names: C names, or None: objects are then called "class 3".
        predicate_names: R names, or None.
        prediction: the record that the graph was made of; None after :meth:`filter` or :meth:`from_dict`, whose
            objects no longer line up with its queries.
    """

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    triplets: np.ndarray
    triplet_scores: np.ndarray
    image_size: tuple[int, int]
    class_names: tuple[str, ...] | None = None
    predicate_names: tuple[str, ...] | None = None
    prediction: Prediction | None = None

    @classmethod
    def from_prediction(
        cls,
        prediction: Prediction,
        class_names: Sequence[str] | None = None,
        predicate_names: Sequence[str] | None = None,
        topk: int = 100,
        object_score: str = "softmax",
    ) -> "SceneGraph":
        """All queries as objects and the ``topk`` best triplets, one predicate a pair."""
        scores, classes = prediction.object_scores(object_score)
        ranked = rank_triplets(prediction, topk, graph_constraint=True, object_score=object_score)
        return cls(
            boxes=prediction.boxes,
            classes=classes,
            scores=scores,
            triplets=np.stack([ranked.subjects, ranked.objects, ranked.predicates], axis=1),
            triplet_scores=ranked.scores,
            image_size=prediction.image_size,
            class_names=tuple(class_names) if class_names else None,
            predicate_names=tuple(predicate_names) if predicate_names else None,
            prediction=prediction,
        )

    def __len__(self) -> int:
        """Number of triplets."""
        return len(self.triplets)

    def class_name(self, index: int) -> str:
        """Name of the class of object ``index``."""
        label = int(self.classes[index])
        return self.class_names[label] if self.class_names else f"class {label}"

    def predicate_name(self, predicate: int) -> str:
        """Name of a predicate id."""
        return self.predicate_names[predicate] if self.predicate_names else f"predicate {predicate}"

    def filter(
        self, min_score: float = 0.0, top_k: int | None = None, min_object_score: float | None = None
    ) -> "SceneGraph":
        """A smaller graph: the triplets that pass, and the objects that they join.

        Args:
            min_score: triplets below it go.
            top_k: at most this many triplets.
            min_object_score: if given, objects of at least this score stay even when no triplet uses them, and
                triplets whose subject or object is below it go.
        """
        keep = self.triplet_scores >= min_score
        stays = np.zeros(len(self.boxes), dtype=bool)
        if min_object_score is not None:
            stays = self.scores >= min_object_score
            keep &= stays[self.triplets[:, 0]] & stays[self.triplets[:, 1]]
        rows = np.flatnonzero(keep)[:top_k]
        triplets = self.triplets[rows]
        stays[triplets[:, :2].reshape(-1)] = True
        return replace(
            self,
            boxes=self.boxes[stays],
            classes=self.classes[stays],
            scores=self.scores[stays],
            triplets=remap_relations(triplets, stays),
            triplet_scores=self.triplet_scores[rows],
            prediction=None,
        )

    def to_dict(self) -> dict[str, Any]:
        """The graph as plain Python values, ready for ``json.dump``.

        Boxes are x1 y1 x2 y2 in pixels; ``subject`` and ``object`` of a relation index ``objects``.
        """
        return {
            "version": FORMAT_VERSION,
            "image_size": {"height": int(self.image_size[0]), "width": int(self.image_size[1])},
            "objects": [
                {
                    "id": i,
                    "class": self.class_name(i),
                    "class_id": int(self.classes[i]),
                    "score": round(float(self.scores[i]), 6),
                    "box": [round(float(v), 2) for v in self.boxes[i]],
                }
                for i in range(len(self.boxes))
            ],
            "relations": [
                {
                    "subject": int(s),
                    "object": int(o),
                    "predicate": self.predicate_name(int(p)),
                    "predicate_id": int(p),
                    "score": round(float(score), 6),
                }
                for (s, o, p), score in zip(self.triplets, self.triplet_scores, strict=True)
            ],
            "class_names": list(self.class_names) if self.class_names else None,
            "predicate_names": list(self.predicate_names) if self.predicate_names else None,
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "SceneGraph":
        """Inverse of :meth:`to_dict`.

        Raises:
            EGTRError: a field is missing, or the version is one that this release does not know.
        """
        if record.get("version") != FORMAT_VERSION:
            raise EGTRError(f"scene graph: version {record.get('version')!r} is not {FORMAT_VERSION}")
        try:
            objects, relations = record["objects"], record["relations"]
            size = record["image_size"]
            return cls(
                boxes=np.array([o["box"] for o in objects], dtype=np.float32).reshape(-1, 4),
                classes=np.array([o["class_id"] for o in objects], dtype=np.int64),
                scores=np.array([o["score"] for o in objects], dtype=np.float32),
                triplets=np.array(
                    [[r["subject"], r["object"], r["predicate_id"]] for r in relations], dtype=np.int64
                ).reshape(-1, 3),
                triplet_scores=np.array([r["score"] for r in relations], dtype=np.float32),
                image_size=(size["height"], size["width"]),
                class_names=tuple(record["class_names"]) if record.get("class_names") else None,
                predicate_names=tuple(record["predicate_names"]) if record.get("predicate_names") else None,
            )
        except KeyError as error:
            raise EGTRError(f"scene graph: field {error} is missing") from error

    def __str__(self) -> str:
        lines = [
            f"SceneGraph of a {self.image_size[1]} x {self.image_size[0]} picture: "
            f"{len(self.boxes)} objects, {len(self)} relations"
        ]
        for (s, o, p), score in zip(self.triplets, self.triplet_scores, strict=True):
            lines.append(
                f"  {score:.3f}  {self.class_name(s)} ({s}) - {self.predicate_name(int(p))} - "
                f"{self.class_name(o)} ({o})"
            )
        return "\n".join(lines)
