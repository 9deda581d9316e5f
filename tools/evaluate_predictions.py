#!/usr/bin/env python
"""Score saved predictions, of EGTR or of any other system: no model is run, and no Detectron2 is needed."""

import sys

from egtr.evaluation import PROTOCOLS, get_protocols
from egtr.evaluation.command_line import score_arguments, scoring_parser
from egtr.evaluation.comparison import comparison
from egtr.evaluation.report import predicate_rows, predicate_table, summary_table, write_report
from egtr.structures import EGTRError
from egtr.structures.errors import MissingDetectron2Error


def main(argv: list[str] | None = None) -> int:
    parser = scoring_parser(__doc__)
    parser.add_argument(
        "--protocol",
        nargs="+",
        default=["reference"],
        choices=PROTOCOLS,
        metavar="NAME",
        help=f"conventions, the first is the headline: {', '.join(PROTOCOLS)} (default: reference)",
    )
    parser.add_argument("--per-predicate", action="store_true", help="print the recall of each predicate as well")
    args = parser.parse_args(argv)
    try:
        results, names, training, about = score_arguments(args, args.protocol)
    except (EGTRError, MissingDetectron2Error) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    headline = results[args.protocol[0]]
    print(f"{args.predictions}: {headline['num_images']} images\n\n{summary_table(results)}")
    print(f"\n{comparison(results, args.protocol)}")
    if args.per_predicate:
        print(f"\n{predicate_table(predicate_rows(headline['per_predicate'], names, training))}")
    if args.output:
        paths = write_report(
            args.output, "evaluation", results, get_protocols(args.protocol), names, training, **about
        )
        print("", *paths, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
