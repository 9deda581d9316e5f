"""The commands about trained models and their images; see :mod:`benchmarks.commands`."""

import argparse
from typing import Any

import torch

from .photographs import QUANTILES, measure_photographs
from .predicting import list_files, measure_before, measure_predicting, measure_processes
from .printing import print_table
from .shown_objects import measure_shown_objects


def shown(args: argparse.Namespace) -> dict[str, Any]:
    """Show how many annotated objects and relations drawings show, and how many that are not annotated."""
    report = measure_shown_objects(args.cfg, args.images)
    name = args.cfg.DATASETS.TEST[0]
    print(f"Objects in the drawings of {report['images']} images of {name}, {report['annotated']} annotated:\n")
    rows = [(selection, found["found"], found["false"]) for selection, found in report["shown"].items()]
    print_table(["drawn", "annotated objects found", "boxes without one"], rows)
    print()
    rows = [
        (
            rule,
            found["shown"],
            found["annotated"],
            f"{found['annotated'] / found['shown']:.1%}" if found["shown"] else "",
        )
        for rule, found in report["relations"].items()
    ]
    print_table(["relations chosen", "drawn", "of them annotated", "share"], rows)
    return report


def photographs(args: argparse.Namespace) -> dict[str, Any]:
    """Show the best scores on images of the model's own kind and on photographs, and a threshold between them."""
    report = measure_photographs(args.cfg, args.images, args.write)
    name, threshold, below = args.cfg.DATASETS.TEST[0], report["threshold"], report["below"]
    number = len(report["best_scores"])
    print(f"Highest score of a triplet, {report['images']} images of {name} and {number} photographs:\n")
    titles = {"own": name, "photographs": "photographs"}
    headers = ["", *(f"{q:.0%}" for q in QUANTILES), "below the threshold"]
    rows = [(titles[kind], *found, f"{below[kind]:.0%}") for kind, found in report["quantiles"].items()]
    print_table(headers, rows)
    print()
    print_table(["photograph", "highest score"], sorted(report["best_scores"].items(), key=lambda entry: -entry[1]))
    print(f"\nphotograph_threshold: {threshold}" + (f", in {report['record']}" if report["record"] else ""))
    return report


def predicting(args: argparse.Namespace) -> dict[str, Any]:
    """Show the time of egtr.predict for an image, and what several processes do side by side."""
    files = list_files(args.cfg, args.images)
    name, threads = args.cfg.DATASETS.TEST[0], torch.get_num_threads()
    if args.processes:
        found = measure_processes(args.models[0], files, args.processes)
        print(
            f"{args.models[0]}, {len(files)} images of {name}, one thread each: one process {found['alone']:.1f} "
            f"images/s, {args.processes} processes {found['together']:.1f}, {found['gain']:.2f} times as many."
        )
        return found
    if args.before:
        found = measure_before(args.models[0], files, args.runs, args.before)
    else:
        found = measure_predicting(args.models, files, args.runs)
    print(f"egtr.predict, {len(files)} images of {name}, {threads} thread(s), median of {args.runs} turns:\n")
    rows = [(model, *times.values()) for model, times in found.items()]
    *_, base = found
    headers = ["", "CPU ms an image", "ms", f"CPU time of {base}", f"time of {base}"]
    print_table(headers, rows)
    return {"models": found}
