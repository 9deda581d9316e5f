"""Evaluate a model on a dataset."""

import argparse

from . import train
from .parsing import UsageError, whole_number

EXAMPLES = """
examples:
  a model that ships       %(prog)s --model scenes DATASETS.TEST scenes_test
  weights of your own      %(prog)s --config-file FILE MODEL.WEIGHTS output/trial/model_best.pth
  the last checkpoint      %(prog)s --config-file FILE --resume
  save the predictions     %(prog)s --model scenes --output output/scenes TEST.SCENE_GRAPH.SAVE_PREDICTIONS True
  measure its speed        %(prog)s --model scenes --latency --min-size 600 --max-size 1000 DATASETS.TEST scenes_test
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    train.add_run_arguments(
        parser,
        model="evaluate a model that comes with EGTR, or a YAML file's",
        resume="evaluate the last checkpoint in OUTPUT_DIR; where there is none, MODEL.WEIGHTS",
    )
    parser.add_argument(
        "--latency",
        action="store_true",
        help="measure no metric, but the time of the model for each image, without reading and resizing: images/s "
        "and percentiles, also in OUTPUT_DIR/latency_<dataset>.json",
    )
    for name, key, text in (
        ("--min-size", "INPUT.MIN_SIZE_TEST", "short side to which images are resized"),
        ("--max-size", "INPUT.MAX_SIZE_TEST", "limit of their long side"),
    ):
        parser.add_argument(name, type=whole_number(1), metavar="PIXELS", help=f"{text}: {key} of the configuration")
    # As tools/train_net.py takes it.
    parser.add_argument("--eval-only", action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    args.eval_only = True
    sizes = {"INPUT.MIN_SIZE_TEST": args.min_size, "INPUT.MAX_SIZE_TEST": args.max_size}
    args.opts = [*(word for key, size in sizes.items() if size for word in (key, str(size))), *args.opts]
    if not args.latency:
        return train.run(args)
    if args.num_gpus * args.num_machines != 1:
        raise UsageError("--latency measures one process; leave out --num-gpus and --num-machines")
    train.prepare(args)

    from egtr.experiments.latency import measure

    measure(args)
    return 0
