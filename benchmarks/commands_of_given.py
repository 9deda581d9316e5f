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
    print(f"One thread, median of {args.runs} runs after a first one, ms; share of the correction in it:\n")
    rows = []
    for name, found in report.items():
        ms, share = found["ms"], found["share"]
        pairs = [f"{ms[kind]:.1f} ({share[kind]:.2f})" for kind in ("graph", "page")]
        rows.append([f"{name}, {found['boxes']} boxes, on the page", ms["correction"], *pairs])
        whole = f"{found['predict']:.1f} ({found['model_share']:.2f})"
        rows.append([f"{name}, only the model", found["relate"], whole, None])
    print_table(["", "correction", "whole graph", "new image on the page"], rows, ".1f")
    return {"cases": report}
