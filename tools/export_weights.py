#!/usr/bin/env python
"""Turn a training checkpoint into a small file of weights alone."""

import argparse
import sys

from egtr.checkpoint import export_weights, load_checkpoint_file
from egtr.structures import EGTRError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--checkpoint", required=True, metavar="FILE", help="what training wrote (.pth, .safetensors)"
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="ends in .safetensors or .pth")
    parser.add_argument("--half", action="store_true", help="store large weights as float16: half the size")
    args = parser.parse_args()
    try:
        size = export_weights(load_checkpoint_file(args.checkpoint)["model"], args.output, half=args.half)
    except EGTRError as error:
        sys.exit(f"{parser.prog}: {error}")
    print(f"{args.output}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
