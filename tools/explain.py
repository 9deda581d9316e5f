#!/usr/bin/env python
"""Why is this edge in the graph? Draws where the best edges of images come from."""

import argparse
import json
import sys
from pathlib import Path

from egtr.config import add_model_arguments, import_extensions
from egtr.data.image import find_images
from egtr.data.sources import ImageStream
from egtr.inference import EGTRPredictor, explain_graph
from egtr.inference.export import frame_stem, unique_stems
from egtr.structures import EGTRError
from egtr.visualization import draw_explanation

EPILOG = """
Each edge becomes NAME_edge0.png and so on, numbered by descending score; NAME_explanations.json has the same numbers.
egtr.structures.EdgeExplanation says what they are. Exit status: 0, or 1 when an image could not be read.

example:
  %(prog)s --input photo.jpg --output output/why --top-k 3
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_arguments(parser)
    parser.add_argument("--input", nargs="+", required=True, help="images, folders of them or quoted patterns")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument("--top-k", type=int, default=3, metavar="K", help="edges of each image (%(default)s)")
    args = parser.parse_args(argv)
    if args.top_k < 1:
        parser.error(f"--top-k {args.top_k}: give at least 1")
    try:
        import_extensions(args.extension)
        paths = find_images(args.input)
        stems = dict(zip(paths, unique_stems(paths), strict=True))
        predictor = EGTRPredictor.from_config_file(args.config_file, args.opts)
        failed = False
        for result in predictor.predict(ImageStream(paths)):
            if result.error is not None:
                print(f"error: {result.error}", file=sys.stderr)
                failed = True
            else:
                graph = result.graph.for_display(top_k=args.top_k)
                target = args.output / frame_stem(stems[graph.file_name], graph)
                explain_image(predictor, result.image, graph, target)
    except (EGTRError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return int(failed)


def explain_image(predictor: EGTRPredictor, image, graph, target: Path) -> None:
    explanations = explain_graph(predictor, image, graph, channel_order="RGB")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not explanations:
        print(f"{target}: no relations")
    for edge, explanation in enumerate(explanations):
        draw_explanation(image, explanation).savefig(f"{target}_edge{edge}.png")
        print(f"{target}_edge{edge}.png: {explanation}")
    records = [explanation.to_dict() for explanation in explanations]
    Path(f"{target}_explanations.json").write_text(json.dumps(records, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
