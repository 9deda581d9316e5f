"""Arguments of the command lines that configure a model. Importing this module imports no torch."""

import argparse

DEFAULT_MODEL = "scenes"

EPILOG = """
Examples:
  train                    %(prog)s --config-file FILE
  change a key             %(prog)s --config-file FILE SOLVER.BASE_LR 5e-5 OUTPUT_DIR output/trial
  go on with a run         %(prog)s --config-file FILE --resume
  evaluate                 %(prog)s --config-file FILE --eval-only MODEL.WEIGHTS output/trial/model_best.pth
  train on eight GPUs      %(prog)s --config-file FILE --num-gpus 8
  the same by torchrun     torchrun --nproc-per-node 8 --max-restarts 3 %(prog)s --config-file FILE --resume
  a head of your own       %(prog)s --config-file FILE --extension my_head.py MODEL.EGTR.RELATION.HEAD MyHead
"""


def egtr_argument_parser(description: str | None = None) -> argparse.ArgumentParser:
    """Detectron2's arguments (--config-file, --resume, --eval-only, --num-gpus, ..., KEY VALUE ...)."""
    # Here, since it imports torch.
    from detectron2.engine import default_argument_parser

    parser = default_argument_parser(epilog=EPILOG)
    parser.description = description
    # A free port, so that two runs on one machine do not meet.
    parser.set_defaults(dist_url="auto")
    add_extension_argument(parser)
    return parser


def add_extension_argument(parser: argparse.ArgumentParser) -> None:
    """``--extension``, for :func:`egtr.config.import_extensions`."""
    parser.add_argument(
        "--extension",
        action="append",
        default=[],
        metavar="FILE.py",
        help="import a file (or module) of your own first, which registers what the configuration names; repeatable",
    )


def add_options_arguments(parser: argparse.ArgumentParser) -> None:
    """``--extension`` and ``--opts``, of tools whose configuration may be changed."""
    add_extension_argument(parser)
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="change configuration keys"
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """``--config-file``, ``--extension`` and ``--opts``, of tools that predict with one model."""
    parser.add_argument(
        "--config-file",
        default=DEFAULT_MODEL,
        metavar="FILE",
        help="YAML file with MODEL.WEIGHTS, or the name of a model that comes with EGTR (default: %(default)s)",
    )
    add_options_arguments(parser)
