"""Arguments of the command lines that configure a model. Importing this module imports no torch."""

import argparse

DEFAULT_MODEL = "scenes"
RESUME = "continue from the last checkpoint in OUTPUT_DIR; if there is none, start from MODEL.WEIGHTS"
OVERWRITE = "delete the files of an earlier run in OUTPUT_DIR, and start from scratch"

EPILOG = """
examples:
  train                    %(prog)s --config-file FILE
  change a key             %(prog)s --config-file FILE SOLVER.BASE_LR 5e-5 OUTPUT_DIR output/trial
  continue a run           %(prog)s --config-file FILE --resume
  evaluate                 %(prog)s --config-file FILE --eval-only MODEL.WEIGHTS output/trial/model_best.pth
  train on eight GPUs      %(prog)s --config-file FILE --num-gpus 8
  the same by torchrun     torchrun --nproc-per-node 8 --max-restarts 3 -m egtr train --config-file FILE --resume
  a head of your own       %(prog)s --config-file FILE --extension my_head.py MODEL.EGTR.RELATION.HEAD MyHead
"""


def egtr_argument_parser(description: str | None = None) -> argparse.ArgumentParser:
    """Make a parser with Detectron2's arguments (--config-file, --resume, --eval-only, ..., KEY VALUE ...)."""
    parser = argparse.ArgumentParser(
        description=description, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_training_arguments(parser)
    return parser


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of Detectron2's ``default_argument_parser``, which imports torch, and ``--extension``."""
    parser.add_argument("--config-file", default="", metavar="FILE", help="YAML file of the configuration")
    parser.add_argument("--resume", action="store_true", help=RESUME)
    parser.add_argument("--overwrite", action="store_true", help=OVERWRITE)
    parser.add_argument("--eval-only", action="store_true", help="only evaluate MODEL.WEIGHTS")
    add_process_arguments(parser)
    add_extension_argument(parser)
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="keys of the configuration and their values"
    )


def add_process_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say in how many processes, and on which machines, a run takes place."""
    parser.add_argument(
        "--num-gpus", type=int, default=1, metavar="N", help="GPUs of each machine; without GPUs, processes (1)"
    )
    parser.add_argument("--num-machines", type=int, default=1, metavar="N", help="number of machines (1)")
    parser.add_argument("--machine-rank", type=int, default=0, metavar="N", help="number of this machine, from 0 (0)")
    parser.add_argument(
        "--dist-url",
        # A free port, so that two runs on one machine do not meet.
        default="auto",
        metavar="URL",
        help="where the processes meet: tcp://HOST:PORT of machine 0 (a free port of this machine)",
    )


def add_extension_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--extension``, for :func:`egtr.config.import_extensions`."""
    parser.add_argument(
        "--extension",
        action="append",
        default=[],
        metavar="FILE.py",
        help="first import your own file (or module), which registers parts that the configuration names; repeatable",
    )


def add_yes_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--yes``, of commands that may fetch a model."""
    parser.add_argument("--yes", action="store_true", help="fetch models that are not here without asking")


def add_options_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--extension``, ``--yes`` and ``--opts``, for commands with a configuration."""
    add_extension_argument(parser)
    add_yes_argument(parser)
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="change keys of the configuration; may be left out before KEY VALUE at the end",
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``, ``--config-file`` and what :func:`add_options_arguments` adds, of commands that use one model.

    Where they are not given, ``model`` is None and ``config_file`` is "": the command then takes DEFAULT_MODEL.
    """
    parser.add_argument(
        "--model",
        metavar="NAME|FILE",
        help="a model by name (`egtr models` lists them), or a YAML file with MODEL.WEIGHTS; demo and report take an "
        f".onnx or .xml file, too (default: {DEFAULT_MODEL})",
    )
    parser.add_argument(
        "--config-file",
        default="",
        metavar="NAME|FILE",
        help="the same; beside --model it decides the configuration, and the model gives only its weights",
    )
    add_options_arguments(parser)
