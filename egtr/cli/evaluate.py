"""Evaluate a model on a dataset."""

import argparse

from . import train
from .choices import TASKS
from .parsing import UsageError, whole_number

EXAMPLES = """
examples:
  a model that ships       %(prog)s --model scenes DATASETS.TEST scenes_test
  weights of your own      %(prog)s --config-file FILE MODEL.WEIGHTS output/trial/model_best.pth
  the last checkpoint      %(prog)s --config-file FILE --resume
  save the predictions     %(prog)s --model scenes --output output/scenes TEST.SCENE_GRAPH.SAVE_PREDICTIONS True
  relations of given boxes %(prog)s --model scenes --task predcls,sgcls,sgdet DATASETS.TEST scenes_test
  measure its speed        %(prog)s --model scenes --latency --min-size 600 --max-size 1000 DATASETS.TEST scenes_test
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    train.add_run_arguments(
        parser,
        model="evaluate a model that comes with EGTR, or a YAML file's",
        resume="evaluate the last checkpoint in OUTPUT_DIR; where there is none, MODEL.WEIGHTS",
    )
    parser.add_argument(
        "--task",
        type=_tasks,
        metavar="NAME,...",
        help=f"what the model is given, one or several of {', '.join(TASKS)}: only the image (sgdet, the default), "
        "also the annotated boxes (sgcls), also their classes (predcls): TEST.SCENE_GRAPH.TASKS of the configuration",
    ).completer = lambda **_: TASKS
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
    values = {
        "INPUT.MIN_SIZE_TEST": args.min_size,
        "INPUT.MAX_SIZE_TEST": args.max_size,
        "TEST.SCENE_GRAPH.TASKS": args.task,
    }
    args.opts = [*(word for key, value in values.items() if value for word in (key, str(value))), *args.opts]
    if not args.latency:
        return train.run(args)
    if args.num_gpus * args.num_machines != 1:
        raise UsageError("--latency measures one process; leave out --num-gpus and --num-machines")
    if args.task is not None and "," in args.task:
        raise UsageError(f"--latency measures one task; --task names several, {args.task}")
    train.prepare(args)

    from egtr.experiments.latency import measure

    measure(args)
    return 0


def _tasks(text: str) -> str:
    """Check an argument that names tasks."""
    unknown = [name for name in text.split(",") if name not in TASKS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0] or text!r} is unknown, choose some of {', '.join(TASKS)}")
    return text
