"""The commands about given boxes; see :mod:`benchmarks.commands`."""

import argparse
from typing import Any

from .correcting import make_cases, measure_correcting
from .given_boxes import EDGES, MOVED_IOU, TOP_K, measure_given_boxes
from .printing import print_table


def given_boxes(args: argparse.Namespace) -> dict[str, Any]:
    """Show the recall of relations between given boxes beside that of the model's own objects."""
    report = measure_given_boxes(args.cfg, args.images)
    name = args.cfg.DATASETS.TEST[0]
    print(f"{report['images']} images of {name}, protocol {report['protocol']}; boxes by {report['given_by']}:\n")
    rows = {
        "sgdet": "only the image (SGDet)",
        "sgcls": "boxes (SGCls)",
        "predcls": "boxes and classes (PredCls)",
        "moved": f"boxes moved to IoU {MOVED_IOU}, and classes",
        "right": "PredCls, if the best predicate of annotated pairs were right",
        "first": "the same, annotated pairs first",
    }
    recall = {row: report["recall"][row].values() for row in rows}
    print_table(["given", *(f"R@{k}" for k in TOP_K)], [(text, *recall[row]) for row, text in rows.items()])
    print(
        f"\nOf {report['located']} annotated pairs that SGDet finds, the best predicate of {report['right']:.1%} is "
        f"right. The model's own objects, given to it: Jaccard of the {EDGES} best edges {report['jaccard']:.3f}.\n\n"
        "Most frequent wrong predicates of PredCls:\n"
    )
    print_table(["annotated", "best predicate", "triplets", "of"], report["wrong"])
    return report


def correcting(args: argparse.Namespace) -> dict[str, Any]:
    """Show the time of a correction on the page beside that of a whole prediction."""
    report = measure_correcting(make_cases(args.cfg, args.side, args.boxes), args.runs)
    print(f"On the page, one thread, median of {args.runs} runs after a first one:\n")
    rows = [
        (name, found["boxes"], found["correction_ms"], found["prediction_ms"], found["share"])
        for name, found in report.items()
    ]
    print_table(["model", "boxes", "correction, ms", "whole prediction, ms", "share"], rows, ".2f")
    return {"cases": report}
