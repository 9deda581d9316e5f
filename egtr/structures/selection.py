"""Names and ids by which a part of a graph is chosen."""

import difflib
from collections.abc import Iterable, Sequence
from numbers import Integral

from .errors import PredictionError


def find_ids(chosen: str | int | Iterable[str | int], names: Sequence[str] | None, kind: str) -> list[int]:
    """Find the ids of classes or predicates that are given by name or id.

    Args:
        chosen: one name or id, or several.
        names: all names by id, or None.
        kind: "class" or "predicate", for messages.

    Raises:
        PredictionError: there is no such class or predicate.
    """
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
