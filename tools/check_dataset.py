#!/usr/bin/env python
"""Look through a dataset before training on it: its annotations, and every image decoded to its end."""

import argparse
import sys
from pathlib import Path

from egtr.data.catalog import check_registered
from egtr.data.check import check_dataset, print_report, write_report
from egtr.data.datasets import FORMATS, get_format, read_annotations
from egtr.structures import EGTRError
from egtr.visualization import draw_histograms, draw_samples


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Exit status: 0, or 1 where something would break training. Warnings alone do not count.",
    )
    parser.add_argument("--dataset", metavar="NAME", help="a registered dataset, such as scenes_train")
    parser.add_argument("--format", choices=sorted(FORMATS), help="of --json, where the dataset is not registered")
    parser.add_argument("--json", metavar="FILE[#split]", help="annotations")
    parser.add_argument("--image-root", metavar="DIR", help="folder of the images of --json")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write report.json, samples.png and histograms.png there"
    )
    parser.add_argument("--samples", type=int, default=16, metavar="N", help="images on samples.png (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="other seeds, other samples (%(default)s)")
    parser.add_argument("--workers", type=int, metavar="N", help="threads that decode images (one for each core)")
    parser.add_argument("--no-images", action="store_true", help="check annotations alone, and open no image")
    args = parser.parse_args(argv)
    given = (args.format, args.json, args.image_root)
    if any(given) if args.dataset else not all(given):
        parser.error("give either --dataset, or --format, --json and --image-root")
    try:
        if args.output:
            # What takes long is not lost for a folder that cannot be made.
            args.output.mkdir(parents=True, exist_ok=True)
        if args.dataset:
            check_registered(args.dataset)
            annotations = read_annotations(args.dataset)
        else:
            annotations = get_format(args.format).read(args.json, args.image_root)
        report = check_dataset(annotations, read_images=not args.no_images, workers=args.workers)
        print_report(report)
        if args.output:
            write_report(args.output / "report.json", report)
            histograms = {"objects of each class": report.classes, "relations of each predicate": report.predicates}
            draw_histograms(histograms).savefig(args.output / "histograms.png", dpi=150)
            samples = draw_samples(annotations, args.samples, seed=args.seed)
            if samples is not None:
                samples.save(args.output / "samples.png")
            print(f"The report and its images are in {args.output}")
    except (EGTRError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 1 if report.num_errors else 0


if __name__ == "__main__":
    sys.exit(main())
