"""Curves of a training run, from the ``metrics.json`` that it leaves."""

import json
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egtr.structures import DataError
from egtr.visualization.charts import new_figure, plain
from egtr.visualization.marks import INK
from egtr.visualization.palette import BASE_COLORS

# A curve: iterations, ascending, and values, (P,) each.
Curve = tuple[np.ndarray, np.ndarray]

# Title, metrics, label of the axis, and its scale: a number is the end of a linear one. Missing metrics are left out.
_PANELS = (
    ("losses, weighted", ("total_loss", "loss_*"), "loss", "log"),
    ("validation losses", ("validation/loss*",), "loss", "log"),
    ("mean gate of each relation source", ("rel_gate_*",), "gate", 1.0),
    ("uncertainty of true triplets (adaptive smoothing)", ("uncertainty",), "uncertainty", "log"),
    ("validation recall", ("sgdet/R@*",), "percent", 100.0),
    ("validation mean recall", ("sgdet/mR@*",), "percent", 100.0),
    ("validation detection", ("bbox/AP", "bbox/AP50", "bbox/AP75"), "percent", 100.0),
    ("gradient norm before clipping", ("grad_norm",), "norm", "log"),
    ("learning rate", ("lr",), "rate", "linear"),
)


def read_metrics(path: str | PathLike[str]) -> dict[str, Curve]:
    """Read all curves of a run.

    If a run was resumed, iterations occur twice: the last values of an iteration count, and later iterations of the
    first try are dropped. A last line that was cut off is left out, and so are values that are not numbers. NaN and
    infinity stay, as gaps in a curve.

    Args:
        path: ``metrics.json``, one JSON object a line, or the folder of the run.

    Returns:
        Name of the metric to its iterations (int64) and values (float64).

    Raises:
        DataError: there is no such file, it is empty, or a line before the last one is malformed.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "metrics.json"
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); give the metrics.json of a run, or its OUTPUT_DIR"
        ) from error
    points: dict[str, list[tuple[int, float]]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            iteration = int(record["iteration"])
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise DataError(
                f"{path}: line {number} is no JSON object with an iteration; is it the metrics.json of a run?"
            ) from error
        for name, value in record.items():
            if name == "iteration" or not isinstance(value, int | float):
                continue
            curve = points.setdefault(name, [])
            # Each metric on its own: lines of an evaluation are between lines of later iterations.
            while curve and curve[-1][0] >= iteration:
                curve.pop()
            curve.append((iteration, float(value)))
    if not points:
        raise DataError(f"{path}: holds no metrics; is it the metrics.json of a run?")
    return {
        name: (np.array([i for i, _ in curve], dtype=np.int64), np.array([v for _, v in curve], dtype=np.float64))
        for name, curve in points.items()
    }


def count_iterations(curves: Mapping[str, Curve], iteration: int) -> int:
    """Compute how many iterations a run had done at an entry of its ``metrics.json``, which counts them from 0.

    The evaluation at the end of training is written under the number of iterations, all other ones under one less.
    """
    done = iteration + 1
    return min(done, int(curves["total_loss"][0][-1]) + 1) if "total_loss" in curves else done


def draw_curves(metrics: Mapping[str, Curve], title: str = "") -> Figure:
    """Draw losses, gates, uncertainty, recall, detection, gradient norm and learning rate over the iterations.

    Args:
        metrics: the curves of :func:`read_metrics`.
        title: a title, such as the name of the run.

    Raises:
        DataError: the run has none of these metrics.
    """
    panels = [(panel, names) for panel in _PANELS if (names := _matching(metrics, panel[1]))]
    if not panels:
        raise DataError(f"None of the metrics {', '.join(metrics)} is one that training writes")
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(6.4 * columns, 2.9 * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    last = max(metrics[name][0][-1] for _, names in panels for name in names)
    for axes, ((heading, _, label, scale), names) in zip(grid, panels, strict=False):
        _draw_panel(axes, {name: metrics[name] for name in names}, scale)
        axes.set_title(heading, loc="left", fontsize=10)
        axes.set_ylabel(label, fontsize=9)
        axes.set_xlim(0, last * 1.01 + 1)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes in grid[max(len(panels) - columns, 0) : len(panels)]:
        axes.set_xlabel("iteration", fontsize=9)
    if title:
        plain([figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)])
    return figure


def _matching(metrics: Mapping[str, Curve], patterns: Sequence[str]) -> list[str]:
    """List names in the order of the patterns; "*" stands for numbers and words, sorted by value."""
    found = []
    for pattern in patterns:
        start = pattern.rstrip("*")
        names = [name for name in metrics if name == pattern or (pattern.endswith("*") and name.startswith(start))]
        found += sorted(names, key=lambda name: (len(name) if name[-1].isdigit() else 0, name))
    return found


def _draw_panel(axes: Axes, curves: Mapping[str, Curve], scale: str | float) -> None:
    values = np.concatenate([values for _, values in curves.values()])
    if scale == "log" and (values[np.isfinite(values)] > 0).any():
        axes.set_yscale("log")
    elif not isinstance(scale, str):
        axes.set_ylim(0, 1.03 * scale)
    for number, (name, (iterations, series)) in enumerate(curves.items()):
        # matplotlib leaves a gap where a value is not finite or, on a logarithmic axis, not positive.
        shown = np.where(np.isfinite(series), series, np.nan)
        style = {"color": BASE_COLORS[number % len(BASE_COLORS)], "lw": 1.4}
        if number >= len(BASE_COLORS):
            style["ls"] = "--"
        marker = "o" if len(series) <= 12 else None
        axes.plot(
            iterations,
            shown,
            marker=marker,
            ms=3.5,
            label=name.removeprefix("sgdet/").removeprefix("validation/"),
            **style,
        )
    axes.grid(axis="y", color="0.92", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", labelsize=8)
    if len(curves) > 1:
        legend = axes.legend(fontsize=7.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        plain(legend.get_texts())
