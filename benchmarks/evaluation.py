"""Time and memory of scoring, compared with evaluation written the usual way (evaluation_literal.py)."""

import argparse
import copy
import statistics
import time
import tracemalloc
from typing import Any

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from egtr.evaluation import PROTOCOLS, Scorer
from egtr.evaluation.report import write_json

from .evaluation_literal import LiteralScorer
from .random_scenes import random_scene, random_training_counts

# Images in memory at once; every stage goes through them again and again.
POOL = 4


def run(args: argparse.Namespace) -> int:
    """Measure, print a table and write the results to ``args.output``; return the exit status, 0."""
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
        f"\nA prediction takes {memory['prediction_MB']:.1f} MB, of which {memory['kept_kB']:.1f} kB are kept. "
        f"Scoring {args.images} images took at most {memory['peak_MB']:.1f} MB, including the present prediction."
    )
    if args.output:
        write_json(args.output, {"images": args.images, "runs": args.runs, "shape": shape, **report})
    return 0


def benchmark(queries: int, predicates: int, classes: int, images: int, runs: int) -> dict[str, Any]:
    """Measure the processor time of every scorer, in milliseconds an image, and the memory of the first one."""
    rng = np.random.RandomState(0)
    scenes = [random_scene(rng, queries, predicates, classes) for _ in range(POOL)]
    training = random_training_counts(rng, predicates, classes)
    scorer = Scorer("reference", training=training)
    report: dict[str, Any] = {"memory": measure_memory(scorer, scenes, images)}
    scorers = {
        "reference, only R@50": Scorer("reference", top_k=(50,)),
        "reference, every metric": scorer,
        f"all {len(PROTOCOLS)} protocols, every metric": Scorer(tuple(PROTOCOLS), training=training),
        "literal reference, every metric": LiteralScorer(predicates, training=training),
    }
    bar = tqdm(scorers.items(), unit="scorer", disable=None)
    report["ms_per_image"] = {name: measure_time(which, scenes, images, runs) for name, which in bar}
    return report


def measure_time(scorer: Any, scenes: list, images: int, runs: int) -> dict[str, float]:
    """Measure the milliseconds an image of ``score`` and of ``summarize``."""
    records = [scorer.score(*scene) for scene in scenes]
    records = [records[i % len(records)] for i in range(images)]
    return {
        "score": median_time(lambda: [scorer.score(*scene) for scene in scenes], runs) / len(scenes),
        "summary": median_time(lambda: scorer.summarize(records), runs) / images,
    }


def median_time(call: Any, runs: int) -> float:
    """Measure milliseconds of processor time, which does not depend on other programs on the machine."""
    times = []
    for _ in range(runs + 1):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times[1:])


def measure_memory(scorer: Scorer, scenes: list, images: int) -> dict[str, float]:
    """Measure the memory that Python and NumPy add while ``images`` images are scored one after the other."""
    scorer.score(*scenes[0])
    tracemalloc.start()
    # Each image is a copy, so that everything that a record of scores keeps is counted.
    kept = [scorer.score(*copy.deepcopy(scenes[i % len(scenes)])) for i in range(images)]
    current, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    arrays = [array for array in vars(scenes[0][0]).values() if isinstance(array, np.ndarray)]
    return {
        "prediction_MB": sum(array.nbytes for array in arrays) / 1e6,
        "kept_kB": current / len(kept) / 1e3,
        "peak_MB": peak / 1e6,
    }
