"""Parts that charts have in common. Figures are unknown to pyplot, so there is nothing to close."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text

from egtr.structures import ConfigurationError
from egtr.structures.files import replacing, writing

from .palette import text_color


def new_figure(width: float, height: float) -> Figure:
    """Make an empty white figure; sides in inches, of 150 pixels each."""
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | PathLike[str]) -> None:
    """Write a figure in the format of the suffix of ``path``, whole or not at all; the folder must exist.

    Raises:
        ConfigurationError: matplotlib does not write files of this suffix.
        WriteError: the file cannot be written.
    """
    suffix = Path(path).suffix
    known = sorted(figure.canvas.get_supported_filetypes())
    if suffix[1:].lower() not in known:
        raise ConfigurationError(f"{path}: suffix {suffix!r} is no format of images; take {', '.join(known)}")
    with writing(path), replacing(path) as file:
        figure.savefig(file, format=suffix[1:].lower())


def heat_map(axes: Axes, values: np.ndarray, cmap: str, low: float, high: float) -> AxesImage:
    """Draw a heat map with its numbers; gray where they are NaN."""
    image = axes.imshow(np.ma.masked_invalid(values), cmap=with_gray(cmap), vmin=low, vmax=high, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            color = text_color(np.array(image.cmap(image.norm(value))[:3]))
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=color)
    axes.tick_params(length=0, labelsize=8)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image


def with_gray(name: str):
    """Get a colour map that shows masked values in gray."""
    return colormaps[name].with_extremes(bad="0.85")


def plain(texts: Sequence[Text]) -> None:
    """Show texts as they are: matplotlib takes text between two $ for a formula."""
    for text in texts:
        text.set_parse_math(False)
