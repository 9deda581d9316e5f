"""How the runs of a sweep learn: iterations until a metric reaches a value, and the spread of uncertainty."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from ..training_curves import Curve, count_iterations, read_metrics
from .definition import Run, Sweep
from .report import paired_interval

_QUANTILES = ("uncertainty_q10", "uncertainty_q50", "uncertainty_q90")


@dataclass(frozen=True)
class Learning:
    """One setting and one entry of REACH.

    Attributes:
        setting, metric: their names.
        target: the value to reach.
        iterations: seed to iterations until an evaluation gave at least ``target``, of finished runs; None: censored,
            which means that no evaluation did.
        last: iterations of the longest run.
        pairs: number of seeds with which both this setting and the baseline reached the target.
        difference, low, high: mean difference of iterations over these pairs, with its 95% interval.
        spread: largest difference, during training, between the 90% and the 10% quantile of uncertainty; that of the
            run where it is smallest. NaN if runs did not log it.
    """

    setting: str
    metric: str
    target: float
    iterations: Mapping[int, int | None]
    last: int
    pairs: int
    difference: float
    low: float
    high: float
    spread: float


def measure_learning(sweep: Sweep) -> list[Learning]:
    """Read the metrics files of all finished runs, for each entry of REACH."""
    curves: dict[str, dict[int, Mapping[str, Curve]]] = {name: {} for name in sweep.settings}
    for run in sweep.runs():
        if run.result() is not None:
            curves[run.setting][run.seed] = _read(run)
    found = []
    for metric, target in sweep.reach.items():
        reached = {
            name: {seed: _first(by_name, metric, target) for seed, by_name in runs.items()}
            for name, runs in curves.items()
        }
        base = reached[sweep.baseline]
        for name, iterations in reached.items():
            both = [
                count - base[seed]
                for seed, count in iterations.items()
                if name != sweep.baseline and count is not None and base.get(seed) is not None
            ]
            runs = curves[name].values()
            if iterations:
                last = max(
                    count_iterations(by_name, int(curve[0][-1])) for by_name in runs for curve in by_name.values()
                )
                spread = min(_spread(by_name) for by_name in runs)
                interval = paired_interval(both)
                found.append(Learning(name, metric, target, iterations, last, len(both), *interval, spread))
    return found


def _read(run: Run) -> Mapping[str, Curve]:
    return read_metrics(run.folder / "metrics.json")


def _first(by_name: Mapping[str, Curve], metric: str, target: float) -> int | None:
    """Find after how many iterations a metric is at least ``target``."""
    reached = np.flatnonzero(by_name[metric][1] >= target) if metric in by_name else ()
    return count_iterations(by_name, int(by_name[metric][0][reached[0]])) if len(reached) else None


def _spread(by_name: Mapping[str, Curve]) -> float:
    ends = [dict(zip(*by_name[name], strict=True)) for name in (_QUANTILES[2], _QUANTILES[0]) if name in by_name]
    if len(ends) < 2:
        return math.nan
    return float(max(high - ends[1][iteration] for iteration, high in ends[0].items() if iteration in ends[1]))


def list_evaluations(sweep: Sweep) -> list[dict[str, str | float]]:
    """List the evaluations of all finished runs, for a file that is small enough to keep with the results.

    Returns:
        Rows with "setting", "seed", "iteration" (number of iterations so far), the metrics of the sweep, and the
        quantiles of uncertainty that were logged last before; NaN where a run has no such number.
    """
    rows: list[dict[str, str | float]] = []
    for run in sweep.runs():
        if run.result() is None:
            continue
        curves = _read(run)
        evaluated = {int(iteration) for name in sweep.metrics if name in curves for iteration in curves[name][0]}
        for iteration in sorted(evaluated):
            row: dict[str, str | float] = {
                "setting": run.setting,
                "seed": run.seed,
                "iteration": count_iterations(curves, iteration),
            }
            row |= {name: _value(curves.get(name), iteration, exact=True) for name in sweep.metrics}
            rows.append(row | {name: _value(curves.get(name), iteration, exact=False) for name in _QUANTILES})
    return rows


def _value(curve: Curve | None, iteration: int, exact: bool) -> float:
    """Read a curve at an iteration, or else at the last one before."""
    known = [] if curve is None else [(at, value) for at, value in zip(*curve, strict=True) if at <= iteration]
    return float(known[-1][1]) if known and (known[-1][0] == iteration or not exact) else math.nan


def learning_table(sweep: Sweep, learning: list[Learning]) -> str:
    """Write the result as Markdown: a row for each setting and entry of REACH, and what the columns mean."""
    rows = []
    for entry in learning:
        counts = [f">{entry.last}" if count is None else str(count) for count in entry.iterations.values()]
        interval = f" ({entry.low:+.0f} to {entry.high:+.0f})" if math.isfinite(entry.low) else ""
        rows.append(
            {
                "setting": entry.setting + " (baseline)" * (entry.setting == sweep.baseline),
                "reaches": f"{entry.metric.rpartition('/')[2]} {entry.target:g}",
                "iterations by seed": ", ".join(counts),
                "censored": sum(count is None for count in entry.iterations.values()),
                "Δ iterations": f"{entry.difference:+.0f}{interval}, {entry.pairs} pairs" if entry.pairs else "",
                "spread of u": f"{entry.spread:.2f}" if math.isfinite(entry.spread) else "",
            }
        )
    text = tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True)
    return (
        f"{text}\n\nIterations until an evaluation reaches the value; > marks a censored run, which ended before. "
        f"Δ: mean difference to {sweep.baseline!r} of the same seed, only over seeds with which both reach it, with "
        "its 95% interval: it favours settings with censored runs. Spread of u: the largest difference in training "
        "between the 90% and the 10% quantile of uncertainty, in the run where it is smallest. Where it is small, "
        "the runs say nothing about smoothing."
    )
