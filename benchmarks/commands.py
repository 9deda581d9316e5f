"""The commands that measure a model: each prints its tables and returns the results for a JSON file."""

import argparse
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import egtr.modeling  # noqa: F401  isort: skip - before Detectron2, whose import it keeps quiet
from tabulate import tabulate

from egtr.config import fall_back_to_cpu, import_extensions, read_config
from egtr.data.datasets import register_rows
from egtr.evaluation.report import write_json

from .agreement import measure_agreement
from .case import Case
from .choices import AXES
from .commands_of_given import correcting, given_boxes
from .commands_of_trained import photographs, predicting, shown
from .contestants import (
    PARTS,
    build_inference,
    build_one_inference,
    build_one_relation,
    build_one_training,
    build_relation,
    build_training,
    split_inference,
)
from .equality import measure_equality
from .growth import judge_growth, measure_growth, plot_growth
from .machine import count_work, measure_machine
from .measure import describe_machine, measure_memory, measure_time
from .pipeline import measure_waiting
from .printing import print_table
from .pruning import measure_pair_share, measure_pruning
from .runtimes import measure_runtimes
from .sampling import measure_sampling


def run(args: argparse.Namespace) -> int:
    """Run the command of ``args.command``; print its tables and write its results to ``args.output``.

    Returns:
        The exit status, 0.

    Raises:
        EGTRError: a bad configuration, dataset or weight file; nothing is written.
    """
    import_extensions(args.extension)
    args.cfg = read_config(args.config_file, args.opts)
    register_rows(args.cfg.DATASETS.REGISTER)
    fall_back_to_cpu(args.cfg)
    results = COMMANDS[args.command](args)
    asked = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()}
    for name in ("run", "cfg", "command"):
        del asked[name]
    report = {"command": args.command, "arguments": asked, "machine": describe_machine(), **results}
    print("\n" + ", ".join(f"{name} {value}" for name, value in report["machine"].items() if value))
    if args.output:
        write_json(args.output, report)
    return 0


def make_case(args: argparse.Namespace) -> Case:
    """Make the case of the command line."""
    return Case.from_config(args.cfg, *args.size, batch=args.batch)


def inference(args: argparse.Namespace) -> dict[str, Any]:
    """Compare inference, from images to scene graphs, and its parts."""
    case = make_case(args)
    contestants = build_inference(case, args.contestants, args.side)
    timings = measure_time(contestants, args.runs)
    memory = weigh(args, contestants, build_one_inference, case, args.side)
    report = compare(f"Inference, {describe(args)}", timings, memory, args.batch)
    parts = {name: split_inference(timing) for name, timing in timings.items()}
    print("\nSeconds of the parts:\n")
    print_table(["part", *parts], [(p, *(found.get(p) for found in parts.values())) for p in PARTS])
    return report | {"parts": parts}


def training(args: argparse.Namespace) -> dict[str, Any]:
    """Compare one step of training."""
    case = make_case(args)
    timings = measure_time(build_training(case, args.contestants), args.runs)
    memory = weigh(args, timings, build_one_training, case)
    return compare(f"Training step, {describe(args)}", timings, memory, args.batch)


def relation(args: argparse.Namespace) -> dict[str, Any]:
    """Compare the relation part, in inference and in training."""
    case, report = make_case(args), {}
    egtr = args.cfg.MODEL.EGTR
    shape = f"{egtr.NUM_QUERIES} queries, {egtr.NUM_PREDICATES} predicates, batch {args.batch}"
    for training in (False, True):
        timings = measure_time(build_relation(case, args.contestants, training), args.runs)
        memory = weigh(args, timings, build_one_relation, case, training)
        mode = "forward and backward" if training else "forward"
        report[mode] = compare(f"Relation part, {mode}, {shape}", timings, memory, args.batch)
    return report


def pruning(args: argparse.Namespace) -> dict[str, Any]:
    """Compare relation part, record and ranking, with the promising pairs and with all pairs."""
    report = measure_pruning(make_case(args), args.queries, args.top_k, args.sure, args.runs)
    pruned, dense = report["pruned_seconds"], report["dense_seconds"]
    time_share = [fast / slow for fast, slow in zip(pruned, dense, strict=True)]
    print(f"Relation part, record and ranking of {args.top_k}, batch {args.batch}, median of {args.runs} runs:\n")
    headers = ["queries", "s pruned", "s dense", "of dense", "pairs evaluated"]
    print_table(headers, list(zip(args.queries, pruned, dense, time_share, report["pair_share"], strict=True)))
    return report | {"time_share": time_share}


def pairs(args: argparse.Namespace) -> dict[str, Any]:
    """Show the share of pairs whose relations the trained model computes."""
    report = measure_pair_share(args.cfg, args.top_k, args.images)
    name, number = args.cfg.DATASETS.TEST[0], report["queries"]
    print(f"Pairs evaluated of {number} x {number}, mean of {report['images']} images of {name}:\n")
    headers = ["K", "pairs evaluated", "images with all pairs"]
    print_table(headers, list(zip(report["top_k"], report["pair_share"], report["dense"], strict=True)))
    return report


def sampling(args: argparse.Namespace) -> dict[str, Any]:
    """Compare the implementations of deformable sampling."""
    case, seconds = make_case(args), {}
    for queries in ("encoder", "decoder"):
        for training in (False, True):
            column = f"{queries}, {'forward and backward' if training else 'forward'}"
            seconds[column] = measure_sampling(case, queries, training, args.runs)
    print(f"Deformable sampling, {describe(args)}, milliseconds:\n")
    names = next(iter(seconds.values()))
    print_table(["implementation", *seconds], [(n, *(1000 * s[n] for s in seconds.values())) for n in names], ".1f")
    return {"seconds": seconds}


def growth(args: argparse.Namespace) -> dict[str, Any]:
    """Show how time and memory grow along ``args.axis``, and draw it to ``args.plot``."""
    values = args.values or AXES[args.axis][0]
    report = measure_growth(make_case(args), args.axis, values, args.runs)
    series = report["series"]
    print(f"Growth over {AXES[args.axis][1]}:\n")
    print_table([args.axis, *series], list(zip(values, *series.values(), strict=True)))
    slopes = ", ".join(f"{name} {slope:.2f}" for name, slope in report["slopes"].items())
    print(f"\nSlopes of the upper half on logarithmic axes: {slopes}.")
    if args.axis == "queries":
        print(judge_growth(report))
    if args.plot:
        args.plot.parent.mkdir(parents=True, exist_ok=True)
        plot_growth(args.plot, report)
    return report


def pipeline(args: argparse.Namespace) -> dict[str, Any]:
    """Show the share of time for which training waits for images."""
    found = measure_waiting(args.cfg, args.iterations)
    workers = args.cfg.DATALOADER.NUM_WORKERS
    print(
        f"{args.iterations} iterations of {args.cfg.SOLVER.IMS_PER_BATCH} images with {workers} worker(s) took "
        f"{found.total:.1f} s; {found.waiting:.2f} s of it, {found.share:.1%}, were spent waiting for images."
    )
    return {"iterations": args.iterations, "workers": workers, **found._asdict(), "share": found.share}


def agreement(args: argparse.Namespace) -> dict[str, Any]:
    """Show how many triplets float32 and bfloat16 share."""
    found = measure_agreement(args.cfg, args.images)
    recall = found["R@50"]
    print(
        f"Of the 50 best triplets in float32, {found['kept']:.2%} are among the 50 best in bfloat16, mean of "
        f"{found['images']} images; R@50 is {recall['float32']:.2f} and {recall['bfloat16']:.2f}."
    )
    return found


def equality(args: argparse.Namespace) -> dict[str, Any]:
    """Compare exported models with the model in PyTorch."""
    found = measure_equality(args.cfg, args.exported, args.images)
    print(f"{found['images']} images of {args.cfg.DATASETS.TEST[0]}; R@50 in PyTorch is {found['R@50']:.2f}.\n")
    headers = ["file", "logits differ by", "boxes differ by", "same 50 best", "change of R@50"]
    rows = [
        (label, f"{d['logits']:.1e}", f"{d['boxes']:.1e}", f"{d['same']:.2%}", f"{d['R@50 change']:+.2f}")
        for label, d in found["exported"].items()
    ]
    # Differences such as 3.3e-06 stay as they are.
    print(tabulate(rows, headers, tablefmt="pipe", disable_numparse=True))
    return found


def runtimes(args: argparse.Namespace) -> dict[str, Any]:
    """Compare the speed of exported models with the model in PyTorch."""
    report = {}
    # The small model is measured by itself: with one thread, as share of its own time in PyTorch.
    for threads, names in ((args.threads, [n for n in args.cases if n != "scenes"]), (1, ["scenes"])):
        if not set(names) & set(args.cases):
            continue
        found = measure_runtimes(names, args.runs, threads, args.int8)
        base = next(iter(found))
        print(
            f"Network, {threads} thread(s), median of {args.runs} turns, and of the ratios in each to {base}, and to "
            "the fastest of the same model in PyTorch:\n"
        )
        rows = [
            (label, 1000 * timing["seconds"], timing["share"], timing["of fastest"])
            for label, timing in found.items()
        ]
        print_table(["", "ms", "share", "of fastest in PyTorch"], rows)
        print()
        report |= found
    return report


def machine(args: argparse.Namespace) -> dict[str, Any]:
    """Show the speed of the processor beside the work of the model."""
    able, work = measure_machine(args.runs), count_work(make_case(args))
    print(
        f"Products of matrices run at {able['float32_gflops']:.0f} GFLOP/s in float32 (F.linear "
        f"{able['float32_mkl_gflops']:.0f}, oneDNN {able.get('float32_onednn_gflops', math.nan):.0f}), "
        f"{able['bfloat16_gflops']:.0f} in bfloat16; copying moves {able['copy_gb_per_s']:.1f} GB/s, "
        "reads and writes together.\n\n"
        f"The work for one image of {args.size[0]} x {args.size[1]}:\n"
    )
    rows = [
        (part, w["gflop"], w["mb"], w["gflop"] / able["float32_gflops"], w["mb"] / 1e3 / able["copy_gb_per_s"])
        for part, w in work.items()
    ]
    rows.append(("together", *(sum(column) for column in list(zip(*rows, strict=True))[1:])))
    print_table(["part", "GFLOP", "MB moved", "s of products", "s of memory"], rows, ".2f")
    return {"able": able, "work": work}


def describe(args: argparse.Namespace) -> str:
    """Describe the case in a title."""
    return f"{args.size[0]} x {args.size[1]}, batch {args.batch}, median of {args.runs} runs"


def weigh(args: argparse.Namespace, names: Iterable[str], build: Callable, case: Case, *more: Any) -> dict:
    """Measure the memory of each contestant; None if it is not wanted or not known."""
    return {name: None if args.no_memory else measure_memory(build, case, name, *more) for name in names}


def compare(title: str, timings: Mapping, memory: Mapping, batch: int) -> dict[str, Any]:
    """Print and return time and memory of all contestants, also as shares of the literal model's.

    Times are also given as shares of "egtr_plain", if it takes part.
    """
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
        if "egtr_plain" in report:
            found["of_egtr_plain"] = {"seconds": found["seconds"] / report["egtr_plain"]["seconds"]}
    headers, rows = [""], [[name] for name in report]
    for key, label in columns.items():
        headers += [label, "images/s", "of literal"] if key == "seconds" else [label, "of literal"]
        for row, found in zip(rows, report.values(), strict=True):
            speed = [found["images_per_second"]] if key == "seconds" else []
            row += [found.get(key), *speed, found["of_literal"].get(key)]
    if "egtr_plain" in report:
        headers.append("time of egtr_plain")
        for row, found in zip(rows, report.values(), strict=True):
            row.append(found["of_egtr_plain"]["seconds"])
    print(f"{title}:\n")
    print_table(headers, rows)
    print()
    return {"contestants": report}


COMMANDS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "inference": inference,
    "training": training,
    "relation": relation,
    "pruning": pruning,
    "pairs": pairs,
    "sampling": sampling,
    "growth": growth,
    "pipeline": pipeline,
    "agreement": agreement,
    "equality": equality,
    "runtimes": runtimes,
    "machine": machine,
    "shown": shown,
    "photographs": photographs,
    "given_boxes": given_boxes,
    "correcting": correcting,
    "predicting": predicting,
}
