"""Score saved predictions, of EGTR or of any other system: no model is run, and no Detectron2 is needed."""

import argparse

from .scoring import add_scoring_arguments, score_arguments

EXAMPLES = """
examples:
  %(prog)s output/run/predictions_scenes_val
  %(prog)s others.json --format coco_sg --json mine/test.json --protocol strict --per-predicate
  %(prog)s output/run/predictions_vg150_test --protocol motifs motifs,iou_plus_one=no --groups bgnn
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_scoring_arguments(parser, ["reference"], "reference")
    parser.add_argument("--per-predicate", action="store_true", help="print the recall of each predicate as well")


def run(args: argparse.Namespace) -> int:
    predictions, results, names, training, about, protocols, groups = score_arguments(args)

    from egtr.evaluation.comparison import comparison
    from egtr.evaluation.report import predicate_rows, predicate_table, summary_table, write_report

    headline = results[protocols[0].name]
    print(f"{predictions}: {headline['num_images']} images\n\n{summary_table(results)}")
    print(f"\n{comparison(results, protocols)}")
    if args.per_predicate:
        print(f"\n{predicate_table(predicate_rows(headline['per_predicate'], names, training, groups))}")
    if args.output:
        print(
            "",
            *write_report(args.output, "evaluation", results, protocols, names, training, groups, **about),
            sep="\n",
        )
    return 0
