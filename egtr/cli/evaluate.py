"""Evaluate a model on a dataset."""

import argparse

from . import train

EXAMPLES = """
examples:
  a model that ships       %(prog)s --model scenes DATASETS.TEST scenes_test
  weights of your own      %(prog)s --config-file FILE MODEL.WEIGHTS output/trial/model_best.pth
  the last checkpoint      %(prog)s --config-file FILE --resume
  save the predictions     %(prog)s --model scenes --output output/scenes TEST.SCENE_GRAPH.SAVE_PREDICTIONS True
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    train.add_run_arguments(
        parser,
        model="evaluate a model that comes with EGTR, or a YAML file's",
        resume="evaluate the last checkpoint in OUTPUT_DIR; where there is none, MODEL.WEIGHTS",
    )
    # As tools/train_net.py takes it.
    parser.add_argument("--eval-only", action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    args.eval_only = True
    return train.run(args)
