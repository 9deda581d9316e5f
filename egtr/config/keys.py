"""Names of all keys of the configuration, for checks that do without torch."""

import difflib
from collections.abc import Collection
from importlib.resources import files

NO_WEIGHTS = "there is no such checkpoint. Set MODEL.WEIGHTS to an existing file, or to '' to start from scratch"


def read_keys() -> list[str]:
    """List the keys of Detectron2 and EGTR, from ``keys.txt``; a test compares it with the defaults."""
    return (files(__package__) / "keys.txt").read_text("utf-8").split()


def suggest(key: str, known: Collection[str]) -> str:
    """Write the end of the message for a key that does not exist: the nearest ones among ``known``."""
    near = difflib.get_close_matches(key, known, n=2, cutoff=0.8)
    # The right key in the wrong section looks too different as a whole.
    last = key.rpartition(".")[2]
    near += [k for k in known if k.rpartition(".")[2] == last and k not in near][:2]
    near = near or difflib.get_close_matches(key, known, n=1)
    return f" Did you mean {' or '.join(near)}?" if near else " egtr/config/defaults.py lists EGTR's keys."
