#!/usr/bin/env python
"""Draw the embedded dataset `scenes`: cartoon images with objects and relations, in Visual Genome's layout."""

import argparse
import os
import sys
from pathlib import Path

from egtr.data.scenes import prepare_scenes
from egtr.structures import EGTRError


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(os.environ.get("DETECTRON2_DATASETS") or "datasets").expanduser() / "scenes"
    parser.add_argument(
        "--output",
        type=Path,
        default=default,
        metavar="DIR",
        help="where to (default: $DETECTRON2_DATASETS/scenes, else datasets/scenes)",
    )
    parser.add_argument("--seed", type=int, default=0, help="other seeds, other images (default: %(default)s)")
    parser.add_argument(
        "--sizes",
        type=int,
        nargs=3,
        default=(4000, 400, 400),
        metavar=("TRAIN", "VAL", "TEST"),
        help="images per split (default: 4000 400 400)",
    )
    parser.add_argument("--processes", type=int, default=2, help="how many draw at once (default: %(default)s)")
    args = parser.parse_args(arguments)
    try:
        drawn = prepare_scenes(args.output, args.seed, tuple(args.sizes), args.processes)
    except EGTRError as error:
        sys.exit(f"{parser.prog}: {error}")
    print(f"{args.output}: {'drawn' if drawn else 'complete already, nothing to do'}")


if __name__ == "__main__":
    main()
