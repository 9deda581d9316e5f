"""The plan of a scene: its figures, their places and depths, and the staged relations."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from . import figures, things
from .canvas import Pen, Point

# The depth of sun and clouds: behind everything that stands on the ground, whose depth is 100 times its row.
SKY = -3000
_Choice = TypeVar("_Choice", str, int)


# Compared by identity, since two figures may look the same.
@dataclass(eq=False)
class Figure:
    """One object to be drawn.

    Attributes:
        name: its class, one of ``SCENES_CLASSES``.
        draw: the function that draws it.
        x, y: the pixel of the origin of its own coordinates (see :class:`Pen`), mostly the point that it stands on.
        size: pixels that 100 of its own units take.
        depth: larger is nearer to the viewer.
        flip: True if it is mirrored.
        style: eight random integers for colours and variants.
        look: keyword arguments of ``draw``, such as the pose.
        parent: the figure that it is a part of (the car of a wheel), and to whose box it belongs.
        support: the figure that it stands on or sits in, or that wears or holds it; None for the ground, the water
            and the sky.
    """

    name: str
    draw: Callable
    x: int
    y: int
    size: int
    depth: int
    flip: bool
    style: list[int]
    look: dict
    parent: Figure | None = None
    support: Figure | None = None

    def at(self, u: int, v: int) -> Point:
        """Return the pixel of the point (u, v) of the figure's own coordinates."""
        return Pen(None, self.x, self.y, self.size, self.flip).at(u, v)


@dataclass
class Scene:
    """An image before it is painted.

    Attributes:
        width, height: of the image, in pixels.
        setting: one of :data:`~egtr.data.scenes.backgrounds.SETTINGS`.
        horizon: the row at which the sky or the wall ends and the ground begins.
        rng: the image's only source of randomness.
        figures: all objects, in the order of their creation.
        staged: relations that come with the staging: (subject, predicate, object).
        strokes: strings and waves, which are no objects: (depth, pixels, colour) each.
    """

    width: int
    height: int
    setting: str
    horizon: int
    rng: np.random.RandomState
    figures: list[Figure] = field(default_factory=list)
    staged: list[tuple[Figure, str, Figure]] = field(default_factory=list)
    strokes: list[tuple[int, list[Point], tuple[int, int, int]]] = field(default_factory=list)

    def chance(self, percent: int) -> bool:
        """Draw True with a probability of ``percent`` percent."""
        return self.rng.randint(100) < percent

    def between(self, low: int, high: int) -> int:
        """Draw an integer from ``low`` to ``high``, both included."""
        return int(self.rng.randint(low, high + 1))

    def pick(self, choices: dict[_Choice, int]) -> _Choice:
        """Draw a key by its weight."""
        ticket = self.rng.randint(sum(choices.values()))
        sums = itertools.accumulate(choices.values())
        return next(choice for choice, total in zip(choices, sums, strict=True) if ticket < total)

    def add(
        self,
        name: str,
        at: Point,
        size: int,
        depth: int,
        flip: bool | None = None,
        parent: Figure | None = None,
        support: Figure | None = None,
        **look: object,
    ) -> Figure:
        """Create a figure with a random style. If ``flip`` is None, it is mirrored at random."""
        style = [int(value) for value in self.rng.randint(0, 1 << 16, size=8)]
        flip = self.chance(50) if flip is None else flip
        figure = Figure(name, _DRAW[name], *at, size, depth, flip, style, look, parent, support)
        self.figures.append(figure)
        return figure

    @property
    def air(self) -> int:
        """The depth of flying things: in front of the back row, behind the front row."""
        return (self.horizon + 36) * 100

    def stage(self, subject: Figure, predicate: str, object: Figure) -> None:
        """Note a relation that holds because the figures were placed so."""
        self.staged.append((subject, predicate, object))


_DRAW: dict[str, Callable] = {
    **{name: getattr(figures, name) for name in "person hat umbrella cup ball kite dog horse bird".split()},
    **{name: getattr(things, name) for name in "tree house window car wheel table boat sun cloud".split()},
}
