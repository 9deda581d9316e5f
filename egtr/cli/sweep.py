"""Train every setting of a sweep file with every seed, and compare them.

Runs that have finished are skipped, so the same command continues an interrupted sweep. In the sweep's OUTPUT_DIR
each run has its own folder; sweep.md, sweep.csv and sweep.png compare the settings, evaluations.csv has the metrics
of every evaluation, and learning.md tells how soon they reach the values of REACH. With --record, the evaluations
are also kept in the RECORD of the sweep file: such runs count as finished without their folders.
egtr/experiments/sweep/definition.py describes the sweep file.
"""

import argparse
import signal
import sys

from egtr.config.arguments import add_extension_argument

from .checks import check_file
from .parsing import add_inputs, get_input, whole_number

EXAMPLES = """
examples:
  %(prog)s projects/EGTR/sweeps/ablation.yaml
  %(prog)s projects/EGTR/sweeps/ablation.yaml --table-only
  %(prog)s projects/EGTR/sweeps/joint.yaml --table-only --iteration 200
  %(prog)s projects/EGTR/sweeps/joint.yaml --table-only --baseline "smoothing by fit"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_inputs(parser, "such as projects/EGTR/sweeps/ablation.yaml", "FILE.yaml")
    parser.add_argument(
        "--table-only", action="store_true", help="train nothing: compare the runs that have finished so far"
    )
    parser.add_argument(
        "--iteration",
        type=whole_number(1),
        metavar="N",
        help="compare the evaluations after N iterations in place of those at the end, in sweep_N.md and so on",
    )
    parser.add_argument(
        "--baseline",
        metavar="SETTING",
        help="compare with this setting in place of the BASELINE of the sweep file, in sweep_SETTING.md and so on",
    )
    parser.add_argument(
        "--record",
        action="store_true",
        help="also keep the evaluations of all finished runs in the RECORD of the sweep file, a CSV file from which "
        "others can print the tables",
    )
    add_extension_argument(parser)


def run(args: argparse.Namespace) -> int:
    path = get_input(args, "sweep file")
    check_file(path)

    from egtr.config import import_extensions
    from egtr.evaluation.report import write_csv
    from egtr.experiments.sweep.definition import load_sweep, slug
    from egtr.experiments.sweep.evaluations import finished_runs, list_evaluations, record, to_rows
    from egtr.experiments.sweep.learning import learning_table, measure_learning
    from egtr.experiments.sweep.report import compare_settings, write_sweep_report
    from egtr.experiments.sweep.runner import run_sweep
    from egtr.structures.files import write_text

    import_extensions(args.extension)
    sweep = load_sweep(path, args.baseline)
    # These signals stop a sweep in the background (SIGHUP when its terminal closes, unless nohup prevents that). They
    # must stop its runs as Ctrl-C does.
    # Windows has no SIGHUP.
    known = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]
    former = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    failed, status = [], 0
    if not args.table_only:
        try:
            failed = run_sweep(sweep, extensions=args.extension)
        except KeyboardInterrupt:
            print("Interrupted; the same command continues from here", file=sys.stderr)
            status = 130
    for number, handler in former.items():
        signal.signal(number, handler)
    if finished_runs(sweep):
        baseline = "" if args.baseline is None else f"_{slug(args.baseline)}"
        iteration = "" if args.iteration is None else f"_{args.iteration}"
        comparisons = compare_settings(sweep, args.iteration)
        paths = write_sweep_report(sweep, comparisons, f"sweep{baseline}{iteration}")
        paths.append(sweep.output_dir / "evaluations.csv")
        write_csv(paths[-1], to_rows(list_evaluations(sweep), sweep.metrics))
        if args.record:
            paths.append(record(sweep))
        if sweep.reach:
            paths.append(sweep.output_dir / f"learning{baseline}.md")
            text = learning_table(sweep, measure_learning(sweep))
            write_text(paths[-1], f"{text}\n")
            print(text)
        print("", *paths, sep="\n")
    for run in failed:
        print(f"FAILED: {run.setting}, seed {run.seed}: {run.folder}", file=sys.stderr)
    return 1 if failed else status
