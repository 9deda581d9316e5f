"""Draw the scene graphs of images, of a video or of a camera."""

import argparse
import json
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

from egtr.config.arguments import DEFAULT_MODEL, add_model_arguments

from .checks import check_file, find_inputs, use_model
from .choices import DATA_FORMAT, GRAPH_FORMATS, IMAGE_FORMATS, VIDEO_FORMATS
from .parsing import (
    UsageError,
    add_inputs,
    add_limit,
    add_no_single_objects,
    add_provider,
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

--format json draws nothing and writes the graphs only: to the folder or file of --output, else to standard output,
one line for each image. With an .onnx model this needs neither torch nor Detectron2, and no library for drawing.

A word in capitals with a dot, such as MY.KEY, is a key of the configuration, unless there is such a file or it ends
like an image or a video (DSC_0001.JPG).

examples:
  %(prog)s photo.jpg --output output/graphs
  %(prog)s photo.jpg --output figure.svg
  %(prog)s photos/ 'more/*.png' --output output/graphs --format pdf --graphs json graphml
  %(prog)s clip.mp4 --output output/clip.webm
  %(prog)s photo.jpg --model output/mine/config.yaml MODEL.DEVICE cpu
  %(prog)s photos/ --model mine.onnx --format json > graphs.jsonl
  %(prog)s photos/ --boxes detections.json --output output/graphs
  %(prog)s --webcam

Exit status: 0, or 1 if an image could not be read or nothing could be drawn.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_inputs(parser, "images, folders of them, quoted patterns; or one video")
    add_model_arguments(parser)
    add_provider(parser)
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
    boxes = parser.add_argument_group("boxes that you have, in place of those that the model finds")
    boxes.add_argument(
        "--boxes",
        metavar="FILE",
        help="JSON: COCO annotations or results, or graphs that this command wrote (docs/given_boxes.md)",
    )
    boxes.add_argument(
        "--boxes-annotations", metavar="FILE", help="COCO annotations that name the images and categories of results"
    )
    boxes.add_argument("--refine-boxes", action="store_true", help="draw the boxes as the model corrects them")
    boxes.add_argument("--with-found", action="store_true", help="add the objects that the model finds itself")
    parser.add_argument("--output", metavar="PATH", help="folder, or a file for a single input (default: a window)")
    add_limit(parser, "use only the first N images, or frames of a video (all)")
    parser.add_argument(
        "--confidence-threshold",
        type=score,
        metavar="SCORE",
        help="lowest triplet score (default: a twentieth of the best score of the image, at least 0.001, and with "
        "calibration a probability of at least 0.3)",
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
        "--format",
        choices=(*IMAGE_FORMATS, DATA_FORMAT),
        default="png",
        help=f"format of images in a folder (%(default)s); {DATA_FORMAT}: only graphs, nothing is drawn",
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
    if args.format == DATA_FORMAT:
        if into_video or args.graphs != [DATA_FORMAT]:
            raise UsageError("--format json writes no video and no other file of the graph than JSON")
        if args.webcam is not None and args.output is not None:
            raise UsageError("--format json prints the graphs of a camera; leave out --output")
    if args.video_input is not None:
        check_file(args.video_input)
    paths = find_inputs(inputs)[: args.limit]
    if args.boxes is not None and (video is not None or into_video):
        raise UsageError("--boxes: the frames of a video have no boxes of their own; give images")
    use_model(args, DEFAULT_MODEL, exported=True)
    given = read_given(args)

    from egtr.config import import_extensions
    from egtr.data.sources import VIDEO_SUFFIXES
    from egtr.inference import open_predictor

    if into_video and len(inputs) == 1 and inputs[0].lower().endswith(VIDEO_SUFFIXES):
        video = inputs[0]
    import_extensions(args.extension)
    predictor = limit(open_predictor(args.config_file, args.opts, providers=args.provider), args.limit, given)
    if args.format == DATA_FORMAT and args.output is not None:
        return draw_images(predictor, paths if video is None else [video], args)
    if args.format == DATA_FORMAT:
        return print_graphs(predictor, paths if video is None else video, args)
    if args.output is None:
        return show(predictor, paths if video is None else video, args)
    return draw_images(predictor, paths, args) if video is None else draw_video(predictor, video, args)


def read_given(args: argparse.Namespace) -> dict:
    """Read the options about given boxes: arguments of a predictor; none if there are no boxes."""
    if args.boxes is None:
        for name in ("boxes_annotations", "refine_boxes", "with_found"):
            if getattr(args, name):
                raise UsageError(f"--{name.replace('_', '-')} goes with --boxes FILE")
        return {}
    from egtr.inference.opening import runs_without_torch

    if runs_without_torch(args.config_file):
        raise UsageError(
            f"--boxes: {args.config_file} is an exported model, which takes no boxes; name one in PyTorch"
        )
    from egtr.data.boxes_of_images import read_boxes_file

    for path in filter(None, (args.boxes, args.boxes_annotations)):
        check_file(path)
    boxes = read_boxes_file(args.boxes, args.boxes_annotations)
    return {"boxes": boxes, "refine_boxes": args.refine_boxes, "with_found": args.with_found}


def limit(predictor, number: int | None, given: dict):
    """Make a predictor of given boxes, if there are any, that ends after a number of images; None: it does not."""
    return SimpleNamespace(
        predict=lambda *source, **reading: islice(predictor.predict(*source, **reading, **given), number)
    )


def draw_images(predictor, paths: list[str], args: argparse.Namespace) -> int:
    from egtr.inference import export_scene_graphs

    suffixes = [f".{name}" for name in args.graphs]
    done = "written" if args.format == DATA_FORMAT else "drawn"
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
        print(path, *(path.with_suffix(suffix) for suffix in suffixes if suffix != path.suffix))
    print(f"{len(written)} of {len(written) + len(errors)} images {done} to {args.output}")
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


def print_graphs(predictor, source: list[str] | str | int, args: argparse.Namespace) -> int:
    """Print each graph as one line of JSON."""
    from egtr.data.sources import ImageStream

    select, errors = look(args)["select"], 0
    for result in predictor.predict(ImageStream(source), **reading(args)):
        if result.error is not None:
            report_error(args, result.error)
            errors += 1
        else:
            # In ASCII, whatever the encoding of standard output is.
            print(json.dumps(select(result.graph).to_dict()), flush=True)
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
