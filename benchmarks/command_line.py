"""Arguments of ``python -m benchmarks``. Importing this module imports no torch."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from egtr.config import add_extension_argument

from .choices import AXES, INFERENCE, RELATION, RUNTIMES, SMALL, TRAINING
from .soak.command_line import add_soak

DESCRIPTION = """Measure time and memory of the model, of its parts and of scoring, or test runs with faults (soak).

The model is compared with its formulas written out (benchmarks/literal.py). Unless stated otherwise, weights are
random and images are noise. Times are medians, and all contestants run in turn in one process. Peak memory is what a
call adds in a fresh process: the median of three processes, of one process in `growth`.
"""
EPILOG = """
examples:
  %(prog)s inference
  %(prog)s inference --size 800 1333 --batch 4 --contestants egtr egtr_bf16
  %(prog)s training --output output/benchmark/training.json
  %(prog)s pruning --queries 200 1000
  %(prog)s growth queries --output output/benchmark/queries.json
  %(prog)s pipeline --config-file configs/scenes/detector.yaml DATALOADER.NUM_WORKERS 2
  %(prog)s evaluation --images 500
  %(prog)s soak --minutes 60
"""
# Numbers that must not be smaller: option to its least value.
LEAST = {
    "batch": 1, "runs": 1, "iterations": 1, "images": 1, "top_k": 1, "queries": 2, "predicates": 1, "classes": 1,
    "side": SMALL, "boxes": 1, "processes": 2,
}  # fmt: skip


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; exit with a usage message if a number makes no sense.

    Returns:
        The arguments. ``run`` is the function that takes them and returns the exit status.
    """
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="NAME")
    _add_model_commands(commands)
    _add_evaluation(commands)
    add_soak(commands)
    args = parser.parse_args(argv)
    for name, least in LEAST.items():
        value = getattr(args, name, None)
        if value is not None and min(value if isinstance(value, list) else [value]) < least:
            parser.error(f"--{name.replace('_', '-')} must be at least {least}")
    if not 0 <= getattr(args, "sure", 0) <= 1:
        parser.error("--sure must be a share, from 0 to 1")
    if min(getattr(args, "size", [SMALL])) < SMALL:
        parser.error(f"--size must be at least {SMALL} {SMALL}")
    return args


def _add_model_commands(commands: argparse._SubParsersAction) -> None:
    def add(name: str, summary: str, config: str = "vg150_egtr.yaml") -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        sub.set_defaults(run=_run_on_model)
        sub.add_argument("--config-file", default=config, metavar="FILE", help="the model (default: %(default)s)")
        sub.add_argument("--output", type=Path, metavar="FILE", help="also write the results as JSON")
        add_extension_argument(sub)
        return sub

    sub = add("inference", "inference from images to scene graphs, and its parts")
    _add_case(sub, INFERENCE)
    sub.add_argument("--side", type=int, default=640, help="side of the images of RT-DETR, pixels (default: 640)")
    sub = add("training", "one step of training")
    _add_case(sub, TRAINING)
    sub = add("relation", "only the relation part, with dense logits")
    _add_case(sub, RELATION)
    sub = add("pruning", "relation part, record and ranking, with the promising pairs and with all pairs")
    sub.add_argument("--queries", nargs="+", type=int, default=[200, 1000], help="numbers N (default: 200 1000)")
    sub.add_argument("--top-k", type=int, default=100, help="triplets K of the ranking (default: 100)")
    # With random logits most pairs are about equally promising.
    sub.add_argument("--sure", type=float, default=0.1, help="share of queries sure of their class (default: 0.1)")
    _add_case(sub)
    sub = add("pairs", "the share of pairs whose relations a trained model computes", "scenes/egtr.yaml")
    sub.add_argument(
        "--top-k", nargs="+", type=int, default=[20, 50, 100], help="triplets K of the ranking (default: 20 50 100)"
    )
    sub.add_argument("--images", type=int, help="only the first images of DATASETS.TEST, this many (default: all)")
    sub = add("sampling", "each implementation of deformable sampling")
    _add_case(sub)
    sub = add("growth", "time and memory over the number of queries or predicates, or over the size of the image")
    sub.add_argument("axis", choices=AXES, help="what grows")
    sub.add_argument("--values", nargs="+", type=int, help="where to measure")
    sub.add_argument("--plot", type=Path, metavar="FILE.png", help="draw it")
    _add_case(sub)
    sub = add("pipeline", "the share of time for which training waits for images", "scenes/detector.yaml")
    sub.add_argument("--iterations", type=int, default=200, help="default: 200")
    sub = add("agreement", "how many triplets of a trained model float32 and bfloat16 share", "scenes/egtr.yaml")
    sub.add_argument("--images", type=int, help="only the first images of DATASETS.TEST, this many (default: all)")
    sub = add("equality", "the same triplets in exported models as in PyTorch?", "scenes")
    sub.add_argument("--exported", nargs="+", required=True, metavar="FILE", help="files that egtr export wrote")
    sub.add_argument("--images", type=int, help="only the first images of DATASETS.TEST, this many (default: all)")
    sub = add("runtimes", "speed of exported models, as share of the model in PyTorch", "scenes")
    sub.add_argument("--runs", type=int, default=5, help="turns after a first one (default: 5)")
    sub.add_argument("--threads", type=int, default=2, help="threads of each contestant (default: 2)")
    sub.add_argument(
        "--cases", nargs="+", choices=RUNTIMES, default=list(RUNTIMES), help="models to measure (default: all)"
    )
    sub.add_argument("--int8", action="store_true", help="also int8, calibrated with noise: only its speed counts")
    sub = add("machine", "the speed of the processor, and the work that the model needs")
    _add_case(sub)
    sub = add("shown", "annotated objects and relations in drawings, and others", "scenes")
    sub.add_argument("--images", type=int, help="only the first images of DATASETS.TEST, this many (default: all)")
    sub = add(
        "photographs", "best scores on images of a model's kind and on photographs of Python packages", "scenes"
    )
    sub.add_argument("--images", type=int, help="only the first images of DATASETS.TEST, this many (default: all)")
    sub.add_argument(
        "--write", action="store_true", help="write the threshold into the model_info.json of the weights"
    )
    sub = add("given_boxes", "recall of relations between given boxes, beside that of a model's own", "scenes")
    sub.add_argument("--images", type=int, help="only the first images of DATASETS.TEST, this many (default: all)")
    sub = add("correcting", "a correction on the page of egtr serve, beside a whole prediction", "scenes")
    sub.add_argument("--runs", type=int, default=15, help="runs after a first one; the median counts (default: 15)")
    sub.add_argument("--boxes", type=int, default=20, help="boxes on the image for RT-DETR (default: 20)")
    sub.add_argument("--side", type=int, default=640, help="side of the image for RT-DETR, pixels (default: 640)")
    sub = add("predicting", "egtr.predict by several models, or in several processes of one thread each", "scenes")
    models = ["scenes", "scenes_deformable"]
    sub.add_argument(
        "--models",
        nargs="+",
        default=models,
        metavar="NAME",
        help=f"the last is the base (default: {' '.join(models)})",
    )
    sub.add_argument("--images", type=int, default=40, help="the first images of DATASETS.TEST (default: 40)")
    sub.add_argument("--runs", type=int, default=5, help="turns after a first one; the median counts (default: 5)")
    compared = sub.add_mutually_exclusive_group()
    compared.add_argument(
        "--processes", type=int, metavar="N", help="compare N processes with one, by the first model"
    )
    compared.add_argument(
        "--before",
        type=Path,
        metavar="FOLDER",
        help="compare the first model with that of a checkout of another commit",
    )
    for sub in commands.choices.values():
        sub.add_argument("opts", nargs="*", metavar="KEY VALUE", help="keys of the configuration and their values")


def _add_case(sub: argparse.ArgumentParser, contestants: Sequence[str] = ()) -> None:
    size = {"nargs": 2, "type": int, "default": [600, 1000], "metavar": ("HEIGHT", "WIDTH")}
    sub.add_argument("--size", **size, help="size of the images that the network gets, in pixels (default: 600 1000)")
    sub.add_argument("--batch", type=int, default=1, help="images in a batch (default: 1)")
    sub.add_argument("--runs", type=int, default=5, help="runs after a first one; the median counts (default: 5)")
    if contestants:
        names = list(contestants)
        sub.add_argument("--contestants", nargs="+", choices=names, default=names, help="default: all")
        sub.add_argument("--no-memory", action="store_true", help="measure only time")


def _add_evaluation(commands: argparse._SubParsersAction) -> None:
    summary = "scoring, compared with evaluation written the usual way"
    sub = commands.add_parser(
        "evaluation", help=summary, description=f"Measure time and memory of {summary} (evaluation_literal.py)."
    )
    sub.set_defaults(run=_run_evaluation)
    sub.add_argument("--queries", type=int, default=200, help="object queries N (default: %(default)s)")
    sub.add_argument("--predicates", type=int, default=50, help="predicates R (default: %(default)s)")
    sub.add_argument("--classes", type=int, default=150, help="object classes C (default: %(default)s)")
    sub.add_argument("--images", type=int, default=200, help="images of the dataset (default: %(default)s)")
    sub.add_argument("--runs", type=int, default=5, help="runs after a first one; the median counts (%(default)s)")
    sub.add_argument("--output", type=Path, metavar="FILE", help="also write the results as JSON")


# These import what they run, since that imports torch.


def _run_on_model(args: argparse.Namespace) -> int:
    from .commands import run

    return run(args)


def _run_evaluation(args: argparse.Namespace) -> int:
    from .evaluation import run

    return run(args)
