"""Fetch a published dataset, annotations and images, and look through it."""

import argparse
import os
import sys
from pathlib import Path

from .parsing import whole_number

EXAMPLES = """
Size and licence are shown first, and the space on the disk is checked. A download that was cut continues when the
same command is typed again.

examples:
  %(prog)s psg --root datasets
  %(prog)s vg150 --annotations egtr
  egtr train --config-file my.yaml DATASETS.TRAIN psg_coco_train DATASETS.TEST psg_coco_val

Exit status: 0, or 1 if it could not be fetched, or has errors that would break training.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=("vg150", "psg", "indoorvg"), help="the dataset")
    parser.add_argument(
        "--annotations",
        choices=("coco", "egtr"),
        default="coco",
        help="of vg150: those of SGG-Benchmark, or those that EGTR and RelTR train on (%(default)s)",
    )
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="folder of all datasets (DETECTRON2_DATASETS, else ./datasets)"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--no-images", action="store_true", help="check only annotations at the end")
    parser.add_argument(
        "--workers", type=whole_number(1), metavar="N", help="threads that decode images (one for each core)"
    )


def run(args: argparse.Namespace) -> int:
    from egtr.hub.datasets import ask_for_dataset, find_dataset, get_dataset

    root = (args.root or Path(os.environ.get("DETECTRON2_DATASETS") or "datasets")).expanduser()
    dataset = find_dataset(args.name, args.annotations)
    ask_for_dataset(dataset, root, agreed=args.yes)
    folder = get_dataset(dataset, root)
    print(f"{args.name} is in {folder}. Its registered names: {', '.join(dataset.registered)}", file=sys.stderr)

    from egtr.data.check import check_dataset, print_report
    from egtr.data.datasets import read_annotations, register_builtin_datasets

    register_builtin_datasets(str(root))
    errors = 0
    for name in dataset.registered:
        report = check_dataset(read_annotations(name), read_images=not args.no_images, workers=args.workers)
        print_report(report)
        errors += report.num_errors
    return 1 if errors else 0
