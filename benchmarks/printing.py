"""Tables on the terminal."""

from collections.abc import Sequence
from typing import Any

from tabulate import tabulate


def print_table(headers: Sequence[str], rows: Sequence[Sequence[Any]], digits: str = ".3f") -> None:
    """Print a Markdown table; None is shown as -."""
    print(tabulate(rows, headers, tablefmt="pipe", floatfmt=digits, missingval="-"))
