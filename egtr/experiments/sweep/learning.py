"""How the runs of a sweep learn: iterations until a metric reaches a value, and the spread of uncertainty."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tabulate import tabulate

from .definition import Sweep
from .evaluations import Evaluation, list_evaluations
from .report import paired_interval


@dataclass(frozen=True)
class Learning:
    """One setting and one entry of REACH.

    Attributes:
        setting, metric: their names.
        target: the value to reach.
        iterations: seed to iterations until the metric was at least ``target``, of finished runs, on the line between
            two evaluations; None: censored, which means that no evaluation gave as much.
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
    """Measure, for each entry of REACH, how soon every setting with a finished run reaches it."""
    runs: dict[str, dict[int, list[Evaluation]]] = {name: {} for name in sweep.settings}
    for evaluation in list_evaluations(sweep):
        runs[evaluation.setting].setdefault(evaluation.seed, []).append(evaluation)
    found = []
    for metric, target in sweep.reach.items():
        reached = {
            name: {
                seed: _first(evaluations, metric, target)
                for seed, evaluations in by_seed.items()
                if any(metric in e.metrics for e in evaluations)
            }
            for name, by_seed in runs.items()
        }
        base = reached[sweep.baseline]
        for name, iterations in reached.items():
            both = [
                count - base[seed]
                for seed, count in iterations.items()
                if name != sweep.baseline and count is not None and base.get(seed) is not None
            ]
            ends = [runs[name][seed][-1] for seed in iterations]
            if ends:
                last = max(end.iteration for end in ends)
                spread = min(end.spread for end in ends)
                interval = paired_interval(both)
                found.append(Learning(name, metric, target, iterations, last, len(both), *interval, spread))
    return found


def _first(evaluations: list[Evaluation], metric: str, target: float) -> int | None:
    """Find after how many iterations a metric is at least ``target``: on the line between two evaluations."""
    known = [(e.iteration, e.metrics[metric]) for e in evaluations if metric in e.metrics]
    above = next((index for index, (_, value) in enumerate(known) if value >= target), None)
    if above is None or above == 0:
        return None if above is None else known[0][0]
    (start, low), (end, high) = known[above - 1 : above + 1]
    return round(start + (end - start) * (target - low) / (high - low))


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
        f"{text}\n\nIterations until the metric reaches the value, interpolated between evaluations; > marks a "
        f"censored run, which ended before. Δ: mean difference to {sweep.baseline!r} of the same seed, only over "
        "seeds with which both reach it, with its 95% interval: it favours settings with censored runs. Spread of u: "
        "the largest difference in training between the 90% and the 10% quantile of uncertainty, in the run where it "
        "is smallest. Where it is small, the runs say nothing about smoothing."
    )
