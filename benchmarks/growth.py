"""How time and memory grow with queries, predicates and the size of the image."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from egtr.modeling.relation.heads import hidden_dim

from .contestants import Case, build_one_inference, build_one_relation
from .measure import Contestant, measure_memory, measure_time

# Of the process with the whole model at 1,000 queries.
MEMORY_GOAL_MB = 4000
# What grows, to its default values and its label.
AXES = {
    "queries": ((100, 200, 300, 500, 700, 1000), "object queries N"),
    "predicates": ((50, 100, 200, 500, 1000), "predicates R"),
    "side": ((400, 600, 800, 1200, 1600), "side of the (square) image, pixels"),
}


def measure_growth(case: Case, axis: str, values: Sequence[int], runs: int) -> dict[str, Any]:
    """Time and memory of inference at each value of one quantity.

    For "queries" and "predicates" it is the relation part, for "queries" next to its smallest product of matrices for
    all pairs, which is the last layer of the connectivity head ((N * N, d) by (d, 1)), and to the memory of the whole
    model; for "side" the whole model.

    Returns:
        "values"; "series", a dict of lists over the values: "seconds", "added_mb" and, as it applies,
        "product_seconds", "model_total_mb"; "slopes" of "seconds" and "product_seconds" over the values in double
        logarithmic measure, and the same of "added_mb".
    """
    series: dict[str, list[float]] = {}

    def note(name: str, value: float | None) -> None:
        series.setdefault(name, []).append(float("nan") if value is None else value)

    for value in values:
        here = _at(case, axis, value)
        whole, part = partial(build_one_inference, here, "egtr"), partial(build_one_relation, here, "egtr", False)
        build = whole if axis == "side" else part
        contestants = {"egtr": build()}
        if axis == "queries":
            contestants["product"] = _smallest_product(here)
        timings = measure_time(contestants, runs)
        note("seconds", timings["egtr"].seconds)
        if "product" in timings:
            note("product_seconds", timings["product"].seconds)
        # One process each: over the range of a sweep, memory grows by far more than it varies.
        memory = measure_memory(build, processes=1)
        note("added_mb", memory and memory.added)
        if axis == "queries":
            memory = measure_memory(whole, processes=1)
            note("model_total_mb", memory and memory.total)
    slopes = {name: slope(values, series[name]) for name in series if name != "model_total_mb"}
    return {"axis": axis, "values": list(values), "series": series, "slopes": slopes}


def _at(case: Case, axis: str, value: int) -> Case:
    if axis == "side":
        return replace(case, height=value, width=value)
    return case.with_opts(f"MODEL.EGTR.NUM_{axis.upper()}", value)


def _smallest_product(case: Case) -> Contestant:
    cfg = case.cfg()
    pairs, width, device = cfg.MODEL.EGTR.NUM_QUERIES**2, hidden_dim(cfg), cfg.MODEL.DEVICE
    left, right = torch.randn(pairs, width, device=device), torch.randn(width, 1, device=device)
    return Contestant(lambda _: left @ right, None, None)


def judge_growth(growth: dict[str, Any]) -> str:
    """One sentence on growth over queries: slopes beside the product's and 2, memory beside the goal."""
    slopes, series, most = growth["slopes"], growth["series"], growth["values"][-1]
    return (
        f"The relation part's time grows with exponent {slopes['seconds']:.2f}, that of its smallest product with "
        f"{slopes['product_seconds']:.2f}, pairs with 2; with {most} queries the process with the whole model takes "
        f"{series['model_total_mb'][-1]:.0f} MB of the {MEMORY_GOAL_MB} MB that 1000 queries may take."
    )


def slope(values: Sequence[float], series: Sequence[float]) -> float:
    """Exponent p of the power law value^p that fits best (least squares of logarithms); NaN if not measured.

    Only the upper half of the values counts, where what does not grow matters least.
    """
    half = len(values) // 2
    x, y = np.log(values[half:]), np.log(np.maximum(series[half:], 1e-12))
    return float(np.polyfit(x, y, 1)[0]) if np.isfinite(y).all() and len(x) > 1 else float("nan")


def plot_growth(path: str | Path, growth: dict[str, Any]) -> None:
    """Time and memory side by side, on logarithmic axes, with the slopes of their upper halves."""
    figure = Figure(figsize=(10, 4.6), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    time, memory = figure.subplots(1, 2)
    series, slopes, values = growth["series"], growth["slopes"], growth["values"]
    what = "whole model" if growth["axis"] == "side" else "relation part"
    lines = [
        (time, "seconds", what, "#0072B2", "o"),
        (time, "product_seconds", "its smallest product, (N², d) by (d, 1)", "#E69F00", "s"),
        (memory, "added_mb", f"{what}, added", "#0072B2", "o"),
        (memory, "model_total_mb", "process with the whole model", "#CC79A7", "^"),
    ]
    for axes, name, label, colour, marker in lines:
        if name not in series:
            continue
        if name in slopes:
            label = f"{label}: slope {slopes[name]:.2f}"
        axes.plot(values, series[name], marker=marker, color=colour, label=label)
    for axes, label in ((time, "seconds"), (memory, "peak memory, MB")):
        axes.set(xscale="log", yscale="log", xlabel=AXES[growth["axis"]][1], ylabel=label)
        axes.set_xticks(values)
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3, which="both")
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
