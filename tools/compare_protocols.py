#!/usr/bin/env python
"""Score saved predictions under every protocol, side by side, with the conventions that make the difference."""

import sys

from egtr.evaluation import PROTOCOLS
from egtr.evaluation.command_line import score_arguments, scoring_parser
from egtr.evaluation.comparison import comparison
from egtr.evaluation.report import summary_table, write_report
from egtr.structures import EGTRError
from egtr.structures.errors import MissingDetectron2Error


def main(argv: list[str] | None = None) -> int:
    parser = scoring_parser(__doc__)
    args = parser.parse_args(argv)
    try:
        results, names, training, about = score_arguments(args, list(PROTOCOLS))
    except (EGTRError, MissingDetectron2Error) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    text = f"{summary_table(results)}\n\n{comparison(results, list(PROTOCOLS))}\n"
    print(text, end="")
    if args.output:
        protocols = list(PROTOCOLS.values())
        paths = write_report(args.output, "comparison", results, protocols, names, training, **about)
        paths.append(args.output / "comparison.md")
        paths[-1].write_text(text, encoding="utf-8")
        print("", *paths, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
