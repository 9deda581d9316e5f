"""Write the scene graphs of many images as one interactive HTML page, which opens offline in any browser."""

import argparse
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from egtr.structures import Predictor

EXAMPLES = """
examples:
  %(prog)s photos/ --output report.html
  %(prog)s --dataset scenes_val --output report.html
  %(prog)s --predictions output/predictions --dataset scenes_val --output report.html
  %(prog)s --predictions output/predictions --model scenes --output report.html

Exit status: 0, or 1 when an image could not be read; the page then has the others.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_inputs(parser, "images, folders of them, quoted patterns or videos")
    add_model_arguments(parser)
    add_provider(parser)
    parser.add_argument("--dataset", metavar="NAME", help="a registered dataset, shown beside its annotations")
    parser.add_argument(
        "--predictions",
        metavar="FILE",
        help="saved predictions, in place of a model; a model that is named only gives them its calibration",
    )
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
    # Saved predictions may be of any system, so that only a model that is named states their probabilities.
    with_model = bool(args.predictions is None or args.model or args.config_file)
    use_model(args, DEFAULT_MODEL, exported=True)

    from tqdm.auto import tqdm

    from egtr.config import import_extensions
    from egtr.visualization.report import ReportWriter

    errors: list[Exception] = []

    def on_error(error: Exception) -> None:
        report_error_above_bar(args, error)
        errors.append(error)

    import_extensions(args.extension)
    predictor = open_model(args) if with_model else None
    images, total = open_images(args, paths, predictor, on_error)
    calibration = getattr(predictor, "calibration", None)
    report = ReportWriter(args.output, args.title, calibration=calibration, exhaustive=is_exhaustive(args))
    with report:
        for image in tqdm(islice(images, args.limit), unit="image", total=total):
            report.add(image)
    print_size(args.output, report)
    for k, recall in report.mean_recall().items():
        print(f"R@{k} {100 * recall:.2f}")
    if report.reliability is not None:
        print_reliability(report.reliability)
    return int(bool(errors))


def print_size(path: str, report) -> None:
    """Print how many images the page has, and how large it is."""
    count, size = max(1, report.num_images), report.size
    each = f"{size.images / count / 1e3:.1f} kB image, {size.records / count / 1e3:.1f} kB graph and explanations"
    images = "1 image" if report.num_images == 1 else f"{report.num_images} images"
    print(f"{path}: {images}, {size.total / 1e6:.1f} MB; of each {each}")


def print_reliability(measured: dict[str, Any]) -> None:
    """Print the calibration errors of what is chosen by rank, and what they cannot mean."""
    for kind in ("relations", "objects"):
        stated = "probability" if "probability" in measured[kind] else "score"
        error, drawn = measured[kind][stated]["ECE"], measured[kind][stated]["ECE of drawn labels"]
        if error is not None:
            print(f"ECE of displayed {kind}, by {stated}: {error:.4f} ({drawn:.4f} for labels drawn from it)")
    if "note" in measured:
        print(measured["note"])


def open_model(args: argparse.Namespace) -> "Predictor":
    """Open the model of the command line, and check that it has the names of saved predictions."""
    from egtr.inference import open_predictor

    predictor = open_predictor(args.config_file, args.opts, providers=args.provider)
    if args.predictions is not None:
        from egtr.evaluation import read_meta
        from egtr.inference.report_images import check_names

        meta = read_meta(args.predictions)
        check_names(predictor, meta.class_names, meta.predicate_names, args.predictions)
    return predictor


def is_exhaustive(args: argparse.Namespace) -> bool:
    """Tell whether the annotations are known to hold every relation."""
    if args.dataset is not None:
        from egtr.data.catalog import get_metadata

        return get_metadata(args.dataset).get("exhaustive", False) is True
    from egtr.evaluation import read_meta

    return args.predictions is not None and read_meta(args.predictions).exhaustive


def open_images(
    args: argparse.Namespace,
    paths: list[str],
    predictor: "Predictor | None",
    on_error: Callable[[Exception], None],
) -> tuple[Iterator, int | None]:
    """Open the images of the report; returns their number too, or None where it is not known."""
    from egtr.evaluation.prediction_file import list_images
    from egtr.inference import images_of_dataset, images_of_predictions, images_of_source

    common = {"top_k": args.top_k, "single_objects": args.single_objects, "on_error": on_error}
    if args.predictions is not None:
        common |= {"partial": args.partial, "calibration": getattr(predictor, "calibration", None)}
        images = images_of_predictions(args.predictions, args.dataset, **common)
        return images, _at_most(args.limit, len(list_images(args.predictions, args.partial)))

    from egtr.data.sources import ImageStream

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
