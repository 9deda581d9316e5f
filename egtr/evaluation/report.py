"""Reports of results for people: tables, JSON, CSV and a plot.

Their input is the result of :meth:`~egtr.evaluation.Scorer.summarize`, protocol name to metrics as fractions. They
show percent. A metric that is NaN (there was nothing to find) is "-" in a table, an empty cell in CSV, null in JSON.
"""

import csv
import json
import math
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from egtr.structures import TripletCounts
from egtr.structures.files import write_text, writing

from .conventions import Protocol
from .recall import PredicateRecall

# Metrics that share a row of the summary table: several K of one metric, or several APs.
_FAMILIES = (r"(?P<base>(?!oi/).*@)\d+", r"(?P<base>(?:oi/)?AP)(?:50|75)?", r"(?P<base>(?:oi/)?AP)[sml]")
# Metrics that Detectron2's results, which TensorBoard plots after each evaluation, do without.
_ONLY_IN_FILES = re.compile(
    r"(ng-)?(phr-mR|microR|wR|PairR)@\d+|(ng-)?m?R@rel|(ng-)?F1@mean|P@\d+|P\(.*|InstR|PRank|AP[sml]"
)

Results = Mapping[str, Mapping[str, Any]]


def to_percent(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the metrics of one protocol to percent. Counts ("num_images", ...) stay as they are.

    "per_predicate" is left out; see :func:`predicate_rows`.
    """
    return {name: _percent(value) for name, value in metrics.items() if name != "per_predicate"}


def results_by_task(
    results: Results, objects: Mapping[str, float], task: str = "sgdet"
) -> OrderedDict[str, dict[str, float]]:
    """Arrange results as Detectron2 needs them: task to metric to percent.

    Args:
        results: protocol name to metrics, fractions; the first protocol is the headline. May be empty.
        objects: AP of objects, fractions; empty in tasks other than "sgdet".
        task: what the model was given, one of :data:`~egtr.evaluation.conventions.TASKS`.

    Returns:
        The name of the task: the most common metrics of triplets under the first protocol; "<task>_<protocol>": under
        another protocol; "open_images", or "<task>_open_images" of tasks other than "sgdet": the Open Images block
        under the first; "bbox": ``objects``, if there are any.
    """
    tasks: OrderedDict[str, dict[str, float]] = OrderedDict()
    open_images: dict[str, float] = {}
    for name, metrics in results.items():
        percent = {metric: value for metric, value in to_percent(metrics).items() if isinstance(value, float)}
        block = {metric.removeprefix("oi/"): v for metric, v in percent.items() if metric.startswith("oi/")}
        open_images = open_images or block
        tasks[f"{task}_{name}" if tasks else task] = {
            m: v
            for m, v in percent.items()
            if not (m.startswith("oi/") or m in objects or _ONLY_IN_FILES.fullmatch(m))
        }
    if open_images:
        tasks["open_images" if task == "sgdet" else f"{task}_open_images"] = open_images
    if objects:
        tasks["bbox"] = to_percent(objects)
    return tasks


def summary_table(results: Results, tablefmt: str = "pipe") -> str:
    """Show all metrics in a table: one row for all K of a metric, and one column for each protocol.

    Args:
        results: protocol name to metrics, fractions.
        tablefmt: see tabulate; "pipe" is Markdown.
    """
    percent = {name: to_percent(metrics) for name, metrics in results.items()}
    rows = []
    for names in _families(percent):
        rows.append([_label(names), *(" / ".join(_cell(m.get(n)) for n in names) for m in percent.values())])
        for name in names:
            intervals = [m.get("intervals", {}).get(name) for m in percent.values()]
            if any(intervals):
                cells = ("-" if pair is None else " to ".join(map(_cell, pair)) for pair in intervals)
                rows.append([f"{name}, 95% interval", *cells])
    return tabulate(rows, headers=["percent", *percent], tablefmt=tablefmt, disable_numparse=True)


def metric_rows(results: Results) -> list[dict[str, Any]]:
    """Make a row for each metric and a column for each protocol; with intervals also "<protocol> low" and "... high".

    The rows are for CSV: percent, or counts, not rounded.
    """
    percent = {name: to_percent(metrics) for name, metrics in results.items()}
    with_intervals = any(metrics.get("intervals") for metrics in percent.values())
    rows = []
    for metric in _ordered_union(percent.values()):
        row: dict[str, Any] = {"metric": metric}
        for protocol, metrics in percent.items():
            row[protocol] = metrics.get(metric)
            if with_intervals:
                low, high = metrics.get("intervals", {}).get(metric, (None, None))
                row |= {f"{protocol} low": low, f"{protocol} high": high}
        rows.append(row)
    return rows


def predicate_rows(
    per_predicate: PredicateRecall,
    predicate_names: Sequence[str] | None = None,
    training: TripletCounts | None = None,
    given_groups: Mapping[str, Sequence[int]] | None = None,
) -> list[dict[str, Any]]:
    """Make a row for each of R predicates, the most frequent first.

    Args:
        per_predicate: recall under one protocol.
        predicate_names: R names; None: "predicate 3".
        training: annotated triplets of the training set. They add "group" (head, body or tail) and
            "training_triplets", and decide which predicates are frequent; otherwise the scored images do.
        given_groups: "head", "body" and "tail" to predicate ids, in place of thirds by frequency in training. A
            predicate in none of them has "-".

    Returns:
        dicts with "predicate", with ``training`` "group" and "training_triplets", then "triplets" and "images" (of
        the scored dataset) and the recalls ("R@20", "ng-R@20", ...) in percent.
    """
    names = predicate_names or [f"predicate {p}" for p in range(len(per_predicate.num_triplets))]
    frequency = per_predicate.num_triplets
    if training is not None:
        frequency = training.predicate_counts
        given_groups = given_groups or training.predicate_groups()
    groups = {int(p): group for group, ids in (given_groups or {}).items() for p in ids}
    rows = []
    for p in np.argsort(-frequency, kind="stable"):
        known: dict[str, Any] = {"group": groups.get(int(p), "-")} if groups else {}
        if training is not None:
            known["training_triplets"] = int(frequency[p])
        rows.append(
            {
                "predicate": names[p],
                **known,
                "triplets": int(per_predicate.num_triplets[p]),
                "images": int(per_predicate.num_images[p]),
                **{name: _percent(float(values[p])) for name, values in per_predicate.recall.items()},
            }
        )
    return rows


def predicate_table(rows: Sequence[Mapping[str, Any]], tablefmt: str = "pipe") -> str:
    """Show :func:`predicate_rows` as a table that fits a terminal: it has no recall without graph constraint."""
    if not rows:
        return "(no predicates)"
    headers = {key: key.replace("training_triplets", "in training") for key in rows[0] if not key.startswith("ng-")}
    shown = [[_cell(row[key]) if isinstance(row[key], float) else str(row[key]) for key in headers] for row in rows]
    aligned = ["left" if isinstance(rows[0][key], str) else "right" for key in headers]
    return tabulate(shown, headers=list(headers.values()), tablefmt=tablefmt, colalign=aligned, disable_numparse=True)


def write_report(
    folder: str | Path,
    stem: str,
    results: Results,
    protocols: Sequence[Protocol],
    predicate_names: Sequence[str] | None = None,
    training: TripletCounts | None = None,
    given_groups: Mapping[str, Sequence[int]] | None = None,
    **about: Any,
) -> list[Path]:
    """Write everything: ``stem.json``, ``stem.csv``, ``stem_predicates.csv`` and, with training, the plot.

    Args:
        folder: is created if it is missing.
        stem: the beginning of all file names.
        results: protocol name to metrics, fractions; the first protocol is plotted.
        protocols: the protocols of ``results``, whose conventions go into the JSON file.
        predicate_names: R names; None: "predicate 3".
        training, given_groups: see :func:`predicate_rows`; without ``training`` there is no plot.
        about: further contents of the JSON file, such as dataset="vg150_test".

    Returns:
        The files written.
    """
    stem_path = Path(folder) / stem
    rows = {
        name: predicate_rows(metrics["per_predicate"], predicate_names, training, given_groups)
        for name, metrics in results.items()
        if "per_predicate" in metrics
    }
    conventions = {protocol.name: asdict(protocol) for protocol in protocols}
    report = {
        **about,
        "unit": "percent",
        "protocols": {
            name: {
                "conventions": conventions.get(name),
                "metrics": to_percent(metrics),
                "per_predicate": rows.get(name, []),
            }
            for name, metrics in results.items()
        },
    }
    paths = [stem_path.with_name(f"{stem}{suffix}") for suffix in (".json", ".csv")]
    write_json(paths[0], report)
    write_csv(paths[1], metric_rows(results))
    if rows:
        paths.append(stem_path.with_name(f"{stem}_predicates.csv"))
        write_csv(paths[-1], [{"protocol": name} | row for name, found in rows.items() for row in found])
    if training is not None and any(rows.values()):
        # Imported only for a plot, since matplotlib is slow to import.
        from .recall_plot import plot_predicate_recall

        headline, shown = next(iter(rows.items()))
        recalls = [name for name in shown[0] if name.startswith("R@")]
        title = f"{about.get('dataset') or 'Recall of each predicate'}, protocol {headline}"
        paths.append(stem_path.with_name(f"{stem}_predicates.png"))
        plot_predicate_recall(paths[-1], shown, metric=recalls[len(recalls) // 2], title=title)
    return paths


def to_json(report: Any) -> str:
    """Convert nested dicts, sequences, dataclasses and numpy values to JSON. NaN, which JSON lacks, becomes null."""
    return json.dumps(plain(report), indent=2, allow_nan=False) + "\n"


def write_json(path: str | Path, report: Any) -> None:
    """Write :func:`to_json` to a file; its folder is created."""
    write_text(_make_folder(path), to_json(report))


def write_csv(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the same keys as CSV with a header; the folder is created. NaN and None: an empty cell."""
    with writing(path), _make_folder(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows({key: "" if _is_nan(value) else value for key, value in row.items()} for row in rows)


def _make_folder(path: str | Path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _percent(value: Any) -> Any:
    """Multiply fractions (floats, also inside of dicts and pairs) by 100; integers are counts and stay."""
    if isinstance(value, Mapping):
        return {key: _percent(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_percent(item) for item in value)
    return 100.0 * float(value) if isinstance(value, float | np.floating) else value


def _families(percent: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Group metric names into the rows of the summary table."""
    families: dict[str, list[str]] = {}
    for name in _ordered_union(percent.values()):
        if name.startswith("num_"):
            continue
        matches = (re.fullmatch(pattern, name) for pattern in _FAMILIES)
        key = next((f"{i} {match['base']}" for i, match in enumerate(matches) if match), name)
        families.setdefault(key, []).append(name)
    return list(families.values())


def _ordered_union(dicts: Any) -> list[str]:
    """List the names of all single metrics, in their order."""
    return list(dict.fromkeys(name for metrics in dicts for name in metrics if name != "intervals"))


def _label(names: Sequence[str]) -> str:
    """Join R@20, R@50 and R@100 to "R@20 / 50 / 100"."""
    first, *others = names
    return " / ".join([first, *(name.rpartition("@" if "@" in name else "/")[2] for name in others)])


def _cell(value: Any) -> str:
    return "-" if value is None or _is_nan(value) else f"{value:.2f}"


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def plain(value: Any) -> Any:
    """Turn records, arrays and NaN into what JSON has: dicts, lists, numbers and None."""
    if is_dataclass(value):
        value = asdict(value)
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if _is_nan(value) else value
