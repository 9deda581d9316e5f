"""Arguments of ``python -m benchmarks soak``. Importing this module imports no torch."""

import argparse
from pathlib import Path

DESCRIPTION = """Train a tiny model for a while under kills, damage and full disks, and count the losses of data.

A first run without faults records the losses that every other run must have. Then runs are started, interrupted by
faults at random moments, and resumed. Each run has to continue at the right iteration with the losses of the run
without faults, and to end with the same weights and results. The table goes to the terminal, to OUTPUT/soak.md and to
OUTPUT/soak.json, and is updated after each fault; the log is OUTPUT/soak.log. The exit status is 1 if anything was
lost.
"""


def add_soak(commands: argparse._SubParsersAction) -> None:
    """Add the command ``soak`` to the others."""
    parser = commands.add_parser(
        "soak",
        help="training under kills, damage and full disks: is anything lost?",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=_run)
    parser.add_argument("--minutes", type=float, default=60.0, help="duration after the first run (default: 60)")
    parser.add_argument("--output", type=Path, default=Path("output/soak"), help="folder (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the faults (default: %(default)s)")


def _run(args: argparse.Namespace) -> int:
    # Here, since it imports torch.
    from .soak import Soak

    return Soak(args.output, seed=args.seed).run(args.minutes)
