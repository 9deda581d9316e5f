"""Plot of predicate recall against training frequency: the long tail at a glance."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from matplotlib.transforms import Bbox

from egtr.structures import PredictionError
from egtr.structures.files import writing
from egtr.structures.triplet_counts import GROUPS

# Okabe and Ito, "Color Universal Design" (2008). The shape of the marker says the same.
_STYLES = {"head": ("#0072B2", "o"), "body": ("#E69F00", "s"), "tail": ("#CC79A7", "^")}
_HALO = [withStroke(linewidth=2, foreground="white", alpha=0.8)]
# Half the width of a marker, and the distances at which its label is tried, the nearest first; in points.
_MARKER = 4
_DISTANCES = (7, 13, 21, 31, 43, 57, 73, 91, 111, 133)
# Side by side reads best, then above and below, then slanted.
_DIRECTIONS = np.array([(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)])

Rows = Sequence[Mapping[str, Any]]


def plot_predicate_recall(path: str | Path, rows: Rows, metric: str = "R@50", title: str = "") -> None:
    """Draw each predicate's recall over its number of training triplets, on a logarithmic axis.

    The frequent, middle and rare third have a band each, with the mean of the predicates drawn in it. Predicates
    whose recall is NaN (no scored image has them) are left out and named below the plot.

    Args:
        path: a PNG, or another format that matplotlib knows by its suffix.
        rows: of :func:`~egtr.evaluation.report.predicate_rows`, made with ``training``.
        metric: the recall to draw, in percent.
        title: for example the name of the dataset.

    Raises:
        PredictionError: the rows have no training counts, or no such metric.
    """
    for key in ("training_triplets", metric):
        if not rows or key not in rows[0]:
            raise PredictionError(
                f"plot of predicate recall: rows have no {key!r}, only {list(rows[0] if rows else ())}"
            )
    figure = Figure(figsize=(10, 6), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _set_up_axes(axes, rows, metric)
    axes.set_title(title or "Recall of each predicate", loc="left")
    shown = [row for row in rows if np.isfinite(row[metric])]
    if len(shown) < len(rows):
        absent = ", ".join(row["predicate"] for row in rows if not np.isfinite(row[metric]))
        note = f"not in the scored images: {absent}"
        figure.supxlabel(_literal(note), x=0.99, ha="right", fontsize=8, color="0.35", wrap=True)
    _draw_groups(axes, rows, metric)
    _draw_labels(figure, axes, shown, metric)
    with writing(path):
        figure.savefig(path)


def _set_up_axes(axes: Axes, rows: Rows, metric: str) -> None:
    counts = [row["training_triplets"] for row in rows]
    if min(counts) > 0:
        axes.set_xscale("log")
        axes.set_xlim(min(counts) / 1.5, max(counts) * 1.5)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(counts) < 1000 * min(counts) else (1,)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        # Linear below 1, since 0 has no logarithm.
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(-0.5, max(*counts, 1) * 1.5)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    highest = np.nanmax([1.0, *(row[metric] for row in rows)])
    axes.set_ylim(-0.09 * highest, 1.12 * highest)
    axes.set_xlabel("triplets in training, logarithmic")
    axes.set_ylabel(f"{metric} of the predicate, percent")
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_groups(axes: Axes, rows: Rows, metric: str) -> None:
    """Draw a band for each group, with its markers and its mean, from right to left."""
    members = [(group, [row for row in rows if row["group"] == group]) for group in GROUPS]
    members = [(group, found) for group, found in members if found]
    left_end, right = axes.get_xlim()
    for (group, found), (_, rarer) in zip(members, [*members[1:], ("", [])], strict=True):
        color, marker = _STYLES[group]
        left = left_end
        if rarer:
            # Halfway on the axis between the rarest of the group and the most frequent of the next.
            ends = [min(r["training_triplets"] for r in found), max(r["training_triplets"] for r in rarer)]
            left = float(np.sqrt(np.prod(np.maximum(ends, 0.5))))
        axes.axvspan(left, right, color=color, alpha=0.10, linewidth=0)
        points = np.array([(row["training_triplets"], row[metric]) for row in found if np.isfinite(row[metric])])
        note = group
        if len(points):
            mean = points[:, 1].mean()
            note = f"{group}, mean {mean:.1f}"
            axes.hlines(mean, left, right, colors=color, linestyles="dashed", linewidth=1.2)
            axes.scatter(*points.T, s=36, color=color, marker=marker, edgecolors="0.25", linewidths=0.6, zorder=3)
        middle = axes.transAxes.inverted().transform(axes.transData.transform([(left, 0), (right, 0)]))[:, 0].mean()
        axes.text(middle, 0.98, note, transform=axes.transAxes, ha="center", va="top", color="0.25")
        right = left


def _draw_labels(figure: Figure, axes: Axes, rows: Rows, metric: str) -> None:
    """Write the names beside the markers, each at the first free place; a name without one is left out."""
    # Labels are measured in pixels, so that nothing may move from here on.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    scale = figure.dpi / 72
    anchors = [(row["training_triplets"], row[metric]) for row in rows]
    points = axes.transData.transform(anchors) / scale if rows else []
    taken = [Bbox.from_extents(*(point - _MARKER), *(point + _MARKER)) for point in points]
    taken += [Bbox(text.get_window_extent().get_points() / scale) for text in axes.texts]
    inside = Bbox(axes.get_window_extent().get_points() / scale)
    for row, anchor, point in zip(rows, anchors, points, strict=True):
        style = {"xytext": (0, 0), "textcoords": "offset points", "fontsize": 8, "color": "0.15", "zorder": 4}
        text = axes.annotate(_literal(row["predicate"]), anchor, path_effects=_HALO, **style)
        size = np.array(text.get_window_extent().size) / scale
        free = (place for place in _places(size) if _is_free(_box(point + place[0], size), inside, taken))
        offset, beside = next(free, (None, False))
        if offset is None:
            text.remove()
            continue
        text.set_position(tuple(offset))
        taken.append(_box(point + offset, size))
        if not beside:
            nearest = np.clip(0, offset, offset + size)
            line = {"arrowstyle": "-", "color": "0.5", "linewidth": 0.6, "shrinkA": 0, "shrinkB": _MARKER}
            axes.annotate("", anchor, xytext=nearest, textcoords="offset points", arrowprops=line)


def _places(size: np.ndarray) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield lower left corners of a label of ``size`` around (0, 0), best first, and whether they are next to it."""
    for distance in _DISTANCES:
        for direction in _DIRECTIONS:
            yield direction * distance + (direction - 1) / 2 * size, distance == _DISTANCES[0]


def _box(corner: np.ndarray, size: np.ndarray) -> Bbox:
    # Without a gap two names side by side would read as one.
    return Bbox.from_extents(*(corner - (2, 0)), *(corner + size + (2, 0)))


def _is_free(box: Bbox, bounds: Bbox, taken: Sequence[Bbox]) -> bool:
    inside = (box.min >= bounds.min).all() and (box.max <= bounds.max).all()
    return bool(inside) and not any(box.overlaps(other) for other in taken)


def _literal(text: str) -> str:
    """Escape dollars, between which matplotlib reads formulas."""
    return text.replace("$", r"\$")
