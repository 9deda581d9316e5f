"""Head, body and tail: groups of predicates that are given, not taken from frequencies."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from egtr.structures import ConfigurationError
from egtr.structures.triplet_counts import GROUPS

# The groups of BGNN (Li et al., CVPR 2021) on Visual Genome 150, as PySGG has them: 4, 12 and, all others, 34.
_BGNN_HEAD = ("has", "of", "on", "wearing")
_BGNN_BODY = (
    *("above", "behind", "holding", "in", "in front of", "near"),
    *("riding", "sitting on", "standing on", "under", "wears", "with"),
)
NAMED_GROUPS = ("bgnn",)


def read_groups(source: str | Path, predicate_names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Read groups of predicates.

    Args:
        source: "bgnn", the groups of BGNN on Visual Genome 150; or a JSON file
            ``{"head": [...], "body": [...], "tail": [...]}`` of names or of ids from 0. A predicate may be in none.
        predicate_names: R names; None: only ids can be read.

    Returns:
        Group to (P,) int64 predicate ids.

    Raises:
        ConfigurationError: the file cannot be read, names a predicate that does not exist, or has one in two groups.
    """
    if str(source) in NAMED_GROUPS:
        names = predicate_names or ()
        missing = [name for name in (*_BGNN_HEAD, *_BGNN_BODY) if name not in names]
        if missing or len(names) != 50:
            lacking = f", without {missing[0]!r}" if missing else ""
            raise ConfigurationError(
                f"groups {source}: they are of Visual Genome's 50 predicates, but here are {len(names)}{lacking}; "
                "name a JSON file with groups of your own"
            )
        tail = [name for name in names if name not in (*_BGNN_HEAD, *_BGNN_BODY)]
        record: object = dict(zip(GROUPS, (_BGNN_HEAD, _BGNN_BODY, tail), strict=True))
    else:
        try:
            record = json.loads(Path(source).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            known = ", ".join(NAMED_GROUPS)
            raise ConfigurationError(
                f"{source}: cannot be read as JSON ({error}); name a file of groups, or one of {known}"
            ) from error
    if not isinstance(record, Mapping) or set(record) != set(GROUPS):
        raise ConfigurationError(f"{source}: expected the keys head, body and tail, each with a list of predicates")
    groups = {name: np.array([_id(p, name, predicate_names, source) for p in record[name]], int) for name in GROUPS}
    ids, counts = np.unique(np.concatenate(list(groups.values())), return_counts=True)
    if (counts > 1).any():
        raise ConfigurationError(f"{source}: predicate {ids[counts > 1][0]} is in two groups, or twice in one")
    return groups


def _id(predicate: object, group: str, names: Sequence[str] | None, source: str | Path) -> int:
    if type(predicate) is int and predicate >= 0 and (names is None or predicate < len(names)):
        return predicate
    if isinstance(predicate, str) and names is not None and predicate in names:
        return list(names).index(predicate)
    known = "ids from 0, because names are not known here" if names is None else f"{len(names)} predicates"
    raise ConfigurationError(f"{source}: {group} holds {predicate!r}, which is none of the {known}")
