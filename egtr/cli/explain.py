"""Draw why the best relations of images are there."""

import argparse
import json
from itertools import islice
from pathlib import Path

from egtr.config.arguments import DEFAULT_MODEL, add_model_arguments

from .checks import find_inputs, use_model
from .parsing import UsageError, add_inputs, add_limit, add_top_k, get_inputs, report_error, whole_number

EXAMPLES = """
Each relation becomes NAME_edge0.png and so on, numbered by descending score; NAME_explanations.json has the same
numbers. egtr.structures.EdgeExplanation says what they are. Exit status: 0, or 1 when an image could not be read.

example:
  %(prog)s photo.jpg --output output/why --top-k 3
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_inputs(parser, "images, folders of them or quoted patterns")
    add_model_arguments(parser)
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    add_top_k(parser, "relations of each image (%(default)s)", type=whole_number(1), default=3)
    add_limit(parser, "the first N images, frames of videos among them (all)")


def run(args: argparse.Namespace) -> int:
    inputs = get_inputs(args)
    if not inputs:
        raise UsageError("give images, folders of them or quoted patterns")
    paths = find_inputs(inputs)
    use_model(args, DEFAULT_MODEL)

    from egtr.config import import_extensions
    from egtr.data.sources import ImageStream
    from egtr.inference import EGTRPredictor
    from egtr.inference.export import frame_stem, unique_stems

    import_extensions(args.extension)
    stems = dict(zip(paths, unique_stems(paths), strict=True))
    predictor = EGTRPredictor.from_config_file(args.config_file, args.opts)
    status = 0
    for result in islice(predictor.predict(ImageStream(paths)), args.limit):
        if result.error is not None:
            report_error(args, result.error)
            status = 1
        else:
            graph = result.graph.for_display(top_k=args.top_k)
            explain_image(predictor, result.image, graph, args.output / frame_stem(stems[graph.file_name], graph))
    return status


def explain_image(predictor, image, graph, target: Path) -> None:
    """Draw each relation of a graph to ``<target>_edge<number>.png``, and write ``<target>_explanations.json``."""
    from egtr.inference import explain_graph
    from egtr.structures.files import write_text
    from egtr.visualization import draw_explanation
    from egtr.visualization.charts import save_figure

    explanations = explain_graph(predictor, image, graph, channel_order="RGB")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not explanations:
        print(f"{target}: no relations")
    for edge, explanation in enumerate(explanations):
        save_figure(draw_explanation(image, explanation), f"{target}_edge{edge}.png")
        print(f"{target}_edge{edge}.png: {explanation}")
    records = [explanation.to_dict() for explanation in explanations]
    write_text(f"{target}_explanations.json", json.dumps(records, ensure_ascii=False) + "\n")
