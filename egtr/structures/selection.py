"""The part of a graph that meets given conditions."""

import difflib
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from .errors import PredictionError


def choose(
    graph: Any,
    min_score: float,
    top_k: int | None,
    min_object_score: float | None,
    min_presence: float | None,
    classes: str | int | Iterable[str | int] | None,
    predicates: str | int | Iterable[str | int] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose objects and triplets.

    Args:
        graph: a :class:`~egtr.structures.SceneGraph`; its method ``filter`` describes the other arguments.

    Returns:
        A mask of the objects, (N,) bool, and the rows of the triplets.

    Raises:
        PredictionError: there is no such class or predicate.
    """
    subjects, objects, predicate_ids = graph.triplets.T
    keep = graph.triplet_scores >= min_score
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
