"""Train EGTR, or the detector that it starts from."""

import argparse

from egtr.config.arguments import EPILOG, add_training_arguments

EXAMPLES = f"""{EPILOG}
--model NAME|FILE starts from a model. It takes the configuration and the weights of the model; with --config-file,
only the weights.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        metavar="NAME|FILE",
        help="start from a model that comes with EGTR, or from the model of a YAML file",
    )
    add_training_arguments(parser)
    parser.set_defaults(opts=[])


def run(args: argparse.Namespace) -> int:
    from egtr.engine import launch, train_or_evaluate

    use_model(args)
    launch(train_or_evaluate, args)
    return 0


def use_model(args: argparse.Namespace) -> None:
    """Let ``--model`` decide the configuration and the weights (in place); with ``--config-file``, only the weights.

    Raises:
        ConfigurationError: there is no such model, or it has no weights.
    """
    if args.model is None:
        return
    from egtr.config.loading import find_config, load_config
    from egtr.structures import ConfigurationError

    path = find_config(args.model)
    if not args.config_file:
        args.config_file = path
        return
    weights = load_config(path).MODEL.WEIGHTS
    if not weights:
        raise ConfigurationError(f"--model {args.model}: its MODEL.WEIGHTS is empty. Name a model with weights")
    args.opts = ["MODEL.WEIGHTS", weights, *args.opts]
