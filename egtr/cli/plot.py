"""Draw the curves of a training run: losses, gates, uncertainty, recall, AP, gradient norm and learning rate."""

import argparse
from pathlib import Path

from .checks import check_file
from .parsing import add_inputs, get_input

EXAMPLES = """
Also reads runs that were killed or resumed, or that are still going on.

example:
  %(prog)s output/my_run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_inputs(parser, "OUTPUT_DIR of a run, or its metrics.json", "RUN")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="PNG, SVG or PDF (default: curves.png beside metrics.json)"
    )


def run(args: argparse.Namespace) -> int:
    run_folder = get_input(args, "folder of a run")
    check_file(run_folder)
    path = Path(run_folder)

    from egtr.experiments.training_curves import draw_curves, read_metrics
    from egtr.visualization.charts import save_figure

    folder = path if path.is_dir() else path.parent
    output = args.output or folder / "curves.png"
    figure = draw_curves(read_metrics(path), title=str(folder))
    output.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, output)
    print(output)
    return 0
