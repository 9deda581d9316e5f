#!/usr/bin/env python
"""Train every setting of a sweep file with every seed, and compare them.

Runs that have finished are skipped, so the same command goes on with an interrupted sweep. In the sweep's OUTPUT_DIR
each run has its folder; sweep.md, sweep.csv and sweep.png compare the settings.
egtr/experiments/sweep/definition.py describes the sweep file.
"""

# Before Detectron2, whose import it keeps quiet.
import egtr.modeling  # noqa: F401  isort: skip - registers the architecture

import argparse
import signal
import sys
from pathlib import Path

from egtr.config import add_extension_argument, import_extensions
from egtr.experiments.sweep.definition import load_sweep
from egtr.experiments.sweep.report import compare_settings, write_sweep_report
from egtr.experiments.sweep.runner import run_sweep
from egtr.structures import EGTRError


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", metavar="FILE.yaml", help="such as projects/EGTR/sweeps/ablation.yaml")
    parser.add_argument("--table-only", action="store_true", help="run nothing: compare what has finished so far")
    add_extension_argument(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    args = parse_arguments(arguments)
    import_extensions(args.extension)
    sweep = load_sweep(args.sweep)
    # A sweep in the background is stopped by a signal, or by the end of its terminal unless nohup forbids it: that
    # must stop its runs as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    failed, status = [], 0
    if not args.table_only:
        try:
            failed = run_sweep(sweep, Path(__file__).with_name("train_net.py"), args.extension)
        except KeyboardInterrupt:
            print("Interrupted; the same command goes on from here", file=sys.stderr)
            status = 130
    if any(run.result() for run in sweep.runs()):
        print("", *write_sweep_report(sweep, compare_settings(sweep)), sep="\n")
    for run in failed:
        print(f"FAILED: {run.setting}, seed {run.seed}: {run.folder}", file=sys.stderr)
    return 1 if failed else status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EGTRError as error:
        sys.exit(f"{sys.argv[0]}: {error}")
