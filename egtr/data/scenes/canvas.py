"""Integer drawing primitives of the drawn dataset ``scenes``.

Images must be identical on every machine, so nothing here is anti-aliased, scaled or computed in floating point:
polygons and thin lines go through OpenCV's integer rasteriser, discs, ovals and limbs through exact integer tests.
"""

from __future__ import annotations

import cv2
import numpy as np

INK = (46, 40, 54)
# Figures may stick out of the image; the margin keeps OpenCV's clipping code (which changed between its versions)
# away from visible pixels.
MARGIN = 64
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)

Color = tuple[int, int, int]
Point = tuple[int, int]


def shade(color: Color, percent: int) -> Color:
    """Make ``color`` (RGB, 0..255) darker (``percent`` < 100) or lighter (> 100, towards white)."""
    if percent <= 100:
        return tuple(c * percent // 100 for c in color)
    return tuple(c + (255 - c) * (percent - 100) // 100 for c in color)


class Layer:
    """A transparent sheet of the image's size plus :data:`MARGIN` on each side, on which one figure is drawn.

    All coordinates are integer image pixels: x to the right, y down, (0, 0) the top left pixel of the image.

    Attributes:
        color: (H + 2 MARGIN, W + 2 MARGIN, 3) uint8, RGB.
        mask: (H + 2 MARGIN, W + 2 MARGIN) uint8, 1 for drawn pixels.
    """

    def __init__(self, height: int, width: int):
        shape = (height + 2 * MARGIN, width + 2 * MARGIN)
        self.color = np.zeros((*shape, 3), np.uint8)
        self.mask = np.zeros(shape, np.uint8)

    def polygon(self, points: list[Point], color: Color, edge: Color | None = None) -> None:
        """Fill the polygon, border pixels included, and trace its border in ``edge``."""
        corners = [np.array(points, np.int32) + MARGIN]
        cv2.fillPoly(self.color, corners, color, lineType=cv2.LINE_8)
        cv2.fillPoly(self.mask, corners, 1, lineType=cv2.LINE_8)
        if edge is not None:
            cv2.polylines(self.color, corners, True, edge, thickness=1, lineType=cv2.LINE_8)

    def line(self, points: list[Point], color: Color) -> None:
        """Trace an open line of one pixel's width."""
        corners = [np.array(points, np.int32) + MARGIN]
        cv2.polylines(self.color, corners, False, color, thickness=1, lineType=cv2.LINE_8)
        cv2.polylines(self.mask, corners, False, 1, thickness=1, lineType=cv2.LINE_8)

    def oval(self, center: Point, radii: Point, color: Color, edge: Color | None = None) -> None:
        """Fill the axis-parallel ellipse of half-axes ``radii`` (pixels) around ``center``."""
        if edge is not None:
            self.oval(center, radii, edge)
            radii = (radii[0] - 1, radii[1] - 1)
        a, b = 2 * max(radii[0], 0) + 1, 2 * max(radii[1], 0) + 1
        window = self._window(center[0] - a // 2, center[1] - b // 2, center[0] + a // 2, center[1] + b // 2)
        if window is None:
            return
        area, xs, ys = window
        inside = (2 * (xs - center[0]) * b) ** 2 + (2 * (ys - center[1]) * a) ** 2 <= (a * b) ** 2
        self._fill(area, inside, color)

    def limb(self, points: list[Point], width: int, color: Color, edge: Color | None = None) -> None:
        """Fill a bent stroke of ``width`` pixels with round ends through ``points``."""
        if edge is not None:
            self.limb(points, width, edge)
            width = max(width - 2, 1)
        for start, end in zip(points[:-1], points[1:], strict=True):
            self._capsule(start, end, width, color)

    def _capsule(self, start: Point, end: Point, width: int, color: Color) -> None:
        reach = width // 2 + 1
        window = self._window(
            min(start[0], end[0]) - reach,
            min(start[1], end[1]) - reach,
            max(start[0], end[0]) + reach,
            max(start[1], end[1]) + reach,
        )
        if window is None:
            return
        area, xs, ys = window
        dx, dy = end[0] - start[0], end[1] - start[1]
        length2 = dx * dx + dy * dy
        px, py = xs - start[0], ys - start[1]
        along = px * dx + py * dy
        to_start = 4 * (px * px + py * py)
        to_end = 4 * ((xs - end[0]) ** 2 + (ys - end[1]) ** 2)
        across = 4 * (px * dy - py * dx) ** 2
        near_line = (along > 0) & (along < length2) & (across <= width * width * length2)
        self._fill(area, near_line | (to_start <= width * width) | (to_end <= width * width), color)

    def _window(self, x0: int, y0: int, x1: int, y1: int):
        height, width = self.mask.shape
        x0, y0 = max(x0 + MARGIN, 0), max(y0 + MARGIN, 0)
        x1, y1 = min(x1 + MARGIN + 1, width), min(y1 + MARGIN + 1, height)
        if x0 >= x1 or y0 >= y1:
            return None
        xs = np.arange(x0 - MARGIN, x1 - MARGIN, dtype=np.int64)[None, :]
        ys = np.arange(y0 - MARGIN, y1 - MARGIN, dtype=np.int64)[:, None]
        return (slice(y0, y1), slice(x0, x1)), xs, ys

    def _fill(self, area: tuple[slice, slice], inside: np.ndarray, color: Color) -> None:
        self.color[area][inside] = color
        self.mask[area][inside] = 1


class Canvas:
    """The image under construction and, for each pixel, the number of the figure that is seen there.

    Attributes:
        padded: (H + 2 MARGIN, W + 2 MARGIN, 3) uint8, RGB.
        owner: (H, W) int16 view: the index of the visible figure, -1 for the background.
    """

    def __init__(self, height: int, width: int):
        self.height, self.width = height, width
        self.padded = np.zeros((height + 2 * MARGIN, width + 2 * MARGIN, 3), np.uint8)
        self._owner = np.full(self.padded.shape[:2], -1, np.int16)

    def layer(self) -> Layer:
        return Layer(self.height, self.width)

    def decorate(self, layer: Layer) -> None:
        """Paint something that is no object (background, waves, a kite's string): owners stay as they are."""
        x, y, w, h = cv2.boundingRect(layer.mask)
        area = (slice(y, y + h), slice(x, x + w))
        cv2.copyTo(layer.color[area], layer.mask[area], self.padded[area])

    def paste(self, layer: Layer, index: int) -> tuple[np.ndarray, int, np.ndarray]:
        """Paint a figure with an ink outline over everything before.

        Returns:
            the figure's mask inside the image, (H, W) bool; its number of pixels with those outside of the image;
            the number of pixels that it covered of each figure, indexed by that figure (shorter if the last ones
            have none).
        """
        x, y, w, h = cv2.boundingRect(layer.mask)
        area = (slice(max(y - 1, 0), y + h + 1), slice(max(x - 1, 0), x + w + 1))
        cv2.copyTo(layer.color[area], layer.mask[area], self.padded[area])
        grown = cv2.dilate(layer.mask[area], _CROSS)
        self.padded[area][(grown - layer.mask[area]).view(bool)] = INK
        owner, outlined = self._owner[area], grown.view(bool)
        covered = np.bincount(owner[outlined] + 1)[1:]
        owner[outlined] = index
        mask = np.zeros(self._owner.shape, bool)
        mask[area] = outlined
        return self._crop(mask), int(outlined.sum()), covered

    @property
    def owner(self) -> np.ndarray:
        return self._crop(self._owner)

    @property
    def image(self) -> np.ndarray:
        """The finished image, (H, W, 3) uint8, RGB."""
        return np.ascontiguousarray(self._crop(self.padded))

    def _crop(self, array: np.ndarray) -> np.ndarray:
        return array[MARGIN : MARGIN + self.height, MARGIN : MARGIN + self.width]


class Pen:
    """Draws a figure in its own coordinates.

    100 units are ``size`` pixels, u to the right (to the left when ``flip``), v up, (0, 0) the point where the figure
    stands.
    """

    def __init__(self, layer: Layer | None, x: int, y: int, size: int, flip: bool = False):
        self.layer, self.x, self.y, self.size, self.flip = layer, x, y, size, flip

    def length(self, units: int) -> int:
        return (units * self.size + 50) // 100

    def at(self, u: int, v: int) -> Point:
        """Return the pixel of the point (u, v)."""
        return self.x + (-1 if self.flip else 1) * self.length(u), self.y - self.length(v)

    def polygon(self, points: list[Point], color: Color, edge: bool = True) -> None:
        self.layer.polygon([self.at(*p) for p in points], color, shade(color, 55) if edge else None)

    def line(self, points: list[Point], color: Color = INK) -> None:
        self.layer.line([self.at(*p) for p in points], color)

    def oval(self, u: int, v: int, ru: int, rv: int, color: Color, edge: bool = True) -> None:
        radii = (max(self.length(ru), 1), max(self.length(rv), 1))
        self.layer.oval(self.at(u, v), radii, color, shade(color, 55) if edge else None)

    def disc(self, u: int, v: int, radius: int, color: Color, edge: bool = True) -> None:
        self.oval(u, v, radius, radius, color, edge)

    def dot(self, u: int, v: int, color: Color = INK, radius: int = 1) -> None:
        """Draw a dot of ``radius`` pixels, whatever the size of the figure."""
        self.layer.oval(self.at(u, v), (radius, radius), color)

    def limb(self, points: list[Point], width: int, color: Color, edge: bool = True) -> None:
        thickness = max(self.length(width), 2)
        self.layer.limb([self.at(*p) for p in points], thickness, color, shade(color, 55) if edge else None)
