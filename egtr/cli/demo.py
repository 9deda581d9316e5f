"""Draw the scene graphs of images, of a video or of a camera."""

import argparse
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

from egtr.config.arguments import DEFAULT_MODEL, add_model_arguments

from .checks import check_file, find_inputs, use_model
from .choices import GRAPH_FORMATS, IMAGE_FORMATS, VIDEO_FORMATS
from .parsing import (
    UsageError,
    add_inputs,
    add_limit,
    add_no_single_objects,
    add_top_k,
    get_inputs,
    report_error,
    report_error_above_bar,
    score,
    whole_number,
)

EXAMPLES = f"""
An image is drawn with its objects boxed and the graph beside it; its graph is written as JSON, too. A video becomes
a video if --output names one ({", ".join(VIDEO_FORMATS)}), else an image for each frame. Without --output everything
is shown in a window: any key shows the next image, Esc or q quits.

A word in capitals with a dot, such as MY.KEY, is a key of the configuration, unless there is such a file or it ends
like an image or a video (DSC_0001.JPG).

examples:
  %(prog)s photo.jpg --output output/graphs
  %(prog)s photo.jpg --output figure.svg
  %(prog)s photos/ 'more/*.png' --output output/graphs --format pdf --graphs json graphml
  %(prog)s clip.mp4 --output output/clip.webm
  %(prog)s photo.jpg --model output/mine/config.yaml MODEL.DEVICE cpu
  %(prog)s --webcam

Exit status: 0, or 1 if an image could not be read or nothing could be drawn.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_inputs(parser, "images, folders of them, quoted patterns; or one video")
    add_model_arguments(parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--video-input", metavar="FILE", help="a video, drawn as a video into a folder, too")
    source.add_argument(
        "--webcam",
        nargs="?",
        type=int,
        const=0,
        metavar="INDEX",
        help="a camera, until Ctrl-C (default: 0, the first)",
    )
    parser.add_argument("--output", metavar="PATH", help="folder, or a file for a single input (default: a window)")
    add_limit(parser, "use only the first N images, or frames of a video (all)")
    parser.add_argument(
        "--confidence-threshold",
        type=score,
        metavar="SCORE",
        help="lowest triplet score (default: a twentieth of the best score of the image, at least 0.001)",
    )
    add_top_k(parser, "number of triplets of an image, at most (%(default)s)", default=20)
    parser.add_argument(
        "--keep-duplicates", action="store_true", help="do not merge queries that found the same object"
    )
    add_no_single_objects(parser)
    parser.add_argument(
        "--show-scores",
        action="store_true",
        help="write probabilities into the image; scores, for a model without calibration",
    )
    parser.add_argument(
        "--format", choices=IMAGE_FORMATS, default="png", help="format of images in a folder (%(default)s)"
    )
    parser.add_argument(
        "--graphs", nargs="*", choices=GRAPH_FORMATS, default=["json"], help="files of the graph itself (json)"
    )
    number = {"type": whole_number(1), "default": 1, "metavar": "N"}
    parser.add_argument("--batch-size", **number, help="images computed at once (%(default)s)")
    parser.add_argument("--threads", **number, help="threads that read images (%(default)s)")


def run(args: argparse.Namespace) -> int:
    inputs = get_inputs(args)
    if sum([bool(inputs), args.video_input is not None, args.webcam is not None]) != 1:
        raise UsageError("give images or a video, or --video-input, or --webcam: only one of them")
    video = args.webcam if args.video_input is None else args.video_input
    into_video = args.output is not None and Path(args.output).suffix[1:].lower() in VIDEO_FORMATS
    if args.output is not None and (video is not None or into_video) and "graphml" in args.graphs:
        raise UsageError("--graphs graphml: a file holds one graph, but a video has many; take json")
    if args.video_input is not None:
        check_file(args.video_input)
    paths = find_inputs(inputs)[: args.limit]
    use_model(args, DEFAULT_MODEL)

    from egtr.config import import_extensions
    from egtr.data.sources import VIDEO_SUFFIXES
    from egtr.inference import EGTRPredictor

    if into_video and len(inputs) == 1 and inputs[0].lower().endswith(VIDEO_SUFFIXES):
        video = inputs[0]
    import_extensions(args.extension)
    predictor = limit(EGTRPredictor.from_config_file(args.config_file, args.opts), args.limit)
    if args.output is None:
        return show(predictor, paths if video is None else video, args)
    return draw_images(predictor, paths, args) if video is None else draw_video(predictor, video, args)


def limit(predictor, number: int | None):
    """Make a predictor that ends after a number of images or frames; None: it does not."""
    return SimpleNamespace(predict=lambda *source, **reading: islice(predictor.predict(*source, **reading), number))


def draw_images(predictor, paths: list[str], args: argparse.Namespace) -> int:
    from egtr.inference import export_scene_graphs

    suffixes = [f".{name}" for name in args.graphs]
    written, errors = export_scene_graphs(
        predictor,
        paths,
        args.output,
        suffix=f".{args.format}",
        graph_suffixes=suffixes,
        on_error=partial(report_error_above_bar, args),
        **look(args),
        **reading(args),
    )
    for path in written:
        print(path, *(path.with_suffix(suffix) for suffix in suffixes))
    print(f"{len(written)} of {len(written) + len(errors)} images drawn to {args.output}")
    return int(bool(errors))


def draw_video(predictor, source: str | int, args: argparse.Namespace) -> int:
    from egtr.data.sources import MEDIA_SUFFIXES
    from egtr.inference import export_video

    path = Path(args.output)
    if path.suffix.lower() not in MEDIA_SUFFIXES or path.is_dir():
        path /= f"camera{source}.mp4" if isinstance(source, int) else f"{Path(source).stem}.mp4"
    saves_graphs = "json" in args.graphs
    drawn = export_video(predictor, source, path, save_graphs=saves_graphs, **look(args), **reading(args))
    print(f"{drawn} frames drawn to {path}" + (f", graphs in {path.with_suffix('.jsonl')}" if saves_graphs else ""))
    return 0


def show(predictor, source: list[str] | str | int, args: argparse.Namespace) -> int:
    from egtr.data.sources import ImageStream
    from egtr.inference import show_scene_graphs

    errors = show_scene_graphs(predictor.predict(ImageStream(source), **reading(args)), **look(args))
    for error in errors:
        report_error(args, error)
    return int(bool(errors))


def look(args: argparse.Namespace) -> dict:
    """Choose the part of a graph to draw, and how to draw it."""
    from egtr.structures import SceneGraph

    merge_iou = None if args.keep_duplicates else 0.7
    shown = {"min_score": args.confidence_threshold, "top_k": args.top_k, "merge_iou": merge_iou}
    select = partial(SceneGraph.for_display, single_objects=args.single_objects, **shown)
    return {"select": select, "show_scores": args.show_scores}


def reading(args: argparse.Namespace) -> dict:
    """Choose how images are read."""
    return {"batch_size": args.batch_size, "threads": args.threads}
