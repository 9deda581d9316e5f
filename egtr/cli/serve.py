"""Serve a web page on this machine: drop an image, see its scene graph; and an HTTP API for programs."""

import argparse

from egtr.config.arguments import DEFAULT_MODEL, add_options_arguments

from .checks import find_config, find_model, read_weights
from .parsing import UsageError, add_provider

EXAMPLES = """
examples:
  %(prog)s
  %(prog)s --model scenes --model configs/custom.yaml=output/custom/model_final.pth --port 0

Only this machine reaches the page and the API unless --host says otherwise; docs/serving.md describes both. SIGTERM
and Ctrl-C let requests that have arrived finish. Exit status: 0, or 1 if nothing could be served.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME|FILE[=WEIGHTS]",
        help="a model by name (`egtr models` lists them), an .onnx or .xml file, or a YAML file with MODEL.WEIGHTS, "
        f"or with the weights after = (default: {DEFAULT_MODEL}); repeatable, to switch between them on the page",
    )
    parser.add_argument(
        "--config-file",
        action="append",
        default=[],
        metavar="NAME|FILE[=WEIGHTS]",
        help="the same; beside --model it decides the configuration, and each model gives only its weights",
    )
    parser.add_argument("--host", default="127.0.0.1", help="name or address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=8000, help="port to listen on; 0: any free one (default: %(default)s)"
    )
    parser.add_argument(
        "--public-name",
        action="append",
        default=[],
        metavar="NAME[:PORT]",
        help="name by which browsers reach a proxy in front of this server, such as graphs.example.org; repeatable",
    )
    parser.add_argument(
        "--max-megabytes", type=float, default=20, metavar="N", help="size limit of a request (%(default)s)"
    )
    parser.add_argument(
        "--max-megapixels", type=float, default=40, metavar="N", help="size limit of an image (%(default)s)"
    )
    parser.add_argument(
        "--max-requests", type=int, default=8, metavar="N", help="limit of images at the same time (%(default)s)"
    )
    parser.add_argument(
        "--max-boxes", type=int, default=300, metavar="N", help="limit of boxes that a request gives (%(default)s)"
    )
    parser.add_argument(
        "--max-remembered",
        type=int,
        default=8,
        metavar="N",
        help="images kept in memory for corrections (%(default)s)",
    )
    parser.add_argument(
        "--timeout", type=float, default=60, metavar="SECONDS", help="time limit of an answer (%(default)s)"
    )
    add_provider(parser)
    add_options_arguments(parser)


def run(args: argparse.Namespace) -> int:
    models = choose_models(args)

    from egtr.config import import_extensions
    from egtr.serving import Limits, ModelStore, serve

    import_extensions(args.extension)
    limits = Limits(
        int(args.max_megabytes * 10**6),
        int(args.max_megapixels * 10**6),
        args.max_requests,
        args.timeout,
        args.max_boxes,
        args.max_remembered,
    )
    serve(ModelStore(models, args.opts, args.provider), args.host, args.port, limits, args.public_name)
    return 0


def choose_models(args: argparse.Namespace) -> list[str]:
    """Choose what is served, as :class:`egtr.serving.ModelStore` takes it.

    Raises:
        UsageError: there are models beside several configurations.
        ConfigurationError: there is no such file or model, or a model has no weights.
        WeightsError: there is no such exported model.
    """
    models, config_files = args.model, args.config_file
    if not (models and config_files):
        chosen = models or config_files or [DEFAULT_MODEL]
        for name in chosen:
            find_model(name.partition("=")[0])
        return chosen
    for name in (*models, *config_files):
        find_config(name.partition("=")[0])
    if len(config_files) > 1 or "=" in config_files[0]:
        raise UsageError("beside --model, give one --config-file, without weights")
    weights = [model.partition("=")[2] or read_weights(model) for model in models]
    return [f"{config_files[0]}={path}" for path in weights]
