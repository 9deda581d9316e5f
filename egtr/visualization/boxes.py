"""The half of a sheet with the image: objects boxed, with labels that do not overlap."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image

from egtr.structures import SceneGraph

from .marks import SMALLEST_FONT, label_size, pill, write
from .palette import text_color
from .placement import place_labels
from .sheet import Sheet

LABEL_SIZE = 12.0


def draw_image(axes: Axes, sheet: Sheet, image: np.ndarray) -> None:
    """Draw the image, (H, W, 3) uint8, RGB, into ``sheet.image``."""
    x1, y1, x2, y2 = sheet.image
    # More pixels than a print of the sheet has (300 dpi) only cost time and memory.
    width, height = (max(1, round(side * 300 / 72)) for side in (x2 - x1, y2 - y1))
    if image.shape[0] > height or image.shape[1] > width:
        size = (min(width, image.shape[1]), min(height, image.shape[0]))
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
    axes.imshow(image, extent=(x1, x2, y2, y1), aspect="auto", interpolation="bicubic")


def draw_boxes(
    axes: Axes, sheet: Sheet, graph: SceneGraph, names: list[str], colors: np.ndarray, show_scores: bool
) -> None:
    """Draw frames and labels of all objects over the image."""
    height, width = graph.image_size
    origin, extent = sheet.image[:2], sheet.image[2:] - sheet.image[:2]
    per_pixel = extent / np.array([width, height], dtype=np.float64)
    boxes = np.clip(graph.boxes.astype(np.float64), 0, (width, height, width, height))
    boxes = (boxes.reshape(-1, 2, 2) * per_pixel + origin).reshape(-1, 4)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    # The largest first, so that smaller boxes are drawn over it.
    for i in np.argsort(-areas, kind="stable"):
        x1, y1, x2, y2 = boxes[i]
        for color, line_width in (("white", 4.0), (colors[i], 2.4)):
            style = {"fill": False, "ec": color, "lw": line_width, "joinstyle": "round"}
            axes.add_artist(Rectangle((x1, y1), x2 - x1, y2 - y1, **style))

    numbers = graph.scores if graph.object_probabilities is None else graph.object_probabilities
    texts = [f"{name} {number:.2f}" if show_scores else name for name, number in zip(names, numbers, strict=True)]
    placed = _place_box_labels(sheet, boxes, areas, texts)
    if placed is None:
        return
    corners, sizes, font_size = placed
    for i, text in enumerate(texts):
        (x, y), (w, h) = corners[i], sizes[i]
        nearest_label = np.clip(boxes[i, :2], (x, y), (x + w, y + h))
        nearest_box = np.clip(nearest_label, boxes[i, :2], boxes[i, 2:])
        if np.abs(nearest_label - nearest_box).max() > 1.5:
            ends = np.stack([np.clip(nearest_box, (x, y), (x + w, y + h)), nearest_box], axis=1)
            axes.plot(*ends, color="white", lw=2.6, zorder=4)
            axes.plot(*ends, color=colors[i], lw=1.4, zorder=4)
        axes.add_artist(pill(x, y, w, h, colors[i], rounding=2.0, zorder=5))
        write(axes, x + w / 2, y + h / 2, text, font_size, text_color(colors[i]), zorder=6)


def _place_box_labels(
    sheet: Sheet, boxes: np.ndarray, areas: np.ndarray, texts: list[str]
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Find corners (N, 2), sizes (N, 2) and font size of the labels; None where they do not fit."""
    # Labels of small boxes first: they are the easiest to mistake.
    order = np.argsort(areas, kind="stable")
    narrow = (sheet.image[2:] - sheet.image[:2]).min() < 120
    font_size = LABEL_SIZE
    while font_size >= SMALLEST_FONT:
        sizes = np.array([label_size(text, font_size) for text in texts]).reshape(-1, 2)
        # A label hides little of a large object, but may hide a small one entirely.
        small = areas < 8 * (sizes.prod(axis=1).mean() if len(sizes) else 0)
        avoid = np.where(small[:, None], boxes, 0.0)
        candidates = [_box_label_candidates(boxes[i], sizes[i]) for i in order]
        for bounds in (sheet.cell,) if narrow else (sheet.image, sheet.cell):
            placed = place_labels(sizes[order], candidates, bounds, avoid=avoid[order])
            if placed is not None:
                corners = np.zeros_like(sizes)
                corners[order] = placed
                return corners, sizes, font_size
        font_size *= 0.85
    return None


def _box_label_candidates(box: np.ndarray, size: np.ndarray) -> np.ndarray:
    (x1, y1, x2, y2), (w, h) = box, size
    # Flush with the outer side of the frame.
    x1, x2 = x1 - 1.2, x2 + 1.2
    outside = [(x1, y1 - h), (x1, y2), (x2 - w, y1 - h), (x2 - w, y2), (x2, y1), (x1 - w, y1)]
    inside = [(x1, y1), (x1, y2 - h), (x2 - w, y1), (x2 - w, y2 - h), ((x1 + x2 - w) / 2, y1)]
    roomy = x2 - x1 > 1.2 * w and y2 - y1 > 3 * h
    # On the corner of the box where the box is large enough, else outside.
    return np.array([outside[0], *inside, *outside[1:]] if roomy else [*outside, *inside])
