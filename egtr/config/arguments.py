"""Arguments of the command lines that configure a model. Importing this module imports no torch."""

import argparse

DEFAULT_MODEL = "scenes"

EPILOG = """
examples:
  train                    %(prog)s --config-file FILE
  change a key             %(prog)s --config-file FILE SOLVER.BASE_LR 5e-5 OUTPUT_DIR output/trial
  go on with a run         %(prog)s --config-file FILE --resume
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
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the last checkpoint in OUTPUT_DIR; where there is none, begin with MODEL.WEIGHTS",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="delete what a former run has left in OUTPUT_DIR, and start over"
    )
    parser.add_argument("--eval-only", action="store_true", help="train nothing: evaluate MODEL.WEIGHTS")
    parser.add_argument(
        "--num-gpus", type=int, default=1, metavar="N", help="GPUs of each machine; without GPUs, processes (1)"
    )
    parser.add_argument("--num-machines", type=int, default=1, metavar="N", help="machines in all (1)")
    parser.add_argument("--machine-rank", type=int, default=0, metavar="N", help="which of them this one is (0)")
    parser.add_argument(
        "--dist-url",
        # A free port, so that two runs on one machine do not meet.
        default="auto",
        metavar="URL",
        help="where the processes meet: tcp://HOST:PORT of machine 0 (a free port of this machine)",
    )
    add_extension_argument(parser)
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="keys of the configuration and their values"
    )


def add_extension_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--extension``, for :func:`egtr.config.import_extensions`."""
    parser.add_argument(
        "--extension",
        action="append",
        default=[],
        metavar="FILE.py",
        help="import a file (or module) of your own first, which registers what the configuration names; repeatable",
    )


def add_options_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--extension`` and ``--opts``, of commands whose configuration may be changed."""
    add_extension_argument(parser)
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="change keys of the configuration; may be left out before KEY VALUE at the end",
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--model`` (or ``--config-file``), ``--extension`` and ``--opts``, of commands that use one model."""
    parser.add_argument(
        "--model",
        "--config-file",
        default=DEFAULT_MODEL,
        metavar="NAME|FILE",
        dest="config_file",
        help="a model that comes with EGTR, or a YAML file with MODEL.WEIGHTS (default: %(default)s)",
    )
    add_options_arguments(parser)
