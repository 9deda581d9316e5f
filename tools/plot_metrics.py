#!/usr/bin/env python
"""Curves of a training run: losses, gates, uncertainty, recall, AP, gradient norm and learning rate, as one PNG."""

import argparse
import sys
from pathlib import Path

from egtr.experiments.training_curves import draw_curves, read_metrics
from egtr.structures import EGTRError

EPILOG = """
Reads runs that were killed, resumed or are still going on.

example:
  %(prog)s output/my_run
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="OUTPUT_DIR of a run, or its metrics.json")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="PNG, SVG or PDF (default: curves.png beside metrics.json)"
    )
    args = parser.parse_args(argv)
    folder = args.run if args.run.is_dir() else args.run.parent
    output = args.output or folder / "curves.png"
    try:
        figure = draw_curves(read_metrics(args.run), title=str(folder))
        output.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(output)
    except (EGTRError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
