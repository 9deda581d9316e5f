#!/usr/bin/env python
"""Scene graphs of many images as one interactive HTML page, which opens offline in any browser."""

import argparse
import sys
from collections.abc import Callable, Iterator

from tqdm.auto import tqdm

from egtr.config import add_model_arguments, import_extensions
from egtr.data.sources import ImageStream
from egtr.inference import EGTRPredictor, images_of_dataset, images_of_predictions, images_of_source
from egtr.structures import EGTRError
from egtr.visualization.report import ReportImage, ReportWriter

EPILOG = """
examples:
  %(prog)s --input photos/ --output report.html
  %(prog)s --dataset scenes_val --output report.html
  %(prog)s --predictions output/predictions --dataset scenes_val --output report.html

Exit status: 0, or 1 when an image could not be read; the page then has the others.
"""


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_model_arguments(parser)
    parser.add_argument("--input", nargs="+", help="images, folders of them, quoted patterns or videos")
    parser.add_argument("--dataset", metavar="NAME", help="a registered dataset, shown beside its annotations")
    parser.add_argument("--predictions", metavar="FILE", help="saved predictions, in place of a model")
    parser.add_argument("--partial", action="store_true", help="accept predictions whose writer was cut short")
    parser.add_argument("--output", required=True, metavar="FILE", help="the HTML file")
    parser.add_argument("--title", default="Scene graphs", help="of the page (default: %(default)s)")
    parser.add_argument("--top-k", type=int, default=20, metavar="K", help="most triplets an image (%(default)s)")
    parser.add_argument("--no-explanations", action="store_true", help="half the time and a smaller page")
    return parser


def main(argv: list[str] | None = None) -> int:
    parser = get_parser()
    args = parser.parse_args(argv)
    if (args.input is None) == (args.dataset is None and args.predictions is None):
        parser.error("give either --input, or --dataset, --predictions or both")
    errors: list[EGTRError] = []
    try:
        import_extensions(args.extension)
        report = ReportWriter(args.output, args.title)
        images, total = open_images(args, errors.append)
        with report:
            for image in tqdm(images, unit="image", total=total):
                report.add(image)
    except (EGTRError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        for error in errors:
            print(f"error: {error}", file=sys.stderr)
    print_size(args.output, report)
    for k, recall in report.mean_recall().items():
        print(f"R@{k} {100 * recall:.2f}")
    return int(bool(errors))


def print_size(path: str, report: ReportWriter) -> None:
    count, size = max(1, report.num_images), report.size
    each = f"{size.images / count / 1e3:.1f} kB image, {size.records / count / 1e3:.1f} kB graph and explanations"
    images = "1 image" if report.num_images == 1 else f"{report.num_images} images"
    print(f"{path}: {images}, {size.total / 1e6:.1f} MB; of each {each}")


def open_images(
    args: argparse.Namespace, on_error: Callable[[EGTRError], None]
) -> tuple[Iterator[ReportImage], int | None]:
    """The images, and how many there will be where that is known."""
    common = {"top_k": args.top_k, "on_error": on_error}
    if args.predictions is not None:
        return images_of_predictions(args.predictions, args.dataset, partial=args.partial, **common), None
    predictor = EGTRPredictor.from_config_file(args.config_file, args.opts)
    explain = not args.no_explanations
    if args.dataset is not None:
        return images_of_dataset(predictor, args.dataset, explain=explain, **common), None
    source = ImageStream(args.input)
    return images_of_source(predictor, source, explain=explain, **common), source.total


if __name__ == "__main__":
    sys.exit(main())
