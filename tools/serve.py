#!/usr/bin/env python
"""A web page on this machine: drop an image, see its scene graph; and an HTTP API for programs."""

import argparse
import sys

from egtr.config import add_options_arguments, import_extensions
from egtr.hub.model_zoo import DEFAULT_MODEL
from egtr.structures import EGTRError

EPILOG = """
examples:
  %(prog)s
  %(prog)s --model scenes --model configs/custom.yaml=output/custom/model_final.pth --port 0

The page and the API can be reached from this machine alone unless --host says otherwise; docs/serving.md describes
both. SIGTERM and Ctrl-C let what has been asked finish. Exit status: 0, or 1 when nothing could be served.
"""


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config-file",
        "--model",
        action="append",
        metavar="FILE[=WEIGHTS]",
        help="YAML file with MODEL.WEIGHTS, or with other weights, or the name of a model that comes with EGTR "
        f"(default: {DEFAULT_MODEL}); repeatable, to switch between them on the page",
    )
    parser.add_argument("--host", default="127.0.0.1", help="name or address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free (default: %(default)s)")
    parser.add_argument("--max-megabytes", type=float, default=20, metavar="N", help="of a request (%(default)s)")
    parser.add_argument("--max-megapixels", type=float, default=40, metavar="N", help="of an image (%(default)s)")
    parser.add_argument("--max-requests", type=int, default=8, metavar="N", help="at the same time (%(default)s)")
    parser.add_argument("--timeout", type=float, default=60, metavar="SECONDS", help="of an answer (%(default)s)")
    add_options_arguments(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = get_parser().parse_args(argv)
    try:
        # Here, so that --help works where FastAPI is not installed.
        from egtr.serving import Limits, ModelStore, serve

        import_extensions(args.extension)
        limits = Limits(
            int(args.max_megabytes * 10**6), int(args.max_megapixels * 10**6), args.max_requests, args.timeout
        )
        serve(ModelStore(args.config_file or [DEFAULT_MODEL], args.opts), args.host, args.port, limits)
    except (EGTRError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
