"""Score saved predictions, of EGTR or of any other system: no model is run, and no Detectron2 is needed."""

import argparse

from .choices import PROTOCOLS
from .scoring import add_scoring_arguments, score_arguments

EXAMPLES = """
examples:
  %(prog)s output/run/predictions_scenes_val
  %(prog)s others.json --format coco_sg --json mine/test.json --protocol strict --per-predicate
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_scoring_arguments(parser)
    parser.add_argument(
        "--protocol",
        nargs="+",
        default=["reference"],
        choices=PROTOCOLS,
        metavar="NAME",
        help=f"conventions, the headline first: {', '.join(PROTOCOLS)} (default: reference)",
    )
    parser.add_argument("--per-predicate", action="store_true", help="print the recall of each predicate as well")


def run(args: argparse.Namespace) -> int:
    predictions, results, names, training, about = score_arguments(args, args.protocol)

    from egtr.evaluation import get_protocols
    from egtr.evaluation.comparison import comparison
    from egtr.evaluation.report import predicate_rows, predicate_table, summary_table, write_report

    headline = results[args.protocol[0]]
    print(f"{predictions}: {headline['num_images']} images\n\n{summary_table(results)}")
    print(f"\n{comparison(results, args.protocol)}")
    if args.per_predicate:
        print(f"\n{predicate_table(predicate_rows(headline['per_predicate'], names, training))}")
    if args.output:
        protocols = get_protocols(args.protocol)
        print("", *write_report(args.output, "evaluation", results, protocols, names, training, **about), sep="\n")
    return 0
