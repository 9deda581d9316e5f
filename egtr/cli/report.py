"""Write the scene graphs of many images as one interactive HTML page, which opens offline in any browser."""

import argparse
from collections.abc import Callable, Iterator
from itertools import islice

from egtr.config.arguments import DEFAULT_MODEL, add_model_arguments

from .checks import check_file, find_inputs, use_model
from .parsing import (
    UsageError,
    add_inputs,
    add_limit,
    add_no_single_objects,
    add_provider,
    add_top_k,
    get_inputs,
    report_error_above_bar,
)

EXAMPLES = """
examples:
  %(prog)s photos/ --output report.html
  %(prog)s --dataset scenes_val --output report.html
  %(prog)s --predictions output/predictions --dataset scenes_val --output report.html

Exit status: 0, or 1 when an image could not be read; the page then has the others.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_inputs(parser, "images, folders of them, quoted patterns or videos")
    add_model_arguments(parser)
    add_provider(parser)
    parser.add_argument("--dataset", metavar="NAME", help="a registered dataset, shown beside its annotations")
    parser.add_argument("--predictions", metavar="FILE", help="saved predictions, in place of a model")
    parser.add_argument("--partial", action="store_true", help="accept predictions whose writer was cut short")
    parser.add_argument("--output", required=True, metavar="FILE", help="the HTML file")
    parser.add_argument("--title", default="Scene graphs", help="title of the page (default: %(default)s)")
    add_top_k(parser, "number of triplets of an image, at most (%(default)s)", default=20)
    add_no_single_objects(parser)
    add_limit(parser)
    parser.add_argument(
        "--no-explanations", action="store_true", help="do not explain relations: twice as fast, and a smaller page"
    )


def run(args: argparse.Namespace) -> int:
    inputs = get_inputs(args)
    if bool(inputs) == (args.dataset is not None or args.predictions is not None):
        raise UsageError("give either images, or --dataset, --predictions or both")
    if args.predictions is not None:
        check_file(args.predictions)
    paths = find_inputs(inputs)
    use_model(args, DEFAULT_MODEL, exported=True)

    from tqdm.auto import tqdm

    from egtr.config import import_extensions
    from egtr.visualization.report import ReportWriter

    errors: list[Exception] = []

    def on_error(error: Exception) -> None:
        report_error_above_bar(args, error)
        errors.append(error)

    import_extensions(args.extension)
    report = ReportWriter(args.output, args.title)
    images, total = open_images(args, paths, on_error)
    with report:
        for image in tqdm(islice(images, args.limit), unit="image", total=total):
            report.add(image)
    print_size(args.output, report)
    for k, recall in report.mean_recall().items():
        print(f"R@{k} {100 * recall:.2f}")
    return int(bool(errors))


def print_size(path: str, report) -> None:
    """Print how many images the page has, and how large it is."""
    count, size = max(1, report.num_images), report.size
    each = f"{size.images / count / 1e3:.1f} kB image, {size.records / count / 1e3:.1f} kB graph and explanations"
    images = "1 image" if report.num_images == 1 else f"{report.num_images} images"
    print(f"{path}: {images}, {size.total / 1e6:.1f} MB; of each {each}")


def open_images(
    args: argparse.Namespace, paths: list[str], on_error: Callable[[Exception], None]
) -> tuple[Iterator, int | None]:
    """Open the images of the report; returns their number too, or None where it is not known."""
    from egtr.evaluation.prediction_file import list_images
    from egtr.inference import images_of_dataset, images_of_predictions, images_of_source

    common = {"top_k": args.top_k, "single_objects": args.single_objects, "on_error": on_error}
    if args.predictions is not None:
        images = images_of_predictions(args.predictions, args.dataset, partial=args.partial, **common)
        return images, _at_most(args.limit, len(list_images(args.predictions, args.partial)))

    from egtr.data.sources import ImageStream
    from egtr.inference import open_predictor

    predictor = open_predictor(args.config_file, args.opts, providers=args.provider)
    common["explain"] = not args.no_explanations
    if args.dataset is not None:
        return images_of_dataset(predictor, args.dataset, **common), args.limit or count_images(args.dataset)
    source = ImageStream(paths)
    return images_of_source(predictor, source, **common), _at_most(args.limit, source.total)


def count_images(dataset_name: str) -> int:
    """Count the images of a registered dataset."""
    from egtr.data.catalog import get_metadata  # isort: skip - says how to install Detectron2 where it is missing
    from detectron2.data import DatasetCatalog

    get_metadata(dataset_name)
    return len(DatasetCatalog.get(dataset_name))


def _at_most(limit: int | None, total: int | None) -> int | None:
    return min((number for number in (limit, total) if number is not None), default=None)
