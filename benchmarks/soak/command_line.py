#!/usr/bin/env python
"""Train a tiny model for a while under kills, damage and full disks, and count what was lost.

    python benchmarks/soak/command_line.py --minutes 60 --output output/soak

First the run is made once without faults: its losses are what every other run must have. Then runs are started,
hurt at random moments and resumed: each has to go on in the right iteration, with the losses of the run without
faults, and to end with its weights and results. The table goes to the terminal, to OUTPUT/soak.md and to
OUTPUT/soak.json, and is up to date after each fault; the log is OUTPUT/soak.log. The exit status is 1 if anything
was lost.
"""

import argparse
import sys
from pathlib import Path

from .soak import Soak

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long to go on (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("output/soak"), help="folder (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the faults (default: %(default)s)")
    args = parser.parse_args()
    sys.exit(Soak(args.output, seed=args.seed).run(args.minutes))
