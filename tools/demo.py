#!/usr/bin/env python3
"""Draw the scene graphs of pictures."""

import argparse
import sys

from egtr.data.image import find_images
from egtr.engine import EGTRPredictor, add_extension_argument, import_extensions
from egtr.engine.predictor import DEFAULT_MODEL
from egtr.structures import EGTRError
from egtr.visualization import export_scene_graphs


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=f"{__doc__} Each one gets a PNG (picture and graph side by side) and a JSON file of the graph.",
        epilog="Exit status: 0, or 1 when a picture could not be read or nothing could be done.",
    )
    parser.add_argument(
        "--config-file",
        default=DEFAULT_MODEL,
        metavar="FILE",
        help="shipped model, YAML file, or a configuration that comes with EGTR (default: %(default)s)",
    )
    parser.add_argument("--input", nargs="+", required=True, help="pictures, folders of them or quoted patterns")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--confidence-threshold",
        type=float,
        metavar="SCORE",
        help="least triplet score (default: a twentieth of the picture's best one, at least 0.001)",
    )
    parser.add_argument("--top-k", type=int, default=20, metavar="K", help="most triplets a picture (%(default)s)")
    parser.add_argument(
        "--keep-duplicates", action="store_true", help="do not merge queries that found the same object"
    )
    parser.add_argument("--show-scores", action="store_true", help="write scores into the picture")
    add_extension_argument(parser)
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="change configuration keys"
    )
    args = parser.parse_args(argv)
    try:
        import_extensions(args.extension)
        paths = find_images(args.input)
        predictor = EGTRPredictor.from_config_file(args.config_file, args.opts)
        written, failed = export_scene_graphs(
            predictor,
            paths,
            args.output,
            min_score=args.confidence_threshold,
            top_k=args.top_k,
            merge_iou=None if args.keep_duplicates else 0.7,
            show_scores=args.show_scores,
        )
    except EGTRError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(written)} of {len(paths)} pictures drawn to {args.output}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
