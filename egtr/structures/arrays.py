"""The arrays of a scene graph: their types and shapes."""

from typing import Any

import numpy as np

from .errors import PredictionError

# Fields of a SceneGraph that may be None, with one entry for each object or triplet.
OPTIONAL_FIELDS = {
    "presence": ("objects", np.float32),
    "given": ("objects", np.bool_),
    "object_probabilities": ("objects", np.float32),
    "triplet_probabilities": ("triplets", np.float32),
    "triplet_precisions": ("triplets", np.float32),
}


def convert_arrays(graph: Any) -> None:
    """Convert the arrays of a :class:`~egtr.structures.SceneGraph` to their types, and fill in defaults.

    Raises:
        PredictionError: a field has another shape, or a triplet names an object that is not there.
    """
    n, k = len(graph.boxes), len(graph.triplets)
    if graph.query_index is None:
        graph.query_index = np.arange(n)
    _convert(graph, "boxes", np.float32, (n, 4))
    _convert(graph, "classes", np.int64, (n,))
    _convert(graph, "scores", np.float32, (n,))
    _convert(graph, "query_index", np.int64, (n,))
    for field, (number, dtype) in OPTIONAL_FIELDS.items():
        if getattr(graph, field) is not None:
            _convert(graph, field, dtype, (n if number == "objects" else k,))
    _convert(graph, "triplets", np.int64, (k, 3))
    _convert(graph, "triplet_scores", np.float32, (k,))
    ends = graph.triplets[:, :2]
    if k and (ends.min() < 0 or ends.max() >= n):
        raise PredictionError(f"scene graph: triplets name objects outside 0..{n - 1}")
    if graph.triplet_queries is None:
        graph.triplet_queries = graph.query_index[ends]
    _convert(graph, "triplet_queries", np.int64, (k, 2))


def _convert(graph: Any, field: str, dtype: type, shape: tuple[int, ...]) -> None:
    array = np.asarray(getattr(graph, field), dtype=dtype)
    # An empty list has shape (0,) and means "none" here.
    array = array.reshape(shape) if array.size == 0 and shape[0] == 0 else array
    if array.shape != shape:
        raise PredictionError(f"scene graph: {field} has shape {array.shape}, expected {shape}")
    setattr(graph, field, array)
