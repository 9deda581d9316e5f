"""Images of a dataset: random annotated samples on one sheet, and how often each name occurs."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from PIL import Image
from tqdm.auto import tqdm

from .draw import draw_scene_graph, figure_to_array
from .ground_truth import graph_from_annotations
from .palette import BASE_COLORS

if TYPE_CHECKING:
    from egtr.data.check import Histogram
    from egtr.data.datasets.annotations import SceneGraphAnnotations

# Pixels between the samples.
_GAP = 12
# Bars in one column before the next column begins, so that a figure of 600 classes is not a tower.
_BARS_PER_COLUMN = 75
_FEWEST_ROWS = 8
# Inches.
_BAR_HEIGHT, _COLUMN_WIDTH = 0.17, 4.2


def draw_samples(
    annotations: "SceneGraphAnnotations", number: int = 16, *, seed: int = 0, columns: int = 4, tile_width: int = 900
) -> Image.Image | None:
    """Draw random images with their boxes and graphs, each as :func:`draw_scene_graph` draws it.

    Images that training could not use (unsound annotations, no object, unreadable) are skipped.

    Args:
        annotations: the annotations of one split.
        number: number of samples; fewer if the split has fewer.
        seed: seed of the choice of images.
        columns: number of samples side by side.
        tile_width: width of one sample in pixels.

    Returns:
        The sheet, or None if no image can be drawn.
    """
    tiles = []
    order = np.random.default_rng(seed).permutation(len(annotations.images))
    with tqdm(total=min(max(number, 0), len(order)), desc="drawing samples", unit="image") as progress:
        for k in order:
            if len(tiles) >= number:
                break
            tile = _draw_sample(annotations, int(k), tile_width)
            if tile is not None:
                tiles.append(tile)
                progress.update()
    return _grid(tiles, columns) if tiles else None


def draw_histograms(histograms: Mapping[str, "Histogram"]) -> Figure:
    """Draw bars of how often each name occurs, the most frequent first, on a logarithmic axis.

    Args:
        histograms: title to histogram, drawn side by side; at least one.

    Returns:
        A matplotlib figure that is unknown to pyplot: there is nothing to close.
    """
    columns = [
        (title if part == 0 else f"{title}, continued", histogram, order)
        for title, histogram in histograms.items()
        for part, order in enumerate(_columns(histogram))
    ]
    # The same number of rows in all columns, so that all bars have the same thickness.
    rows = max(_FEWEST_ROWS, *(len(order) for _, _, order in columns))
    size = (_COLUMN_WIDTH * len(columns), _BAR_HEIGHT * rows + 1.0)
    figure = Figure(figsize=size, facecolor="white", layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1)
    FigureCanvasAgg(figure)
    colors = dict(zip(histograms, cycle(BASE_COLORS), strict=False))
    for k, (title, histogram, order) in enumerate(columns):
        axes = figure.add_subplot(1, len(columns), k + 1)
        _draw_bars(axes, histogram, order, rows, colors[title.removesuffix(", continued")])
        axes.set_title(title, loc="left", fontsize=11)
    return figure


def _draw_sample(annotations: "SceneGraphAnnotations", k: int, tile_width: int) -> Image.Image | None:
    # Here, because they import torch.
    from egtr.data.annotated_image import BrokenImageError, read_annotated_image
    from egtr.data.datasets.annotations import to_dataset_dicts

    image = annotations.images[k]
    if not annotations.is_sound(image) or not image.usable().any():
        return None
    (record,) = to_dataset_dicts(replace(annotations, images=[image], problems=[]))
    try:
        pixels = read_annotated_image(record)
    except BrokenImageError:
        return None
    figure = draw_scene_graph(
        pixels, graph_from_annotations(record, annotations), title=f"{image.file_name}  (image id {image.image_id})"
    )
    return Image.fromarray(figure_to_array(figure, dpi=tile_width / figure.get_figwidth()))


def _grid(tiles: list[Image.Image], columns: int) -> Image.Image:
    """Lay out tiles row by row, each row as high as its highest tile."""
    rows = [tiles[k : k + columns] for k in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) for row in rows]
    width = max(sum(tile.width + _GAP for tile in row) for row in rows) + _GAP
    sheet = Image.new("RGB", (width, sum(heights) + _GAP * (len(rows) + 1)), "#D8D8D8")
    y = _GAP
    for row, height in zip(rows, heights, strict=True):
        x = _GAP
        for tile in row:
            # White down to the end of the row, so that its tiles look alike.
            sheet.paste("white", (x, y, x + tile.width, y + height))
            sheet.paste(tile, (x, y))
            x += tile.width + _GAP
        y += height + _GAP
    return sheet


def _columns(histogram: "Histogram") -> list[np.ndarray]:
    order = np.argsort(-histogram.counts, kind="stable")
    return np.array_split(order, max(1, -(-len(order) // _BARS_PER_COLUMN)))


def _draw_bars(axes: Axes, histogram: "Histogram", order: np.ndarray, rows: int, color: str) -> None:
    counts = histogram.counts[order]
    # The axis begins below 1, so that the bar of a single annotation is visible.
    left = 0.5
    axes.barh(range(len(order)), np.maximum(counts, left) - left, left=left, color=color, height=0.75)
    axes.set_xscale("log")
    axes.set_xlim(left, max(10.0, histogram.counts.max(initial=1) * 6.0))
    for y, count in enumerate(counts):
        axes.text(max(count, left) * 1.12, y, f"{count:,}", va="center", fontsize=7, color="#333333")
    axes.set_yticks(range(len(order)), [_literal(histogram.names[k]) for k in order], fontsize=8)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("annotations, logarithmic", fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _literal(text: str) -> str:
    # matplotlib takes text between two $ for a formula.
    text = text.replace("$", r"\$")
    return text if len(text) <= 28 else text[:27] + "…"
