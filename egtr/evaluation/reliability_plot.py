"""Reliability diagram: the share of right triplets over the stated probability, before and after calibration."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from egtr.structures.files import writing

from .reliability import Agreement

# Okabe and Ito, "Color Universal Design" (2008). The shape of the marker says the same.
_STYLES = (("#D55E00", "s"), ("#0072B2", "o"))


def plot_reliability(path: str | Path, panels: Mapping[str, Mapping[str, Agreement]], note: str = "") -> None:
    """Draw a panel for each kind of thing, with a line for each sort of number that is said of it.

    A point is one of 10 bins of equal mass; its bar is the 95% interval of the share in the bin (normal
    approximation). On the dashed line, stated probabilities are true.

    Args:
        path: a PNG, or another format that matplotlib knows by its suffix.
        panels: title to label to agreement, such as {"Displayed relations": {"score": ..., "probability": ...}}.
        note: shown below, for example a restriction of the annotations.
    """
    figure = Figure(figsize=(5.2 * len(panels), 5.4), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, lines) in zip(np.ravel(figure.subplots(1, len(panels))), panels.items(), strict=True):
        axes.plot([0, 1], [0, 1], color="0.6", ls="--", lw=1, label="stated = observed")
        for (label, agreement), (color, marker) in zip(lines.items(), _STYLES, strict=False):
            stated, observed, sizes = np.array(agreement.bins()).reshape(-1, 3).T
            error = 1.96 * np.sqrt(observed * (1 - observed) / sizes)
            text = f"{label}: ECE {agreement.errors()[0]:.3f}"
            axes.errorbar(
                stated, observed, error, color=color, marker=marker, ms=5, lw=1.4, elinewidth=1, capsize=2, label=text
            )
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="stated", ylabel="share that is annotated")
        axes.set_title(title, loc="left")
        axes.grid(color="0.92")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="upper left", fontsize=8)
    if note:
        figure.supxlabel(note, fontsize=8, color="0.35", wrap=True)
    with writing(path):
        figure.savefig(path)
