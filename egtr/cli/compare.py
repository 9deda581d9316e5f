"""Score saved predictions under every protocol, side by side, with the conventions that make the difference."""

import argparse

from .choices import PROTOCOLS
from .scoring import add_scoring_arguments, score_arguments

EXAMPLES = """
example:
  %(prog)s output/run/predictions_scenes_val --output output/comparison
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_scoring_arguments(parser, PROTOCOLS, "all of them")


def run(args: argparse.Namespace) -> int:
    _, results, names, training, about, protocols, groups = score_arguments(args)

    from egtr.evaluation.comparison import comparison
    from egtr.evaluation.report import summary_table, write_report
    from egtr.structures.files import write_text

    text = f"{summary_table(results)}\n\n{comparison(results, protocols)}\n"
    print(text, end="")
    if args.output:
        paths = write_report(args.output, "comparison", results, protocols, names, training, groups, **about)
        paths.append(args.output / "comparison.md")
        write_text(paths[-1], text)
        print("", *paths, sep="\n")
    return 0
