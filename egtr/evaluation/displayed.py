"""The displayed part of graphs, compared with annotations: what probabilities are fitted to and measured on.

"Displayed" is here what ``SceneGraph.for_display`` chooses by rank, whatever its probability is.

"Right" is always with respect to annotations: a triplet is right if it hits an annotated triplet (same predicate,
both objects matched), an object if it matches an annotated object of its class. Where annotators leave relations
out, a triplet that is true but not annotated counts as wrong.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from egtr.structures import GroundTruth, Prediction, RankedTriplets, SceneGraph, pairwise_iou
from egtr.structures.calibration import predicate_logits

from .matching import match_objects, match_pairs, match_triplets

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


def sample_image(prediction: Prediction, truth: GroundTruth, object_score: str = "auto") -> Sample:
    """Compare the relations and objects that ``for_display`` chooses by rank with an image's annotations.

    Args:
        prediction: N queries.
        truth: G objects and T triplets.
        object_score: TEST.SCENE_GRAPH.OBJECT_SCORE of the model, whose graphs it ranks.
    """
    graph = SceneGraph.from_prediction(prediction, object_score=object_score).for_display()
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


def join(samples: Sequence[Sample], field: str) -> np.ndarray:
    """Concatenate a field of all images."""
    # The first part of each field has its number of columns, also where no image has a row.
    return np.concatenate([getattr(sample, field) for sample in samples]) if samples else np.zeros(0)
