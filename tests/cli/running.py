"""Command lines, parsed and no more."""

import argparse

from egtr.cli.command import build_parsers
from egtr.cli.command import parse as parse_words


def parse(words: list[str]) -> argparse.Namespace:
    """The arguments of a command line; ends the test where it is not understood."""
    return parse_words(words, *build_parsers())
