"""A shown graph compared with the annotations, by the matching that evaluation uses."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from egtr.evaluation import NEVER, REFERENCE, Scorer, match_objects, match_triplets
from egtr.evaluation.displayed import Sample, sample_image
from egtr.structures import GroundTruth, Prediction, RankedTriplets, SceneGraph

from ..ground_truth import graph_from_ground_truth

TOPK = (20, 50, 100)


def slim_graph(graph: SceneGraph) -> dict[str, Any]:
    """Return the graph as in :meth:`SceneGraph.to_dict`, without paths and without what all images share."""
    record = graph.to_dict()
    return {key: record[key] for key in ("warnings", "image_size", "objects", "relations")}


@dataclass(frozen=True)
class Comparison:
    """The annotations that a graph has found. K triplets are shown, T are annotated.

    Attributes:
        truth: the annotations, each triplet once.
        hits: for each of the K shown triplets, the rows of ``truth.triplets`` that it hits.
        ranks: for each of the T annotated triplets, the rank from 1 to 100 at which the whole prediction (not only
            its shown part) first hits it; None if it never does.
        twins: for each annotated object, the first shown object that matches it, or None.
        sample: what of the prediction ``for_display`` chooses by rank, and what of it is right, for the reliability
            of many images; None where objects were given to the model.
    """

    truth: SceneGraph
    hits: tuple[tuple[int, ...], ...]
    ranks: tuple[int | None, ...]
    twins: tuple[int | None, ...]
    sample: Sample | None = None

    def recall(self, k: int) -> float | None:
        """Compute R@k of this image, in 0..1; None if nothing is annotated."""
        if not self.ranks:
            return None
        return sum(rank is not None and rank <= k for rank in self.ranks) / len(self.ranks)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as the page reads them."""
        return {
            "truth": slim_graph(self.truth),
            "hits": self.hits,
            "ranks": self.ranks,
            "twins": self.twins,
            "recall": {k: self.recall(k) for k in TOPK},
        }


def compare_with_truth(
    graph: SceneGraph, prediction: Prediction, truth: GroundTruth, task: str = "sgdet"
) -> Comparison:
    """Find the hits and misses of one image, under the protocol ``reference``.

    A shown triplet is judged by the two queries from which it was scored, even if the graph merges duplicates:
    evaluation counts queries.

    Args:
        graph: the part of the prediction's graph that is shown.
        prediction: all of it.
        truth: the annotations.
        task: see :class:`egtr.evaluation.Scorer`.

    Raises:
        PredictionError: the two do not belong together, see :class:`egtr.evaluation.Scorer`.
    """
    annotated = graph_from_ground_truth(truth, graph.image_size, graph.class_names, graph.predicate_names)
    truth = GroundTruth(truth.boxes, truth.classes, annotated.triplets, truth.image_id)
    scores = Scorer(REFERENCE, TOPK, task=task).score(prediction, truth)
    ranks = scores.ranks[REFERENCE.name]["R"]
    _, classes = prediction.object_scores()
    same = match_objects(
        prediction.boxes, classes, truth.boxes, truth.classes, REFERENCE.iou_threshold, REFERENCE.iou_plus_one
    )
    shown = RankedTriplets(*graph.triplet_queries.T, graph.triplets[:, 2], graph.triplet_scores)
    matches = match_triplets(shown, same, truth.triplets)
    return Comparison(
        truth=annotated,
        hits=tuple(tuple(np.flatnonzero(row).tolist()) for row in matches),
        ranks=tuple(None if rank == NEVER else int(rank) + 1 for rank in ranks),
        twins=_first_of_each(same[graph.query_index]),
        sample=sample_image(prediction, truth).without_labels() if task == "sgdet" else None,
    )


def _first_of_each(matches: np.ndarray) -> tuple[int | None, ...]:
    return tuple(int(column.argmax()) if column.any() else None for column in matches.T)
