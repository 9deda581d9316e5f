"""The result of a sweep: means, deviations and paired differences, as Markdown, CSV and a plot."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats
from tabulate import tabulate

from egtr.evaluation.report import write_csv
from egtr.structures import ConfigurationError
from egtr.structures.files import write_text
from egtr.visualization.charts import new_figure, plain, save_figure

from .definition import Sweep
from .evaluations import list_evaluations

LEVEL = 0.95


@dataclass(frozen=True)
class Comparison:
    """One setting and one metric, in percent; NaN if there are too few seeds.

    Attributes:
        setting, metric: their names.
        seeds: number of finished runs.
        mean, std: mean and standard deviation over these runs; the divisor of the deviation is one less than their
            number.
        pairs: number of seeds that the baseline has also finished.
        difference: mean, over the pairs, of setting minus baseline with the same seed.
        low, high: 95% interval of the difference by Student's t distribution with ``pairs`` - 1 degrees of freedom.
    """

    setting: str
    metric: str
    seeds: int
    mean: float
    std: float
    pairs: int
    difference: float
    low: float
    high: float


def compare_settings(sweep: Sweep, iteration: int | None = None) -> list[Comparison]:
    """Compare every setting that has a finished run, in every metric, in the order of the sweep file.

    Args:
        sweep: the sweep.
        iteration: compare the evaluations after this number of iterations; None: those at the end.

    Raises:
        ConfigurationError: a finished run has no such metric, or was not evaluated after this number of iterations.
    """
    finished: dict[str, dict[int, Mapping[str, float]]] = {name: {} for name in sweep.settings}
    known: dict[tuple[str, int], list[int]] = {}
    for evaluation in list_evaluations(sweep):
        known.setdefault((evaluation.setting, evaluation.seed), []).append(evaluation.iteration)
        if iteration in (None, evaluation.iteration):  # the last one of a run stays
            finished[evaluation.setting][evaluation.seed] = evaluation.metrics
    for (setting, seed), iterations in known.items():
        if seed not in finished[setting]:
            there = ", ".join(map(str, iterations))
            raise ConfigurationError(
                f"{setting}, seed {seed}: no evaluation after {iteration} iterations; there are: {there}"
            )
    base = finished[sweep.baseline]
    comparisons = []
    for setting, by_seed in finished.items():
        for metric in sweep.metrics if by_seed else ():
            values = [found[metric] for found in by_seed.values()]
            paired = [found[metric] - base[seed][metric] for seed, found in by_seed.items() if seed in base]
            if setting == sweep.baseline:
                paired = []
            comparisons.append(
                Comparison(
                    setting, metric, len(values), *_mean_and_std(values), len(paired), *paired_interval(paired)
                )
            )
    return comparisons


def _mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def paired_interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """Compute the mean of paired differences, and the ends of its 95% interval; NaN where there are too few."""
    if not differences:
        return math.nan, math.nan, math.nan
    mean, std = _mean_and_std(differences)
    degrees = len(differences) - 1
    half = stats.t.ppf((1 + LEVEL) / 2, degrees) * std / math.sqrt(len(differences)) if degrees else math.nan
    return mean, mean - half, mean + half


def sweep_table(sweep: Sweep, comparisons: Sequence[Comparison]) -> str:
    """Write the comparisons as a Markdown table: a row for each setting."""
    rows = []
    for setting in dict.fromkeys(c.setting for c in comparisons):
        mine = [c for c in comparisons if c.setting == setting]
        row = {"setting": f"{setting} (baseline)" if setting == sweep.baseline else setting, "seeds": mine[0].seeds}
        for c in mine:
            name = c.metric.rpartition("/")[2]
            row[name] = f"{c.mean:.2f}" + (f" ± {c.std:.2f}" if math.isfinite(c.std) else "")
            row[f"Δ {name}"] = _signed(c)
        rows.append(row)
    return tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True)


def _signed(c: Comparison) -> str:
    if not c.pairs:
        return ""
    interval = f" ({c.low:+.2f} to {c.high:+.2f})" if math.isfinite(c.low) else ""
    return f"{c.difference:+.2f}{interval}"


def explain(sweep: Sweep, comparisons: Sequence[Comparison]) -> str:
    """Explain the numbers of the table."""
    settings = len({c.setting for c in comparisons}) - 1
    return (
        f"Percent: mean ± standard deviation over seeds. Δ: mean difference to {sweep.baseline!r} of the same seed, "
        "over the seeds that both have finished, with its 95% interval (Student's t distribution, one degree of "
        "freedom less than there are pairs). Each interval is on its own: where nothing differs, one in twenty "
        f"still misses zero, and this table has up to {max(settings, 0) * len(sweep.metrics)}."
    )


def write_sweep_report(sweep: Sweep, comparisons: Sequence[Comparison], stem: str = "sweep") -> list[Path]:
    """Write ``sweep.md``, ``sweep.csv`` and ``sweep.png`` into the OUTPUT_DIR of the sweep, and print the table.

    Args:
        sweep, comparisons: a sweep and its result.
        stem: name of the files, without suffix.

    Returns:
        The paths of the files.
    """
    text = f"{sweep_table(sweep, comparisons)}\n\n{explain(sweep, comparisons)}\n"
    print(text)
    paths = [sweep.output_dir / f"{stem}.{suffix}" for suffix in ("md", "csv", "png")]
    sweep.output_dir.mkdir(parents=True, exist_ok=True)
    write_text(paths[0], text)
    write_csv(paths[1], [vars(c) for c in comparisons])
    plot_sweep(paths[2], sweep, comparisons)
    return paths


def plot_sweep(path: str | Path, sweep: Sweep, comparisons: Sequence[Comparison]) -> None:
    """Draw differences to the baseline with their intervals, a panel for each metric.

    Args:
        path: a PNG, or another format of matplotlib, by its suffix.
    """
    names = [name for name in dict.fromkeys(c.setting for c in comparisons) if name != sweep.baseline]
    figure = new_figure(2.5 + 3 * len(sweep.metrics), 1.3 + 0.3 * max(len(names), 1))
    panels = figure.subplots(1, len(sweep.metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, sweep.metrics, strict=True):
        baseline = [c for c in comparisons if c.metric == metric and c.setting == sweep.baseline]
        shown = [c for c in comparisons if c.metric == metric and c.pairs]
        for c in shown:
            sure = math.isfinite(c.low)
            color = "#0072B2" if sure and (c.low > 0 or c.high < 0) else "0.45"
            errors = [[c.difference - c.low], [c.high - c.difference]] if sure else None
            # A ring marks a single seed: nothing is known about chance.
            fill = color if sure else "white"
            style = {"fmt": "o", "color": color, "markerfacecolor": fill, "markersize": 5, "capsize": 3}
            axes.errorbar(c.difference, names.index(c.setting), xerr=errors, **style)
        axes.axvline(0, color="0.2", linewidth=1)
        axes.grid(axis="x", color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        title = metric.rpartition("/")[2] + "".join(f" ({sweep.baseline}: {c.mean:.1f})" for c in baseline)
        plain([axes.set_title(title, fontsize=10)])
        axes.set_yticks(range(len(names)), names)
        plain(axes.get_yticklabels())
        axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    plain([figure.supxlabel(f"difference to {sweep.baseline!r}, points, 95% interval over seeds", fontsize=10)])
    save_figure(figure, path)
