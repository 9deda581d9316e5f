"""Growth of time and memory with queries, predicates and the size of the image."""

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

from .case import Case
from .choices import AXES
from .contestants import build_one_inference, build_one_relation
from .measure import Contestant, measure_memory, measure_time

# Limit for the process with the whole model at 1,000 queries.
MEMORY_GOAL_MB = 4000


def measure_growth(case: Case, axis: str, values: Sequence[int], runs: int) -> dict[str, Any]:
    """Measure time and memory of inference at each value of one quantity.

    With the axis "side" it is inference of the whole model, otherwise of the relation part. With "queries" there is
    also the time of the smallest matrix product over all pairs, which is the last layer of the connectivity head
    ((N * N, d) by (d, 1)), and the memory of the whole model.

    Args:
        case: the model and its images.
        axis: the quantity that grows, one of AXES.
        values: values of this quantity to measure at.
        runs: number of runs after a first one; the median counts.

    Returns:
        "axis" and "values"; "series", name to a list over the values: "seconds", "added_mb" and, with "queries",
        "product_seconds" and "model_total_mb"; "slopes", the exponent of each series but the last (:func:`slope`).
    """
    series: dict[str, list[float]] = {}

    def note(name: str, value: float | None) -> None:
        series.setdefault(name, []).append(float("nan") if value is None else value)

    for value in values:
        here = _at(case, axis, value)
        whole, part = partial(build_one_inference, here, "egtr", 0), partial(build_one_relation, here, "egtr", False)
        build = whole if axis == "side" else part
        contestants = {"egtr": build()}
        if axis == "queries":
            contestants["product"] = _smallest_product(here)
        timings = measure_time(contestants, runs)
        note("seconds", timings["egtr"].seconds)
        if "product" in timings:
            note("product_seconds", timings["product"].seconds)
        # One process each: from value to value memory grows by far more than it varies between processes.
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
    """Judge growth over queries: compare slopes with the product's slope and with 2, and memory with the goal."""
    slopes, series, most = growth["slopes"], growth["series"], growth["values"][-1]
    return (
        f"The relation part's time grows with exponent {slopes['seconds']:.2f}, that of its smallest product with "
        f"{slopes['product_seconds']:.2f}, pairs with 2; with {most} queries the process with the whole model takes "
        f"{series['model_total_mb'][-1]:.0f} MB of the {MEMORY_GOAL_MB} MB that 1000 queries may take."
    )


def slope(values: Sequence[float], series: Sequence[float]) -> float:
    """Fit a power law value^p (least squares of logarithms) and return p; NaN if a value was not measured.

    Only the upper half of the values counts: constant costs matter least there.
    """
    half = len(values) // 2
    x, y = np.log(values[half:]), np.log(np.maximum(series[half:], 1e-12))
    return float(np.polyfit(x, y, 1)[0]) if np.isfinite(y).all() and len(x) > 1 else float("nan")


def plot_growth(path: str | Path, growth: dict[str, Any]) -> None:
    """Draw time and memory side by side on logarithmic axes, with the slopes of their upper halves."""
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
