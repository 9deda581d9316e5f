#!/usr/bin/env python
"""Time and memory of the model and its parts, beside the formulas written out (benchmarks/literal.py).

Random weights and images of noise, unless said otherwise; medians; every contestant in one process, in turn.
Peak memory is that of a fresh process, less what the process had before the call; the median of three processes, in
growth of one.
"""

# Before Detectron2, whose import it keeps quiet.
import egtr.modeling  # noqa: F401  isort: skip - registers the architecture

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

import benchmarks as benchmark
from egtr.config import add_extension_argument, fall_back_to_cpu, import_extensions
from egtr.config.loading import read_config
from egtr.evaluation.report import write_json
from egtr.structures import EGTRError

LITERAL = Path(__file__).resolve().parents[1] / "tests" / "modeling" / "literal.py"
EPILOG = """
examples:
  %(prog)s inference
  %(prog)s inference --size 800 1333 --batch 4 --contestants egtr egtr_bf16
  %(prog)s training --output output/benchmark/training.json
  %(prog)s pruning --queries 200 1000
  %(prog)s growth queries --output output/benchmark/queries.json
  %(prog)s pipeline --config-file configs/scenes/detector.yaml DATALOADER.NUM_WORKERS 2
"""


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def add(command: Any, summary: str, config: str = "vg150_egtr.yaml") -> argparse.ArgumentParser:
        sub = commands.add_parser(command.__name__, help=summary, description=f"{summary}.")
        sub.set_defaults(run=command)
        sub.add_argument("--config-file", default=config, metavar="FILE", help="the model (default: %(default)s)")
        sub.add_argument("--output", type=Path, metavar="FILE", help="write the results as JSON, too")
        add_extension_argument(sub)
        return sub

    def add_case(sub: argparse.ArgumentParser, contestants: Sequence[str] = ()) -> None:
        size = {"nargs": 2, "type": int, "default": [600, 1000], "metavar": ("HEIGHT", "WIDTH")}
        sub.add_argument("--size", **size, help="of the images as the network gets them (default: 600 1000)")
        sub.add_argument("--batch", type=int, default=1, help="images in a batch (default: 1)")
        sub.add_argument(
            "--runs", type=int, default=5, help="runs behind a first one; the median counts (default: 5)"
        )
        if contestants:
            all_of_them = list(contestants)
            sub.add_argument(
                "--contestants", nargs="+", choices=all_of_them, default=all_of_them, help="default: all"
            )
            sub.add_argument("--no-memory", action="store_true", help="measure time alone")

    add_case(add(inference, "from images to scene graphs, and the parts of that"), benchmark.CONTESTANTS)
    add_case(add(training, "one step of training"), benchmark.TRAINING)
    add_case(add(relation, "the relation part alone, with dense logits"), ("egtr", "literal"))
    sub = add(pruning, "relation part, record and ranking, with promising pairs and with all")
    sub.add_argument("--queries", nargs="+", type=int, default=[200, 1000], help="numbers N (default: 200 1000)")
    sub.add_argument("--topk", type=int, default=100, help="triplets K of the ranking (default: 100)")
    # Of random logits most pairs would promise about as much.
    sub.add_argument("--sure", type=float, default=0.1, help="share of queries sure of their class (default: 0.1)")
    add_case(sub)
    sub = add(pairs, "share of the pairs whose relations trained weights make the model work out", "scenes/egtr.yaml")
    sub.add_argument(
        "--topk", nargs="+", type=int, default=[20, 50, 100], help="triplets K of the ranking (default: 20 50 100)"
    )
    sub.add_argument("--images", type=int, help="the first so many of DATASETS.TEST alone")
    add_case(add(sampling, "deformable sampling in each of its implementations"))
    sub = add(growth, "time and memory over the number of queries or predicates, or over the size of the image")
    sub.add_argument("axis", choices=benchmark.AXES, help="what grows")
    sub.add_argument("--values", nargs="+", type=int, help="where to measure")
    sub.add_argument("--plot", type=Path, metavar="FILE.png", help="draw it")
    add_case(sub)
    sub = add(pipeline, "share of time that training waits for images", config="scenes/detector.yaml")
    sub.add_argument("--iterations", type=int, default=200, help="default: 200")
    sub = add(agreement, "triplets that float32 and bfloat16 find alike, with trained weights", "scenes/egtr.yaml")
    sub.add_argument("--images", type=int, help="the first so many of DATASETS.TEST alone")
    add_case(add(machine, "what the processor can do, and what the model asks of it"))
    for sub in commands.choices.values():
        sub.add_argument("opts", nargs="*", metavar="KEY VALUE", help="keys of the configuration and their values")
    args = parser.parse_args(arguments)
    for name, least in (("batch", 1), ("runs", 1), ("iterations", 1), ("images", 1), ("top_k", 1), ("queries", 2)):
        value = getattr(args, name, None)
        if value is not None and min(value if isinstance(value, list) else [value]) < least:
            parser.error(f"--{name} must be at least {least}")
    if not 0 <= getattr(args, "sure", 0) <= 1:
        parser.error("--sure must be a share, from 0 to 1")
    if min(getattr(args, "size", [benchmark.SMALL])) < benchmark.SMALL:
        parser.error(f"--size must be at least {benchmark.SMALL} {benchmark.SMALL}")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse_arguments(arguments)
    try:
        import_extensions(args.extension)
        args.cfg = read_config(args.config_file, args.opts)
        fall_back_to_cpu(args.cfg)
        report = args.run(args)
    except EGTRError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    asked = {
        k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items() if k not in ("run", "cfg", "command")
    }
    report = {"command": args.command, "arguments": asked, "machine": benchmark.describe_machine(), **report}
    print("\n" + ", ".join(f"{name} {value}" for name, value in report["machine"].items() if value))
    if args.output:
        write_json(args.output, report)
    return 0


def make_case(args: argparse.Namespace) -> benchmark.Case:
    return benchmark.Case.from_config(args.cfg, *args.size, batch=args.batch, literal=str(LITERAL))


def inference(args: argparse.Namespace) -> dict[str, Any]:
    case = make_case(args)
    contestants = benchmark.build_inference(case, args.contestants)
    timings = benchmark.measure_time(contestants, args.runs)
    memory = weigh(args, contestants, benchmark.build_one_inference, case)
    report = compare(f"Inference, {describe(args)}", timings, memory, args.batch)
    parts = {name: benchmark.split_inference(timing) for name, timing in timings.items()}
    print("\nSeconds of the parts:\n")
    print_table(["part", *parts], [(p, *(found.get(p) for found in parts.values())) for p in benchmark.PARTS])
    return report | {"parts": parts}


def training(args: argparse.Namespace) -> dict[str, Any]:
    case = make_case(args)
    timings = benchmark.measure_time(benchmark.build_training(case, args.contestants), args.runs)
    memory = weigh(args, timings, benchmark.build_one_training, case)
    return compare(f"Training step, {describe(args)}", timings, memory, args.batch)


def relation(args: argparse.Namespace) -> dict[str, Any]:
    case, report = make_case(args), {}
    egtr = args.cfg.MODEL.EGTR
    shape = f"{egtr.NUM_QUERIES} queries, {egtr.NUM_PREDICATES} predicates, batch {args.batch}"
    for training in (False, True):
        timings = benchmark.measure_time(benchmark.build_relation(case, args.contestants, training), args.runs)
        memory = weigh(args, timings, benchmark.build_one_relation, case, training)
        mode = "forward and backward" if training else "forward"
        report[mode] = compare(f"Relation part, {mode}, {shape}", timings, memory, args.batch)
    return report


def pruning(args: argparse.Namespace) -> dict[str, Any]:
    report = benchmark.measure_pruning(make_case(args), args.queries, args.topk, args.sure, args.runs)
    pruned, dense = report["pruned_seconds"], report["dense_seconds"]
    time_share = [fast / slow for fast, slow in zip(pruned, dense, strict=True)]
    print(f"Relation part, record and ranking of {args.topk}, batch {args.batch}, median of {args.runs} runs:\n")
    headers = ["queries", "s pruned", "s dense", "of dense", "pairs evaluated"]
    print_table(headers, list(zip(args.queries, pruned, dense, time_share, report["pair_share"], strict=True)))
    return report | {"time_share": time_share}


def pairs(args: argparse.Namespace) -> dict[str, Any]:
    report = benchmark.measure_pair_share(args.cfg, args.topk, args.images)
    name, number = args.cfg.DATASETS.TEST[0], report["queries"]
    print(f"Pairs evaluated of {number} x {number}, mean of {report['images']} images of {name}:\n")
    headers = ["K", "pairs evaluated", "images with all pairs"]
    print_table(headers, list(zip(report["top_k"], report["pair_share"], report["dense"], strict=True)))
    return report


def sampling(args: argparse.Namespace) -> dict[str, Any]:
    case, seconds = make_case(args), {}
    for queries in ("encoder", "decoder"):
        for training in (False, True):
            column = f"{queries}, {'forward and backward' if training else 'forward'}"
            seconds[column] = benchmark.measure_sampling(case, queries, training, args.runs)
    print(f"Deformable sampling, {describe(args)}, milliseconds:\n")
    names = next(iter(seconds.values()))
    print_table(
        ["implementation", *seconds], [(n, *(s[n] and 1000 * s[n] for s in seconds.values())) for n in names], ".1f"
    )
    return {"seconds": seconds}


def growth(args: argparse.Namespace) -> dict[str, Any]:
    values = args.values or benchmark.AXES[args.axis][0]
    report = benchmark.measure_growth(make_case(args), args.axis, values, args.runs)
    series = report["series"]
    print(f"Growth over {benchmark.AXES[args.axis][1]}:\n")
    print_table([args.axis, *series], list(zip(values, *series.values(), strict=True)))
    slopes = ", ".join(f"{name} {slope:.2f}" for name, slope in report["slopes"].items())
    print(f"\nSlopes in the upper half, in double logarithmic measure: {slopes}.")
    if args.axis == "queries":
        print(benchmark.judge_growth(report))
    if args.plot:
        args.plot.parent.mkdir(parents=True, exist_ok=True)
        benchmark.plot_growth(args.plot, report)
    return report


def pipeline(args: argparse.Namespace) -> dict[str, Any]:
    found = benchmark.measure_waiting(args.cfg, args.iterations)
    workers = args.cfg.DATALOADER.NUM_WORKERS
    print(
        f"{args.iterations} iterations of {args.cfg.SOLVER.IMS_PER_BATCH} images with {workers} worker(s) took "
        f"{found.total:.1f} s; {found.waiting:.2f} s of it, {found.share:.1%}, were spent waiting for images."
    )
    return {"iterations": args.iterations, "workers": workers, **found._asdict(), "share": found.share}


def agreement(args: argparse.Namespace) -> dict[str, Any]:
    found = benchmark.measure_agreement(args.cfg, args.images)
    recall = found["R@50"]
    print(
        f"Of the 50 best triplets in float32, {found['kept']:.2%} are among the 50 best in bfloat16, mean of "
        f"{found['images']} images; R@50 is {recall['float32']:.2f} and {recall['bfloat16']:.2f}."
    )
    return found


def machine(args: argparse.Namespace) -> dict[str, Any]:
    able, work = benchmark.measure_machine(args.runs), benchmark.count_work(make_case(args))
    print(
        f"Products of matrices run at {able['float32_gflops']:.0f} GFLOP/s in float32, {able['bfloat16_gflops']:.0f} "
        f"in bfloat16; copying moves {able['copy_gb_per_s']:.1f} GB/s, reads and writes together.\n\n"
        f"What one image of {args.size[0]} x {args.size[1]} asks for:\n"
    )
    rows = [
        (part, w["gflop"], w["mb"], w["gflop"] / able["float32_gflops"], w["mb"] / 1e3 / able["copy_gb_per_s"])
        for part, w in work.items()
    ]
    rows.append(("together", *(sum(column) for column in list(zip(*rows, strict=True))[1:])))
    print_table(["part", "GFLOP", "MB moved", "s of products", "s of memory"], rows, ".2f")
    return {"able": able, "work": work}


def describe(args: argparse.Namespace) -> str:
    return f"{args.size[0]} x {args.size[1]}, batch {args.batch}, median of {args.runs} runs"


def weigh(args: argparse.Namespace, names: Iterable[str], build: Callable, case: benchmark.Case, *more: Any) -> dict:
    """Memory of each contestant, as far as it is wanted and known."""
    return {name: None if args.no_memory else benchmark.measure_memory(build, case, name, *more) for name in names}


def compare(title: str, timings: Mapping, memory: Mapping, batch: int) -> dict[str, Any]:
    """Print time and memory of all contestants, as they are and as shares of the literal model's; return them."""
    report = {}
    for name, timing in timings.items():
        used = memory[name]
        report[name] = {"seconds": timing.seconds, "images_per_second": batch / timing.seconds}
        report[name] |= {"added_mb": used.added, "total_mb": used.total} if used else {}
        if used and used.kept:
            report[name]["added_with_kept_mb"] = used.added + used.kept
    columns = {"seconds": "s", "added_mb": "peak MB added"}
    if any("added_with_kept_mb" in found for found in report.values()):
        columns["added_with_kept_mb"] = "with gradients and optimizer"
    base = dict(report.get("literal", {}))
    for found in report.values():
        found["of_literal"] = {key: found[key] / base[key] for key in columns if key in found and base.get(key)}
    headers, rows = [""], [[name] for name in report]
    for key, label in columns.items():
        headers += [label, "images/s", "of literal"] if key == "seconds" else [label, "of literal"]
        for row, found in zip(rows, report.values(), strict=True):
            speed = [found["images_per_second"]] if key == "seconds" else []
            row += [found.get(key), *speed, found["of_literal"].get(key)]
    print(f"{title}:\n")
    print_table(headers, rows)
    print()
    return {"contestants": report}


def print_table(headers: Sequence[str], rows: Sequence[Sequence[Any]], digits: str = ".3f") -> None:
    print(tabulate(rows, headers, tablefmt="pipe", floatfmt=digits, missingval="-"))


if __name__ == "__main__":
    sys.exit(main())
