"""Several protocols side by side: their differing conventions, and their denominators."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from tabulate import tabulate

from .protocols import Protocol, get_protocols


def convention_rows(protocols: Sequence[str | Protocol]) -> list[dict[str, str]]:
    """Make a row for each convention in which ``protocols`` differ: "convention", then a cell for each protocol."""
    found = get_protocols(protocols)
    rows = []
    for field in fields(Protocol):
        cells = {protocol.name: _say(getattr(protocol, field.name)) for protocol in found}
        if field.name != "name" and len(set(cells.values())) > 1:
            rows.append({"convention": field.name} | cells)
    return rows


def denominator_rows(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Count the images, triplets and predicates of each protocol, in the form of :func:`convention_rows`."""
    counts = dict.fromkeys(name for metrics in results.values() for name in metrics if name.startswith("num_"))
    return [
        {"counted": name.removeprefix("num_").replace("_", " ")} | {p: _say(m[name]) for p, m in results.items()}
        for name in counts
    ]


def comparison(results: Mapping[str, Mapping[str, Any]], protocols: Sequence[str | Protocol]) -> str:
    """Show both as Markdown tables. Conventions on which all protocols agree are left out.

    Args:
        results: protocol name to metrics, as :func:`~egtr.evaluation.score_predictions` returns them.
        protocols: the protocols of ``results``.
    """
    tables = [rows for rows in (convention_rows(protocols), denominator_rows(results)) if rows]
    return "\n\n".join(tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True) for rows in tables)


def _say(value: Any) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)
