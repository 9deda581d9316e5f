"""Names of classes and predicates that come with the library, in the order of their indices."""

import json
from functools import cache
from importlib.resources import files

from .errors import DataError


def list_known_names() -> list[str]:
    """List the names of these lists: "coco" (80 classes of COCO) and "vg150" (Visual Genome 150)."""
    return sorted(_read())


def get_known_names(name: str) -> tuple[list[str], list[str] | None]:
    """Return the C class names and R predicate names of a dataset; None for the predicates of one that has none.

    Args:
        name: one of :func:`list_known_names`.

    Raises:
        DataError: no such names come with the library.
    """
    if name not in _read():
        raise DataError(
            f"{name}: no names of this dataset come with egtr. Take one of: {', '.join(list_known_names())}"
        )
    entry = _read()[name]
    return list(entry["classes"]), list(entry["predicates"]) if "predicates" in entry else None


@cache
def _read() -> dict[str, dict[str, list[str]]]:
    return json.loads(files(__package__).joinpath("known_names.json").read_text("utf-8"))
