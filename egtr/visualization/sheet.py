"""The layout of a sheet: one half for the image, one for the graph."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from egtr.structures import DataError

# The width of a 16:9 slide, points (1/72 inch), which are the unit of everything below.
SHEET_WIDTH = 960.0
MARGIN = 18.0
# Number of letters in node names for which a sheet of this width has room, with four more as padding of each name.
ROOMY = 90


@dataclass(frozen=True)
class Sheet:
    """The places of a sheet, (x1, y1, x2, y2) in points, y downwards.

    ``image`` is the place of the image itself, ``cell`` the place of the image with its labels.
    """

    width: float
    height: float
    image: np.ndarray
    cell: np.ndarray
    graph: np.ndarray


def check_image(image: np.ndarray, caller: str) -> np.ndarray:
    """Check that an image is (H, W, 3) uint8, and return it as an array.

    Args:
        image: the image, RGB.
        caller: name of the function that got the image, for the message.

    Raises:
        DataError: it is something else.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise DataError(f"{caller}: image is {image.dtype} of shape {image.shape}; give uint8 (H, W, 3), RGB")
    return image


def plan_sheet(height: int, width: int, names: Sequence[str], titled: bool = False) -> Sheet:
    """Place image and graph side by side, or one above the other if the image is wide.

    Args:
        height, width: size of the image.
        names: names of the objects that are drawn.
        titled: leave room for a title above both.
    """
    # Letters keep their size on the page: a sheet with many objects or long names grows instead.
    letters = sum(len(name) + 4 for name in names)
    scale = float(np.clip(np.sqrt(letters / ROOMY), 1.0, 1.8))
    sheet_width = SHEET_WIDTH * scale
    top = MARGIN + (26.0 if titled else 0.0)
    inner = sheet_width - 2 * MARGIN
    aspect = width / height
    if aspect <= 2.2:
        image_height = min(500.0 * scale, 0.52 * inner / aspect)
        image_width = image_height * aspect
        cell_width, cell_height = max(image_width, 170.0), max(image_height, 380.0 * scale)
        cell = np.array([MARGIN, top, MARGIN + cell_width, top + cell_height])
        graph = np.array([cell[2] + 1.5 * MARGIN, cell[1], sheet_width - MARGIN, cell[3]])
        bottom = cell[3]
    else:
        image_width, image_height = inner, inner / aspect
        cell = np.array([MARGIN, top, MARGIN + inner, top + max(image_height, 120.0)])
        graph = np.array([MARGIN, cell[3] + MARGIN, MARGIN + inner, cell[3] + MARGIN + 360.0 * scale])
        bottom = graph[3]
    center, half = (cell[:2] + cell[2:]) / 2, np.array([image_width, image_height]) / 2
    image = np.concatenate([center - half, center + half])
    return Sheet(sheet_width, bottom + MARGIN, image, cell, graph)
