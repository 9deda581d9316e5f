"""One node per object: queries that found the same thing become one, for display."""

from dataclasses import replace

import numpy as np

from egtr.structures import EGTRError, SceneGraph, pairwise_iou, remap_relations


def merge_duplicates(graph: SceneGraph, iou: float = 0.7) -> SceneGraph:
    """Merge objects of one class whose boxes nearly coincide, and the edges between them.

    EGTR has no non-maximum suppression: several queries may settle on one object. In a picture for people
    they would be several nodes with the same neighbours. The rule:

    1. Objects are visited by descending score (ties: lower index first). Each joins the highest-scoring
       representative of its own class whose IoU with it exceeds ``iou``, and becomes a representative itself
       where there is none. A representative keeps its own box and score.
    2. Every triplet moves to the representatives of its subject and object. A triplet that would then join a
       representative with itself goes. Of triplets that agree in subject, object and predicate the best one
       stays; different predicates between the same two objects all stay.

    This is for display alone. Evaluation counts every query and never calls it.

    Args:
        graph: any scene graph; representatives keep their order in it.
        iou: threshold in 0..1 of intersection over union, compared with ``>``.

    Returns:
        A new graph with ``prediction`` None, its triplets by descending score.

    Raises:
        EGTRError: ``iou`` lies outside 0..1.
    """
    if not 0 <= iou <= 1:
        raise EGTRError(f"merge_duplicates: iou is {iou}; it must lie in 0..1")
    representative = _assign_representatives(graph, iou)
    stays = representative == np.arange(len(representative))

    triplets = np.asarray(graph.triplets, dtype=np.int64).reshape(-1, 3).copy()
    triplets[:, :2] = representative[triplets[:, :2]]
    # every row keeps its place: representatives stay
    triplets = remap_relations(triplets, stays)
    by_score = np.argsort(-graph.triplet_scores, kind="stable")
    by_score = by_score[triplets[by_score, 0] != triplets[by_score, 1]]
    # np.unique points at the first of equal rows, which is the best one here
    _, first = np.unique(triplets[by_score], axis=0, return_index=True)
    rows = by_score[np.sort(first)]
    return replace(
        graph,
        boxes=graph.boxes[stays],
        classes=graph.classes[stays],
        scores=graph.scores[stays],
        triplets=triplets[rows],
        triplet_scores=graph.triplet_scores[rows],
        prediction=None,
    )


def select_for_display(
    graph: SceneGraph,
    min_score: float = 0.02,
    top_k: int | None = 20,
    merge_iou: float | None = 0.7,
    min_object_score: float | None = None,
) -> SceneGraph:
    """The part of a graph that a picture can show: good triplets, duplicates merged, not too many.

    Args:
        graph: a graph of all queries.
        min_score: triplets below this score go, before anything is merged.
        top_k: at most this many triplets, counted after merging; None: all.
        merge_iou: threshold of :func:`merge_duplicates`; None: nothing is merged.
        min_object_score: if given, objects of at least this score are shown even when no triplet uses them.
    """
    graph = graph.filter(min_score=min_score, min_object_score=min_object_score)
    if merge_iou is not None:
        graph = merge_duplicates(graph, merge_iou)
    return graph.filter(top_k=top_k, min_object_score=min_object_score)


def _assign_representatives(graph: SceneGraph, threshold: float) -> np.ndarray:
    """(N,) index of the object that stands for each object."""
    overlaps = pairwise_iou(graph.boxes, graph.boxes) > threshold
    representative = np.arange(len(graph.boxes))
    chosen: list[int] = []
    for i in np.argsort(-graph.scores, kind="stable"):
        for r in chosen:
            if graph.classes[r] == graph.classes[i] and overlaps[r, i]:
                representative[i] = r
                break
        else:
            chosen.append(int(i))
    return representative
