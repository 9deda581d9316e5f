"""Convert the annotations of a dataset from one format to another. Images stay where they are."""

import argparse
import os
import sys
from collections import defaultdict
from pathlib import Path

from .checks import check_file
from .choices import CONVERT_SOURCES, CONVERT_TARGETS
from .parsing import UsageError, add_inputs, get_inputs

EXAMPLES = """
examples:
  one export of Label Studio, divided into train and val:
    %(prog)s export.json --from label_studio --image-root photos --split 0.8 0.2 --to coco_sg --output mine
  three splits out of one file:
    %(prog)s VG-SGG.h5#train VG-SGG.h5#val VG-SGG.h5#test --from vg_h5 --to egtr --output vg150
  files with names of their own:
    %(prog)s train=a.json val=b.json --from coco_sg --to egtr --output mine

--output receives
  egtr     train.json, val.json, test.json (as the splits are named) and rel.json
  coco_sg  train.json, val.json, test.json
  vg_h5    VG-SGG.h5, VG-SGG-dicts.json and image_data.json

Exit status: 0, or 1 when nothing was written.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_inputs(
        parser,
        "annotations, one file for each split; the split is named by NAME=, else by #split, else by the file",
        "[NAME=]FILE[#split]",
    )
    parser.add_argument("--from", required=True, choices=CONVERT_SOURCES, dest="source", help="format of the input")
    parser.add_argument(
        "--image-root",
        default="",
        metavar="DIR",
        help="folder of the images, in which names from Label Studio are looked up",
    )
    parser.add_argument("--to", required=True, choices=CONVERT_TARGETS, dest="target", help="format of the output")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the new files")
    parser.add_argument(
        "--split",
        nargs="+",
        type=float,
        metavar="SHARE",
        help="divide the images at random into train and val, or train, val and test",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of --split (default: %(default)s)")
    parser.add_argument(
        "--drop-unsupported",
        action="store_true",
        help="leave out what cannot be converted (from Label Studio boxes and relations without a label, to vg_h5 "
        "crowds and boxes without area), and the relations of such boxes",
    )
    parser.add_argument(
        "--options", nargs="+", default=[], metavar="KEY=VALUE", help="options of the reader, such as num_val=5000"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files in --output")


def run(args: argparse.Namespace) -> int:
    inputs = get_inputs(args)
    if not inputs:
        raise UsageError("give the annotations to convert")
    if args.split and len(inputs) > 1:
        raise UsageError("--split divides one --input; several are splits already")
    if not all("=" in option for option in args.options):
        raise UsageError("--options takes KEY=VALUE")
    for path in inputs:
        check_file(path if os.path.exists(path) else path.rpartition("=")[2])

    import yaml
    from tabulate import tabulate

    from egtr.data.convert import divide, name_splits, read_splits, write_dataset
    from egtr.data.datasets.vg_h5_writer import leave_out_unsupported

    options = {key: yaml.safe_load(value) for key, _, value in (option.partition("=") for option in args.options)}
    splits = read_splits(
        args.source, name_splits(inputs), args.image_root, options, drop_unsupported=args.drop_unsupported
    )
    if args.drop_unsupported and args.target == "vg_h5":
        # Here, so that the table counts what is written.
        splits = {split: leave_out_unsupported(annotations) for split, annotations in splits.items()}
    for line in collect_warnings(splits):
        print(f"warning: {line}", file=sys.stderr)
    if args.split:
        splits = divide(*splits.values(), args.split, args.seed)
    paths = write_dataset(
        splits, args.target, args.output, overwrite=args.overwrite, drop_unsupported=args.drop_unsupported
    )
    rows = [
        (split, len(part.images), sum(len(i.boxes) for i in part.images), sum(len(i.relations) for i in part.images))
        for split, part in splits.items()
    ]
    print(tabulate(rows, headers=["split", "images", "objects", "relations"]))
    first = next(iter(splits.values()))
    print(f"\n{len(first.thing_classes)} classes, {len(first.predicate_classes)} predicates; written:", *paths)
    print(f"\nTo use them, write into a configuration:\n\n{describe_registration(args, splits)}")
    return 0


def collect_warnings(splits: dict) -> list[str]:
    """Collect the problems that the readers found, one line for each kind."""
    groups = defaultdict(list)
    for annotations in splits.values():
        for problem in annotations.problems:
            groups[problem.kind].append(problem.message)
    return [f"{lines[0]} ({len(lines)} such in all)" if len(lines) > 1 else lines[0] for lines in groups.values()]


def describe_registration(args: argparse.Namespace, splits: dict) -> str:
    """Write the lines of YAML that register the dataset."""
    import yaml

    lines = ["DATASETS:", "  REGISTER:"]
    for split in splits:
        file = f"VG-SGG.h5#{split}" if args.target == "vg_h5" else f"{split}.json"
        row = [f"{args.output.name}_{split}", args.target, str(args.output / file), args.image_root or "IMAGES"]
        lines.append(f"    - {yaml.safe_dump(row, default_flow_style=True, width=1000, allow_unicode=True).strip()}")
    return "\n".join(lines)
