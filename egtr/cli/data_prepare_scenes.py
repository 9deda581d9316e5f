"""Draw the dataset `scenes`: cartoon images with objects and relations, in Visual Genome's layout."""

import argparse
import os
from pathlib import Path

from .parsing import whole_number

EXAMPLES = """
examples:
  %(prog)s
  %(prog)s --output /data/scenes --sizes 400 40 40
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    default = Path(os.environ.get("DETECTRON2_DATASETS") or "datasets").expanduser() / "scenes"
    parser.add_argument(
        "--output",
        type=Path,
        default=default,
        metavar="DIR",
        help="folder to draw into (default: $DETECTRON2_DATASETS/scenes, else datasets/scenes)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the images (default: %(default)s)")
    parser.add_argument(
        "--sizes",
        type=int,
        nargs=3,
        default=(4000, 400, 400),
        metavar=("TRAIN", "VAL", "TEST"),
        help="images per split (default: 4000 400 400)",
    )
    parser.add_argument(
        "--processes", type=whole_number(1), default=2, help="number of processes (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    from egtr.data.scenes import prepare_scenes

    drawn = prepare_scenes(args.output, args.seed, tuple(args.sizes), args.processes)
    print(f"{args.output}: {'drawn' if drawn else 'complete already, nothing to do'}")
    return 0
