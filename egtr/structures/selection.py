"""The part of a graph that meets given conditions."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np

from .arrays import OPTIONAL_FIELDS
from .errors import PredictionError
from .merging import find_representatives, merge_triplets
from .relations import remap_relations


def choose(
    graph: Any,
    min_score: float,
    top_k: int | None,
    min_object_score: float | None,
    min_presence: float | None,
    classes: str | int | Iterable[str | int] | None,
    predicates: str | int | Iterable[str | int] | None,
    least: Mapping[str, float | None],
) -> tuple[np.ndarray, np.ndarray]:
    """Choose objects and triplets.

    Args:
        graph: a :class:`~egtr.structures.SceneGraph`; its method ``filter`` describes the other arguments.
        least: its "precision" and "min_probability".

    Returns:
        A mask of the objects, (N,) bool, and the rows of the triplets.

    Raises:
        PredictionError: there is no such class or predicate, a number of ``least`` is outside 0..1, or there
            is no calibration for it.
    """
    subjects, objects, predicate_ids = graph.triplets.T
    keep = graph.triplet_scores >= min_score
    known = {"precision": graph.triplet_precisions, "min_probability": graph.triplet_probabilities}
    for name, number in least.items():
        if number is None:
            continue
        if not 0 <= number <= 1:
            raise PredictionError(f"filter: {name} is {number}; it must lie in 0..1")
        if known[name] is None:
            raise PredictionError(
                f"filter: {name} is not known, because the model has no calibration; fit one with egtr calibrate, "
                "or filter by min_score"
            )
        # The last digit of a float32 must not decide.
        keep &= known[name] >= number - 1e-6
    stays = np.zeros(len(graph.boxes), dtype=bool)
    if min_object_score is not None:
        stays = graph.scores >= min_object_score
        keep &= stays[subjects] & stays[objects]
    if min_presence is not None and graph.presence is not None:
        stays |= graph.presence >= min_presence
    if classes is not None:
        wanted = np.isin(graph.classes, _find_ids(classes, graph.class_names, "class"))
        keep &= wanted[subjects] | wanted[objects]
        stays &= wanted
    if predicates is not None:
        keep &= np.isin(predicate_ids, _find_ids(predicates, graph.predicate_names, "predicate"))
    rows = np.flatnonzero(keep)[:top_k]
    stays[graph.triplets[rows, :2].reshape(-1)] = True
    return stays, rows


def take(graph: Any, stays: np.ndarray, triplets: np.ndarray, rows: np.ndarray) -> Any:
    """Make a graph of some objects and triplets of another one.

    Args:
        graph: a :class:`~egtr.structures.SceneGraph`.
        stays: mask of the objects, (N,) bool.
        triplets: (K, 3); ``triplets[rows]`` join objects that stay, by their former indices.
        rows: the triplets, as rows of ``triplets`` and of the graph's other fields.
    """
    return replace(
        graph,
        boxes=graph.boxes[stays],
        classes=graph.classes[stays],
        scores=graph.scores[stays],
        query_index=graph.query_index[stays],
        **{
            field: values[stays if kind == "objects" else rows]
            for field, (kind, _) in OPTIONAL_FIELDS.items()
            if (values := getattr(graph, field)) is not None
        },
        triplets=remap_relations(triplets[rows], stays),
        triplet_scores=graph.triplet_scores[rows],
        triplet_queries=graph.triplet_queries[rows],
        prediction=None,
    )


def merge(graph: Any, iou: float) -> Any:
    """Merge duplicates as :meth:`~egtr.structures.SceneGraph.merge_duplicates` describes."""
    representative = find_representatives(graph.boxes, graph.classes, graph.scores, iou, graph.given)
    triplets, rows = merge_triplets(representative, graph.triplets, graph.triplet_scores)
    stays = representative == np.arange(len(representative))
    merged = take(graph, stays, triplets, rows)
    # The probability ascends with the presence, so both are those of the same duplicate.
    for field in ("presence", "object_probabilities"):
        values = getattr(graph, field)
        if values is not None:
            best = values.copy()
            np.maximum.at(best, representative, values)
            setattr(merged, field, best[stays])
    return merged


def _find_ids(chosen: str | int | Iterable[str | int], names: Sequence[str] | None, kind: str) -> list[int]:
    """Find the ids of classes or predicates that are given by name or id."""
    ids = []
    for entry in [chosen] if isinstance(chosen, str | Integral) else chosen:
        if isinstance(entry, str):
            if entry not in (names or ()):
                near = difflib.get_close_matches(entry, names or (), n=2)
                hint = f"did you mean {' or '.join(near)}?" if near else f"take one of: {', '.join(names or ())}"
                raise PredictionError(
                    f"filter: there is no {kind} {entry!r}; "
                    + (hint if names else "this graph has no names, give ids")
                )
            ids.append(names.index(entry))
        else:
            if entry < 0 or (names and entry >= len(names)):
                raise PredictionError(
                    f"filter: there is no {kind} {entry}; ids are 0..{len(names) - 1 if names else ''}"
                )
            ids.append(int(entry))
    return ids
