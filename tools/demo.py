#!/usr/bin/env python3
"""Draw the scene graphs of images, of a video or of what a camera sees."""

import argparse
import sys
from functools import partial
from pathlib import Path

from egtr.config import add_model_arguments, import_extensions
from egtr.data.image import find_images
from egtr.data.sources import MEDIA_SUFFIXES, ImageStream
from egtr.inference import EGTRPredictor, export_scene_graphs, export_video, show_scene_graphs
from egtr.inference.export import GRAPH_SUFFIXES, IMAGE_SUFFIXES
from egtr.inference.video import CODECS
from egtr.structures import EGTRError, SceneGraph

EPILOG = f"""
An image is drawn with its objects boxed and the graph beside it; its graph is written as JSON, too. A video becomes
a video ({", ".join(CODECS)}). Without --output everything is shown in a window: any key leads on, Esc or q ends.

examples:
  %(prog)s --input photo.jpg --output output/graphs
  %(prog)s --input photo.jpg --output figure.svg
  %(prog)s --input photos/ 'more/*.png' --output output/graphs --format pdf --graphs json graphml
  %(prog)s --video-input clip.mp4 --output output/clip.webm
  %(prog)s --webcam

Exit status: 0, or 1 when an image could not be read or nothing could be done.
"""


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_arguments(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", nargs="+", help="images, folders of them or quoted patterns")
    source.add_argument("--video-input", metavar="FILE", help="a video")
    source.add_argument(
        "--webcam",
        nargs="?",
        type=int,
        const=0,
        metavar="INDEX",
        help="a camera, until Ctrl-C (default: 0, the first)",
    )
    parser.add_argument(
        "--output", metavar="PATH", help="folder, or file where there is one input (default: a window)"
    )
    parser.add_argument(
        "--confidence-threshold",
        type=float,
        metavar="SCORE",
        help="least triplet score (default: a twentieth of the image's best one, at least 0.001)",
    )
    parser.add_argument("--top-k", type=int, default=20, metavar="K", help="most triplets an image (%(default)s)")
    parser.add_argument(
        "--keep-duplicates", action="store_true", help="do not merge queries that found the same object"
    )
    parser.add_argument("--show-scores", action="store_true", help="write scores into the image")
    names = [suffix[1:] for suffix in IMAGE_SUFFIXES]
    parser.add_argument("--format", choices=names, default=names[0], help="of images in a folder (%(default)s)")
    names = [suffix[1:] for suffix in GRAPH_SUFFIXES]
    parser.add_argument(
        "--graphs", nargs="*", choices=names, default=names[:1], help="files of the graph itself (default: json)"
    )
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="images at once (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="that read images (%(default)s)")
    args = parser.parse_args(argv)
    if args.input is None and args.output is not None and "graphml" in args.graphs:
        parser.error("--graphs graphml: a file holds one graph, but a video has many; take json")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    try:
        import_extensions(args.extension)
        paths = find_images(args.input) if args.input else []
        predictor = EGTRPredictor.from_config_file(args.config_file, args.opts)
        return draw_images(predictor, paths, args) if paths else draw_video(predictor, args)
    except (EGTRError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def draw_images(predictor: EGTRPredictor, paths: list[str], args: argparse.Namespace) -> int:
    reading = {"batch_size": args.batch_size, "threads": args.threads}
    if args.output is None:
        return show(predictor.predict(ImageStream(paths), **reading), args)
    written, errors = export_scene_graphs(
        predictor,
        paths,
        args.output,
        suffix=f".{args.format}",
        graph_suffixes=[f".{name}" for name in args.graphs],
        **look(args),
        **reading,
    )
    print(f"{len(written)} of {len(written) + len(errors)} images drawn to {args.output}")
    return int(bool(errors))


def draw_video(predictor: EGTRPredictor, args: argparse.Namespace) -> int:
    reading = {"batch_size": args.batch_size, "threads": args.threads}
    source = args.webcam if args.video_input is None else args.video_input
    if args.output is None:
        return show(predictor.predict(ImageStream(source), **reading), args)
    path = Path(args.output)
    if path.suffix.lower() not in MEDIA_SUFFIXES or path.is_dir():
        path /= f"camera{source}.mp4" if args.video_input is None else f"{Path(source).stem}.mp4"
    drawn = export_video(predictor, source, path, save_graphs="json" in args.graphs, **look(args), **reading)
    print(f"{drawn} frames drawn to {path}")
    return 0


def show(results, args: argparse.Namespace) -> int:
    errors = show_scene_graphs(results, **look(args))
    for error in errors:
        print(error, file=sys.stderr)
    return int(bool(errors))


def look(args: argparse.Namespace) -> dict:
    """What of a graph is drawn, and how."""
    merge_iou = None if args.keep_duplicates else 0.7
    shown = {"min_score": args.confidence_threshold, "top_k": args.top_k, "merge_iou": merge_iou}
    return {"select": partial(SceneGraph.for_display, **shown), "show_scores": args.show_scores}


if __name__ == "__main__":
    sys.exit(main())
