"""Look through a dataset before training on it: its annotations, and every image decoded to its end."""

import argparse
from pathlib import Path

from .checks import check_file
from .choices import DATASET_FORMATS
from .parsing import UsageError, whole_number

EXAMPLES = """
examples:
  %(prog)s --dataset scenes_train --output output/check
  %(prog)s --format coco_sg --input mine/train.json --image-root photos

Exit status: 0, or 1 if something would break training. Warnings do not count.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", metavar="NAME", help="a registered dataset, such as scenes_train")
    parser.add_argument(
        "--format", choices=DATASET_FORMATS, help="format of --input, for a dataset that is not registered"
    )
    parser.add_argument("--input", metavar="FILE[#split]", help="annotations")
    parser.add_argument("--json", dest="input", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument("--image-root", metavar="DIR", help="folder of the images of --input")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write report.json, samples.png and histograms.png there"
    )
    parser.add_argument(
        "--samples", type=whole_number(0), default=16, metavar="N", help="images on samples.png (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples (%(default)s)")
    parser.add_argument(
        "--workers", type=whole_number(1), metavar="N", help="threads that decode images (one for each core)"
    )
    parser.add_argument("--no-images", action="store_true", help="check only annotations, and open no image")


def run(args: argparse.Namespace) -> int:
    given = (args.format, args.input, args.image_root)
    if any(given) if args.dataset else not all(given):
        raise UsageError("give either --dataset, or --format, --input and --image-root")
    if not args.dataset:
        check_file(args.input)

    from egtr.data.catalog import check_registered
    from egtr.data.check import check_dataset, print_report, write_report
    from egtr.data.datasets import get_format, read_annotations
    from egtr.structures.files import replacing, writing
    from egtr.visualization import draw_histograms, draw_samples
    from egtr.visualization.charts import save_figure

    if args.output:
        # The check takes long: a folder that cannot be made is an error before it begins.
        args.output.mkdir(parents=True, exist_ok=True)
    if args.dataset:
        check_registered(args.dataset)
        annotations = read_annotations(args.dataset)
    else:
        annotations = get_format(args.format).read(args.input, args.image_root)
    report = check_dataset(annotations, read_images=not args.no_images, workers=args.workers)
    print_report(report)
    if args.output:
        write_report(args.output / "report.json", report)
        histograms = {"objects of each class": report.classes, "relations of each predicate": report.predicates}
        save_figure(draw_histograms(histograms), args.output / "histograms.png")
        samples = draw_samples(annotations, args.samples, seed=args.seed)
        if samples is not None:
            path = args.output / "samples.png"
            with writing(path), replacing(path) as file:
                samples.save(file, "png")
        print(f"The report and its images are in {args.output}")
    return 1 if report.num_errors else 0
