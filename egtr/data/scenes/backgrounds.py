"""The seven settings in which scenes take place; nothing drawn here is annotated."""

from __future__ import annotations

import numpy as np

from .canvas import MARGIN, Canvas, Color, Pen, shade

SETTINGS = ("meadow", "beach", "lake", "snow", "street", "room", "night")
_DAY = (
    ((128, 196, 238), (214, 238, 248)),
    ((112, 180, 232), (250, 232, 206)),
    ((164, 212, 226), (246, 246, 226)),
)
_EVENING = ((246, 164, 118), (252, 222, 160))
_NIGHT = ((26, 32, 72), (74, 74, 128))
_GRASS = ((140, 196, 104), (162, 204, 112), (120, 184, 110))
_PAPER = ((246, 224, 200), (206, 226, 222), (232, 214, 226), (244, 234, 190), (204, 214, 236))


def _gradient(canvas: Canvas, top: int, bottom: int, first: Color, last: Color) -> None:
    """Fill the rows top..bottom - 1 in bands of six rows from ``first`` to ``last``."""
    span = max(bottom - top - 1, 1)
    for step in range(0, bottom - top, 6):
        color = [(a * (span - step) + b * step) // span for a, b in zip(first, last, strict=True)]
        canvas.padded[top + step + MARGIN : min(top + step + 6, bottom) + MARGIN] = color


def _speckle(
    canvas: Canvas,
    rng: np.random.RandomState,
    top: int,
    bottom: int,
    colors: list[Color],
    count: int,
    size: int,
):
    layer = canvas.layer()
    for _ in range(count):
        x, y = rng.randint(0, canvas.width), rng.randint(top, max(bottom, top + 1))
        layer.oval((x, y), (size, size), colors[rng.randint(len(colors))])
    canvas.decorate(layer)


def _hills(canvas: Canvas, rng: np.random.RandomState, horizon: int, color: Color) -> None:
    layer = canvas.layer()
    for _ in range(rng.randint(1, 4)):
        width = rng.randint(60, 130)
        layer.oval((rng.randint(0, canvas.width), horizon + 8), (width, rng.randint(20, 42)), color)
    canvas.decorate(layer)


def _tufts(canvas: Canvas, rng: np.random.RandomState, top: int, color: Color, count: int) -> None:
    layer = canvas.layer()
    for _ in range(count):
        x, y = rng.randint(0, canvas.width), rng.randint(top + 4, canvas.height)
        layer.line([(x - 3, y - 4), (x, y), (x + 3, y - 4)], color)
    canvas.decorate(layer)


def _waves(canvas: Canvas, rng: np.random.RandomState, top: int, bottom: int, color: Color, count: int) -> None:
    layer = canvas.layer()
    for _ in range(count):
        x, y = rng.randint(0, canvas.width), rng.randint(top + 2, max(bottom - 2, top + 3))
        layer.line([(x - 7, y), (x - 3, y - 2), (x + 1, y), (x + 5, y - 2), (x + 9, y)], color)
    canvas.decorate(layer)


def _skyline(canvas: Canvas, rng: np.random.RandomState, horizon: int, color: Color) -> None:
    layer, x = canvas.layer(), -10
    while x < canvas.width:
        width, height = rng.randint(20, 44), rng.randint(18, 60)
        layer.polygon(
            [(x, horizon), (x, horizon - height), (x + width, horizon - height), (x + width, horizon)], color
        )
        x += width + rng.randint(0, 8)
    canvas.decorate(layer)


def paint_background(canvas: Canvas, setting: str, horizon: int, rng: np.random.RandomState) -> None:
    """Paint sky (or wall) above the row ``horizon`` and ground below it over the whole canvas."""
    bottom = canvas.height + MARGIN
    if setting == "room":
        _paint_room(canvas, horizon, rng)
        return
    sky = _DAY[rng.randint(3)] if rng.randint(5) or setting == "snow" else _EVENING
    if setting == "night":
        sky = _NIGHT
    _gradient(canvas, -MARGIN, horizon, *sky)
    if setting == "night":
        _speckle(canvas, rng, 0, horizon, [(255, 250, 220), (190, 196, 232)], 26, 0)
        _hills(canvas, rng, horizon, (40, 50, 84))
        _gradient(canvas, horizon, bottom, (60, 92, 90), (38, 62, 72))
        _tufts(canvas, rng, horizon, (38, 62, 66), 14)
    elif setting == "meadow":
        grass = _GRASS[rng.randint(3)]
        _hills(canvas, rng, horizon, shade(grass, 88))
        _gradient(canvas, horizon, bottom, grass, shade(grass, 84))
        _tufts(canvas, rng, horizon, shade(grass, 72), 16)
        _speckle(canvas, rng, horizon + 6, canvas.height, [(255, 240, 250), (250, 216, 90), (240, 150, 170)], 9, 1)
    elif setting in ("beach", "lake"):
        shore = horizon + (canvas.height - horizon) * (45 if setting == "beach" else 60) // 100
        if setting == "lake":
            _hills(canvas, rng, horizon, (142, 176, 150))
        water = ((70, 150, 196), (120, 196, 214)) if setting == "beach" else ((104, 164, 196), (80, 142, 184))
        _gradient(canvas, horizon, shore, *water)
        _waves(canvas, rng, horizon, shore, shade(water[1], 145), 14)
        ground = (242, 218, 166) if setting == "beach" else _GRASS[rng.randint(3)]
        _gradient(canvas, shore, bottom, ground, shade(ground, 92))
        _speckle(canvas, rng, shore + 4, canvas.height, [shade(ground, 80), shade(ground, 150)], 16, 0)
    elif setting == "snow":
        _hills(canvas, rng, horizon, (214, 226, 240))
        _gradient(canvas, horizon, bottom, (240, 245, 252), (222, 232, 246))
        _speckle(canvas, rng, 0, canvas.height, [(255, 255, 255), (228, 238, 250)], 40, 1)
    else:  # street
        _skyline(canvas, rng, horizon, shade(sky[1], 82))
        kerb = horizon + (canvas.height - horizon) * 40 // 100
        _gradient(canvas, horizon, kerb, (206, 200, 192), (190, 184, 178))
        _gradient(canvas, kerb, bottom, (120, 120, 130), (104, 104, 114))
        canvas.padded[kerb + MARGIN : kerb + MARGIN + 3] = (228, 224, 218)
        middle = (kerb + canvas.height) // 2
        layer = canvas.layer()
        for x in range(-rng.randint(30), canvas.width, 44):
            layer.polygon([(x, middle), (x + 22, middle), (x + 22, middle + 4), (x, middle + 4)], (236, 224, 170))
        canvas.decorate(layer)


def _paint_room(canvas: Canvas, horizon: int, rng: np.random.RandomState) -> None:
    paper = _PAPER[rng.randint(5)]
    canvas.padded[: horizon + MARGIN] = paper
    stripes = canvas.padded[: horizon + MARGIN, MARGIN:]
    if rng.randint(2):
        for x in range(0, canvas.width, 24):
            stripes[:, x : x + 10] = shade(paper, 94)
    else:
        dots = [(x, y) for y in range(6, horizon - 8, 18) for x in range(6 + y // 18 % 2 * 12, canvas.width, 24)]
        layer = canvas.layer()
        for center in dots:
            layer.oval(center, (1, 1), shade(paper, 86))
        canvas.decorate(layer)
    wood = ((206, 164, 116), (182, 140, 104), (216, 186, 148))[rng.randint(3)]
    _gradient(canvas, horizon, canvas.height + MARGIN, shade(wood, 94), wood)
    for y in range(horizon, canvas.height, 16):
        canvas.padded[y + MARGIN] = shade(wood, 82)
    canvas.padded[horizon + MARGIN - 6 : horizon + MARGIN + 1] = shade(paper, 150)
    if rng.randint(2):
        layer = canvas.layer()
        rug = ((198, 112, 108), (110, 140, 176), (150, 160, 110), (214, 170, 90))[rng.randint(4)]
        pen = Pen(
            layer,
            canvas.width * (30 + rng.randint(40)) // 100,
            (horizon + canvas.height) // 2 + 10,
            canvas.width,
        )
        pen.oval(0, 0, 38, 13, rug)
        pen.oval(0, 0, 31, 9, shade(rug, 130), edge=False)
        canvas.decorate(layer)
