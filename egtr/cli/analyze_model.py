"""Count the parameters and the operations of a model, part by part."""

import argparse

from egtr.config.arguments import DEFAULT_MODEL, add_model_arguments

from .checks import use_model
from .parsing import whole_number

EXAMPLES = """
A parameter that several parts share is counted once, in the first part. Frequency tables count, frozen norms do not.
GFLOPs are counted as fvcore does: a multiply-add is one operation, and element-wise operations do not count. No
weights are needed.

example:
  %(prog)s --config-file projects/EGTR/configs/vg150_egtr.yaml --size 600 1000
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument(
        "--size",
        nargs=2,
        type=whole_number(1),
        default=[800, 1333],
        metavar=("HEIGHT", "WIDTH"),
        help="size of the image that the network gets (default: 800 1333)",
    )


def run(args: argparse.Namespace) -> int:
    use_model(args, DEFAULT_MODEL)

    from tabulate import tabulate

    from egtr.config import import_extensions, read_config
    from egtr.experiments.model_cost import analyze_model

    import_extensions(args.extension)
    parts = analyze_model(read_config(args.config_file, args.opts), *args.size)
    rows = [(part.name, part.parameters, part.trained, part.flops / 1e9) for part in parts]
    print(tabulate(rows, ["part", "parameters", "trained", "GFLOPs"], intfmt=",", floatfmt=".2f"))
    return 0
