"""Train EGTR, or the detector that it starts from."""

import argparse

from egtr.config.arguments import EPILOG, OVERWRITE, RESUME, add_options_arguments, add_process_arguments

from .checks import use_model
from .parsing import UsageError

EXAMPLES = f"""{EPILOG}
--model NAME|FILE starts from a model. It takes the configuration and the weights of the model; with --config-file,
only the weights.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_arguments(
        parser,
        model="start from a model by name (`egtr models` lists them), or from the model of a YAML file",
        resume=RESUME,
    )
    parser.add_argument("--overwrite", action="store_true", help=OVERWRITE)
    parser.add_argument("--eval-only", action="store_true", help="only evaluate, as `egtr evaluate` does")


def add_run_arguments(parser: argparse.ArgumentParser, *, model: str, resume: str) -> None:
    """Add what training and evaluation share; ``model`` and ``resume`` are the texts of these arguments."""
    parser.add_argument("--model", metavar="NAME|FILE", help=model)
    parser.add_argument(
        "--config-file",
        default="",
        metavar="NAME|FILE",
        help="the configuration; beside --model, which then gives only its weights",
    )
    parser.add_argument("--output", metavar="DIR", help="folder for what is written: OUTPUT_DIR of the configuration")
    parser.add_argument("--resume", action="store_true", help=resume)
    add_process_arguments(parser)
    add_options_arguments(parser)


def run(args: argparse.Namespace) -> int:
    prepare(args)

    from egtr.config import load_config
    from egtr.config.paths import fetch
    from egtr.engine import launch, train_or_evaluate

    if args.num_gpus * args.num_machines > 1:
        weights = load_config(args.config_file, args.opts).MODEL.WEIGHTS
        if weights.startswith("egtr://models/"):
            # The processes could not ask whether they may fetch it.
            fetch(weights, "there is no such model")
    launch(train_or_evaluate, args)
    return 0


def prepare(args: argparse.Namespace) -> None:
    """Let ``--model`` and ``--output`` decide configuration and keys (in place), before torch is imported.

    Raises:
        UsageError: nothing names a configuration.
        ConfigurationError: there is no such file or model, or the model has no weights.
    """
    data = "DATASETS.TEST" if args.eval_only else "DATASETS.TRAIN"
    if not args.config_file and args.model is None and data not in args.opts[::2]:
        raise UsageError(f"give --config-file FILE or --model NAME|FILE, or at least {data}")
    if args.output is not None:
        args.opts = ["OUTPUT_DIR", args.output, *args.opts]
    use_model(args)
