#!/usr/bin/env python
"""Time and memory of scoring, against evaluation written the usual way (benchmarks/evaluation_literal.py)."""

import argparse
import copy
import importlib.util
import os
import statistics
import time
import tracemalloc
from pathlib import Path
from types import ModuleType
from typing import Any

# One core for both, whatever the libraries underneath would take; they read this when they are imported.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np  # noqa: E402
from tabulate import tabulate  # noqa: E402
from tqdm import tqdm  # noqa: E402

from egtr.evaluation import PROTOCOLS, Scorer  # noqa: E402
from egtr.evaluation.report import write_json  # noqa: E402

TESTS = Path(__file__).resolve().parents[1] / "tests" / "evaluation"
# Images in memory at once; every stage goes through them again and again.
POOL = 4


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=200, help="object queries N (%(default)s)")
    parser.add_argument("--predicates", type=int, default=50, help="predicates R (%(default)s)")
    parser.add_argument("--classes", type=int, default=150, help="object classes C (%(default)s)")
    parser.add_argument("--images", type=int, default=200, help="images of the dataset (%(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="runs after a first one, median taken (%(default)s)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the results as JSON, too")
    args = parser.parse_args(argv)
    if min(args.queries, args.predicates, args.classes, args.images, args.runs) < 1:
        parser.error("--queries, --predicates, --classes, --images and --runs must be at least 1")

    report = benchmark(args.queries, args.predicates, args.classes, args.images, args.runs)
    shape = f"{args.queries} queries, {args.predicates} predicates, {args.classes} classes"
    print(
        f"One core, {shape}, all {args.queries**2} pairs; dataset of {args.images} images; "
        f"median of {args.runs} runs.\n"
    )
    rows = [(name, t["score"], t["summary"], t["score"] + t["summary"]) for name, t in report["ms_per_image"].items()]
    headers = ("ms an image", "scoring it", "its share of the summary", "together")
    print(tabulate(rows, headers, tablefmt="pipe", floatfmt=".1f"))
    memory = report["memory"]
    print(
        f"\nA prediction takes {memory['prediction_MB']:.1f} MB, what is kept of it {memory['kept_kB']:.1f} kB. "
        f"Scoring {args.images} images took at most {memory['peak_MB']:.1f} MB, the prediction at hand included."
    )
    if args.output:
        write_json(args.output, {"images": args.images, "runs": args.runs, "shape": shape, **report})


def benchmark(queries: int, predicates: int, classes: int, images: int, runs: int) -> dict[str, Any]:
    """CPU milliseconds of every scorer, and the memory of the first one."""
    random_scenes, literal = load("random_scenes"), load("literal")
    rng = np.random.RandomState(0)
    scenes = [random_scenes.random_scene(rng, queries, predicates, classes) for _ in range(POOL)]
    training = random_scenes.random_training_counts(rng, predicates, classes)
    scorer = Scorer("reference", training=training)
    report: dict[str, Any] = {"memory": measure_memory(scorer, scenes, images)}
    scorers = {
        "reference, R@50 alone": Scorer("reference", top_k=(50,)),
        "reference, every metric": scorer,
        f"all {len(PROTOCOLS)} protocols, every metric": Scorer(tuple(PROTOCOLS), training=training),
        "literal reference, every metric": literal.LiteralScorer(predicates, training=training),
    }
    bar = tqdm(scorers.items(), unit="scorer", disable=None)
    report["ms_per_image"] = {name: measure_time(which, scenes, images, runs) for name, which in bar}
    return report


def measure_time(scorer: Any, scenes: list, images: int, runs: int) -> dict[str, float]:
    """Milliseconds an image of ``score`` and of ``summarize``."""
    records = [scorer.score(*scene) for scene in scenes]
    records = [records[i % len(records)] for i in range(images)]
    return {
        "score": median_time(lambda: [scorer.score(*scene) for scene in scenes], runs) / len(scenes),
        "summary": median_time(lambda: scorer.summarize(records), runs) / images,
    }


def median_time(call: Any, runs: int) -> float:
    """Milliseconds of processor time, which other programs on the machine do not lengthen."""
    times = []
    for _ in range(runs + 1):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times[1:])


def measure_memory(scorer: Scorer, scenes: list, images: int) -> dict[str, float]:
    """Memory of Python and numpy, above that before, while ``images`` images come by one after the other."""
    scorer.score(*scenes[0])
    tracemalloc.start()
    # Each image is a copy, so that whatever a record of scores holds on to is counted.
    kept = [scorer.score(*copy.deepcopy(scenes[i % len(scenes)])) for i in range(images)]
    current, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    arrays = [array for array in vars(scenes[0][0]).values() if isinstance(array, np.ndarray)]
    return {
        "prediction_MB": sum(array.nbytes for array in arrays) / 1e6,
        "kept_kB": current / len(kept) / 1e3,
        "peak_MB": peak / 1e6,
    }


def load(name: str) -> ModuleType:
    """A helper of the tests; they are no package."""
    spec = importlib.util.spec_from_file_location(name, TESTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
