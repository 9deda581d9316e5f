#!/usr/bin/env python
"""Count the parameters and the operations of a model, part by part."""

import argparse
import sys

from tabulate import tabulate

from egtr.config import load_config
from egtr.config.arguments import add_extension_argument
from egtr.config.extensions import import_extensions
from egtr.experiments.model_cost import analyze_model
from egtr.structures import EGTRError

EPILOG = """
A parameter that several parts share counts once, where it comes first; frequency tables count, frozen norms do not.
GFLOPs are fvcore's: a multiplication with its addition is one; element-wise operations do not count.

example:
  %(prog)s --config-file projects/EGTR/configs/vg150_egtr.yaml --size 600 1000
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="the model; weights are not needed")
    parser.add_argument(
        "--size",
        nargs=2,
        type=int,
        default=[800, 1333],
        metavar=("HEIGHT", "WIDTH"),
        help="of the image as the network gets it (default: 800 1333)",
    )
    add_extension_argument(parser)
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="keys of the configuration and their values")
    args = parser.parse_args(argv)
    try:
        import_extensions(args.extension)
        parts = analyze_model(load_config(args.config_file, args.opts), *args.size)
    except EGTRError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = [(part.name, part.parameters, part.trained, part.flops / 1e9) for part in parts]
    print(tabulate(rows, ["part", "parameters", "trained", "GFLOPs"], intfmt=",", floatfmt=".2f"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
