"""Evaluate a model on a dataset."""

import argparse

from . import train

EXAMPLES = """
examples:
  a model that ships       %(prog)s --model scenes DATASETS.TEST scenes_test
  weights of your own      %(prog)s --config-file FILE MODEL.WEIGHTS output/trial/model_best.pth
  the last checkpoint      %(prog)s --config-file FILE --resume
  save the predictions     %(prog)s --model scenes TEST.SCENE_GRAPH.SAVE_PREDICTIONS True
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    train.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    args.eval_only = True
    return train.run(args)
