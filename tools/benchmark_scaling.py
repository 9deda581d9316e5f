#!/usr/bin/env python
"""What many processes and millions of pictures cost: measured here, or reckoned with assumptions that are given."""

# Before Detectron2, whose import it keeps quiet.
import egtr.modeling  # noqa: F401  isort: skip - registers the architecture

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog
from tabulate import tabulate

from egtr.engine import benchmark
from egtr.engine.predictor import read_config
from egtr.evaluation.report import write_json
from egtr.structures import EGTRError

EPILOG = """
examples:
  %(prog)s communication --step 0.5 --links 300 50 3 --latency 20
  %(prog)s storage --pictures 200 --bytes 150000
"""


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def add(command: Any, summary: str, config: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(command.__name__, help=summary, description=f"{summary}.")
        sub.set_defaults(run=command)
        sub.add_argument("--config-file", default=config, metavar="FILE", help="(default: %(default)s)")
        sub.add_argument("--output", type=Path, metavar="FILE", help="write the results as JSON, too")
        return sub

    sub = add(communication, "what processes exchange and wait for in a step", "vg150_egtr.yaml")
    sub.add_argument("--processes", type=int, default=2, help="on this machine, with gloo (%(default)s)")
    sub.add_argument("--runs", type=int, default=5, help="runs behind a first one, median taken (%(default)s)")
    sub.add_argument("--gpus", nargs="+", type=int, default=[8, 64, 512], help="to reckon for (8 64 512)")
    sub.add_argument("--step", type=float, default=0.5, metavar="S", help="assumed seconds of a step (%(default)s)")
    sub.add_argument(
        "--links", nargs="+", type=float, default=[200, 25, 1], metavar="GB/s", help="assumed, of a ring (200 25 1)"
    )
    sub.add_argument("--latency", type=float, default=20, metavar="US", help="assumed, of a message (%(default)s)")
    sub.add_argument("--sizes-of", default="scenes_train", metavar="NAME", help="data set whose sizes count")
    sub = add(storage, "what pictures and annotations cost on the disk, in memory and in time", "scenes/egtr.yaml")
    sub.add_argument("--pictures", type=int, default=200, help="so many are read (%(default)s)")
    sub.add_argument("--bytes", type=float, default=150e3, help="assumed bytes of a photo (%(default)s)")
    for sub in commands.choices.values():
        sub.add_argument("opts", nargs="*", metavar="KEY VALUE", help="keys of the configuration and their values")
    args = parser.parse_args(arguments)
    numbers = ("processes", "runs", "pictures", "step", "bytes", "latency", "links", "gpus")
    for name in numbers:
        values = getattr(args, name, 1)
        if min(values if isinstance(values, list) else [values]) <= 0:
            parser.error(f"--{name} must be above 0")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse_arguments(arguments)
    try:
        args.cfg = read_config(args.config_file, [*args.opts, "MODEL.DEVICE", "cpu"])
        report = args.run(args)
    except EGTRError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if args.output:
        write_json(args.output, report)
    return 0


def communication(args: argparse.Namespace) -> dict[str, Any]:
    found = benchmark.count_gradients(args.cfg)
    measured = benchmark.measure_all_reduce(found["bytes"], args.processes, args.runs)
    sizes = [(r["height"], r["width"]) for r in DatasetCatalog.get(args.sizes_of)]
    waiting = benchmark.simulate_waiting(args.cfg, sizes, args.gpus)
    print(
        f"{found['parameters'] / 1e6:.1f} M parameters, {found['trained'] / 1e6:.1f} M of them trained: "
        f"{found['bytes'] / 1e6:.0f} MB of gradients a step.\n"
        f"{args.processes} processes on this machine, gloo: {measured['gradients']:.3f} s for the gradients "
        f"({found['bytes'] / measured['gradients'] / 1e9:.2f} GB/s), "
        f"{1e6 * measured['scalar']:.0f} us for a number.\n"
    )
    rows = []
    for number, share in zip(args.gpus, waiting, strict=True):
        exchange = [benchmark.ring_seconds(found["bytes"], number, 1e9 * x, 1e-6 * args.latency) for x in args.links]
        rows.append((number, share, *exchange, *(args.step / (args.step / share + x) for x in exchange)))
    links = [f"{link:g} GB/s" for link in args.links]
    headers = ["GPUs", "computing", *(f"s at {x}" for x in links), *(f"efficiency at {x}" for x in links)]
    print(tabulate(rows, headers, tablefmt="pipe", floatfmt=".3f"))
    return {**found, **measured, "rows": [dict(zip(headers, row, strict=True)) for row in rows]}


def storage(args: argparse.Namespace) -> dict[str, Any]:
    found = benchmark.measure_dataset(args.cfg, args.pictures)
    print(
        f"{args.cfg.DATASETS.TRAIN[0]}: {found['images']} pictures, each with {found['objects']:.1f} objects and "
        f"{found['relations']:.1f} relations.\n"
    )
    sizes = {
        "pictures on the disk, as here": found["picture_bytes"],
        "photos on the disk, as assumed": args.bytes,
        "annotations on the disk": found["annotation_bytes"],
        "most memory of a process while it reads them": found["load_bytes"],
        "memory of a process for them in training": found["record_bytes"],
    }
    times = {
        "reading annotations": found["load_seconds"],
        "reading and resizing pictures, one core": found["read_seconds"],
    }
    rows = [(name, f"{size / 1e3:.1f} kB", f"{size / 1e3:.1f} GB") for name, size in sizes.items()]
    rows += [(name, f"{1e3 * s:.2f} ms", f"{1e6 * s / 3600:.2f} h") for name, s in times.items()]
    print(tabulate(rows, ("", "a picture", "a million"), tablefmt="pipe"))
    return found


if __name__ == "__main__":
    sys.exit(main())
