"""Fixed lists of zero-shot triplets: ours in JSON, and Scene-Graph-Benchmark's."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from egtr.structures import ConfigurationError, EGTRError, PredictionError, TripletCounts

from .foreign_pickles import read_pickled


def read_zero_shot(path: str | Path, class_names: Sequence[str], predicate_names: Sequence[str]) -> TripletCounts:
    """Read the triplets that count as new.

    Args:
        path: a JSON list of [subject class, object class, predicate], each a name or an id from 0; or a tensor of
            such rows saved by torch, as Scene-Graph-Benchmark's ``zeroshot_triplet.pytorch``, whose ids begin at 1.
        class_names, predicate_names: C and R names.

    Raises:
        ConfigurationError: the file cannot be read, or a triplet has an unknown name or number.
    """
    try:
        if Path(path).suffix == ".json":
            rows = json.loads(Path(path).read_text(encoding="utf-8"))
            names = (class_names, class_names, predicate_names)
            rows = [[_id(x, n) for x, n in zip(row, names, strict=True)] for row in rows]
        else:
            tensor = np.asarray(read_pickled(path))
            if tensor.ndim != 2 or tensor.shape[1] != 3 or tensor.dtype.kind not in "iu":
                raise PredictionError(f"{path}: is no table of three whole numbers a row")
            # 0 is the background there.
            rows = tensor.astype(np.int64) - 1
        return TripletCounts.from_class_triplets(np.array(rows), len(class_names), len(predicate_names))
    except (OSError, ValueError, TypeError) as error:
        reason = error if isinstance(error, EGTRError) else f"{path}: {error}"
        raise ConfigurationError(
            f"{reason}. A list of zero-shot triplets is JSON, [[subject class, object class, predicate], ...], of "
            "names or of ids from 0, or Scene-Graph-Benchmark's file of ids from 1"
        ) from error


def _id(value: object, names: Sequence[str]) -> int:
    if type(value) is int and 0 <= value < len(names):
        return value
    if isinstance(value, str) and value in names:
        return list(names).index(value)
    raise ValueError(f"{value!r} is none of the {len(names)} names")
