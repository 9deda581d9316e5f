#!/usr/bin/env python
"""Compare the settings of a sweep by family of predicates: spatial, possessive, action.

    python projects/EGTR/predicate_families.py projects/EGTR/sweeps/pair_functions.yaml

Each run leaves the recall of every predicate on the validation images. R@50 of a family is the mean over its
predicates, as mR@50 is the mean over all of them. families.csv in the sweep's OUTPUT_DIR also has each predicate.
"""

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence

import numpy as np
from tabulate import tabulate

from egtr.config import import_extensions
from egtr.config.arguments import add_extension_argument
from egtr.data.scenes import SCENES_FAMILIES, SCENES_PREDICATES
from egtr.evaluation.report import write_csv
from egtr.experiments.sweep.definition import Run, Sweep, load_sweep
from egtr.experiments.sweep.evaluations import finished_runs
from egtr.experiments.sweep.report import paired_interval
from egtr.structures import DataError, EGTRError


def read_recalls(run: Run, metric: str) -> dict[str, float]:
    """Read the recall of each predicate of `scenes` that a finished run left: name to percent; NaN without a triplet.

    Raises:
        DataError: the run has no such file, or it lacks the metric or a predicate.
    """
    files = sorted(run.folder.glob("scene_graph_*_predicates.csv"))
    if len(files) != 1:
        raise DataError(
            f"{run.folder}: {len(files)} files scene_graph_*_predicates.csv, expected one. Evaluate the runs on one "
            "dataset with relations (DATASETS.TEST in the sweep file), and remove files of others"
        )
    with files[0].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or metric not in rows[0]:
        names = [name for name in (rows[0] if rows else ()) if "@" in name]
        raise DataError(
            f"{files[0]}: has no column {metric}; there are: {', '.join(names) or 'none'}. Give one as --metric"
        )
    first = rows[0]["protocol"]
    found = {row["predicate"]: float(row[metric] or "nan") for row in rows if row["protocol"] == first}
    if set(found) != set(SCENES_PREDICATES):
        raise DataError(
            f"{files[0]}: its predicates are not those of the dataset `scenes`, whose families this script knows. "
            "Give a sweep on scenes, or replace SCENES_FAMILIES and SCENES_PREDICATES in the script by yours"
        )
    return found


def compare_families(sweep: Sweep, metric: str) -> list[dict[str, str | float]]:
    """Compare all settings with finished runs, family by family and predicate by predicate.

    Returns:
        Rows with "setting", "family", "predicate" ("" for the mean of the family), "seeds", "mean" in percent, and
        "difference" to the baseline of the same seed with its 95% interval "low" and "high"; NaN where unknown.
    """
    found: dict[str, dict[int, dict[tuple[str, str], float]]] = {}
    for run in sweep.runs():
        if run.result() is not None:
            found.setdefault(run.setting, {})[run.seed] = _by_family(read_recalls(run, metric))
    base = found.get(sweep.baseline, {})
    rows = []
    for setting, by_seed in found.items():
        for family, predicate in next(iter(by_seed.values())):
            key = family, predicate
            shared = [seed for seed in by_seed if seed in base and setting != sweep.baseline]
            difference, low, high = paired_interval([by_seed[seed][key] - base[seed][key] for seed in shared])
            mean = float(np.mean([values[key] for values in by_seed.values()]))
            row = {"setting": setting, "family": family, "predicate": predicate, "seeds": len(by_seed), "mean": mean}
            rows.append(row | {"difference": difference, "low": low, "high": high})
    return rows


def _by_family(recalls: Mapping[str, float]) -> dict[tuple[str, str], float]:
    numbers = {}
    for family, names in SCENES_FAMILIES.items():
        known = [recalls[name] for name in names if np.isfinite(recalls[name])]
        numbers[family, ""] = float(np.mean(known)) if known else np.nan
        numbers |= {(family, name): recalls[name] for name in names}
    return numbers


def family_table(sweep: Sweep, rows: Sequence[Mapping]) -> str:
    """Write the means of the families as a Markdown table: a row for each setting."""
    cells = []
    for setting in dict.fromkeys(row["setting"] for row in rows):
        line = [f"{setting} (baseline)" if setting == sweep.baseline else setting]
        for row in rows:
            if row["setting"] == setting and not row["predicate"]:
                interval = f" ({row['low']:+.1f} to {row['high']:+.1f})" if np.isfinite(row["low"]) else ""
                difference = f"{row['difference']:+.1f}{interval}" if np.isfinite(row["difference"]) else ""
                line += [f"{row['mean']:.1f}", difference]
        cells.append(line)
    headers = ["setting", *(name for family in SCENES_FAMILIES for name in (family, f"Δ {family}"))]
    return tabulate(cells, headers=headers, tablefmt="pipe", disable_numparse=True)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", metavar="FILE.yaml", help="a sweep file, some runs of which have finished")
    parser.add_argument("--metric", default="R@50", help="a column of the files of the runs (%(default)s)")
    add_extension_argument(parser)
    args = parser.parse_args(argv)
    try:
        import_extensions(args.extension)
        sweep = load_sweep(args.sweep)
        rows = compare_families(sweep, args.metric)
        if not rows:
            # The record has no recall of single predicates, so runs that stand only there are of no use here.
            kept = f", after {sweep.record} is moved away" if finished_runs(sweep) else ""
            raise DataError(
                f"{args.sweep}: no run has left its folder yet; train them with `egtr sweep {args.sweep}`{kept}"
            )
        path = sweep.output_dir / "families.csv"
        write_csv(path, rows)
    except EGTRError as error:
        sys.exit(f"{parser.prog}: {error}")
    print(f"{family_table(sweep, rows)}\n\nEach predicate is in {path}")


if __name__ == "__main__":
    main()
