"""Boxes and relations of a painted scene.

Staged relations (wearing, riding, ...) are kept if both figures are visible. Spatial relations follow from the boxes
and from the figures that cover others. As in Visual Genome not every true relation is annotated: the more trivial it
is, the more rarely.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .scene import Figure, Scene

# The chance in percent that a true relation is written down.
KEPT = {"near": 70, "beside": 85, "above": 40, "behind": 80, "in front of": 65}
KEPT_STAGED = {"has": 95, "on": 94}
KEPT_STAGED_OTHERS = 98
# Figures that can be near or beside something, the most movable first.
_STANDING = ("ball", "bird", "dog", "person", "horse", "car", "boat", "table", "umbrella", "tree", "house")
# Figures that something can be above.
_LOW = ("tree", "house", "person", "car", "boat", "horse", "table", "umbrella")


@dataclass
class Sight:
    """The visible part of a figure.

    Attributes:
        figure: the figure.
        box: x0, y0, x1, y1 in pixels; x1 and y1 are exclusive.
        visible: number of visible pixels, including those of its parts.
    """

    figure: Figure
    box: tuple[int, int, int, int]
    visible: int

    @property
    def width(self) -> int:
        return self.box[2] - self.box[0]

    def gap(self, other: Sight) -> int:
        """Count the horizontal pixels between the boxes, negative if they overlap."""
        return max(self.box[0], other.box[0]) - min(self.box[2], other.box[2])


def _root(figure: Figure) -> Figure:
    """Find the figure at the bottom: of the hat of the man in the boat, the boat."""
    while figure.support is not None:
        figure = figure.support
    return figure


def _spatial(scene: Scene, a: Sight, b: Sight, covered: dict) -> tuple[Sight, str, Sight] | None:
    """Find the spatial relation of a pair, if it is obvious."""
    hidden = [(covered.get((f.figure, g.figure), 0), f, g) for f, g in ((a, b), (b, a))]
    pixels, front, back = max(hidden, key=lambda entry: entry[0])
    names = (a.figure.name, b.figure.name)
    if pixels >= max(40, min(back.visible, front.visible) * 8 // 100):
        # Both wordings are true; the annotator chooses one.
        if scene.chance(62):
            return back, "behind", front
        return front, "in front of", back
    if pixels:
        return None
    aloft = [s for s in (a, b) if s.figure.name in ("sun", "cloud", "kite") or s.figure.look.get("pose") == "fly"]
    if len(aloft) == 1:
        low = b if aloft[0] is a else a
        overlap = -aloft[0].gap(low)
        clear = aloft[0].box[3] <= low.box[1] + 3
        if low.figure.name in _LOW and clear and overlap * 100 >= 55 * min(aloft[0].width, low.width):
            return aloft[0], "above", low
        return None
    if aloft or not all(name in _STANDING for name in names):
        return None
    if a.figure.support is not b.figure.support:
        return None
    gap, step = a.gap(b), abs(a.box[3] - b.box[3])
    first, second = (a, b) if scene.chance(50) else (b, a)
    if {"tree", "house"} & set(names) and names[0] != names[1]:
        # People say that the dog is beside the house, hardly that the house is beside the dog.
        first, second = sorted((a, b), key=lambda s: _STANDING.index(s.figure.name))
    if -6 <= gap <= 9 and step <= 16:
        return first, "beside", second
    if 15 <= gap <= 64 and step <= 34:
        return first, "near", second
    return None


def _belongs(figure: Figure) -> bool:
    """Check that a figure has no place of its own in the scene: a part, a hat or a thing that a person holds."""
    held = figure.support is not None and figure.support.name == "person"
    return figure.parent is not None or figure.name == "hat" or held


def relate(
    scene: Scene, sights: list[Sight], covered: dict[tuple[Figure, Figure], int]
) -> list[tuple[int, int, str]]:
    """Annotate relations (subject, object, predicate), subject and object indexing ``sights``.

    Args:
        covered: {(front, back): pixels of ``back`` that ``front`` hides}.
    """
    index = {id(sight.figure): position for position, sight in enumerate(sights)}
    found: list[tuple[int, int, str]] = []
    staged = set()
    for subject, predicate, object in scene.staged:
        staged |= {(id(subject), id(object)), (id(object), id(subject))}
        keep = scene.chance(KEPT_STAGED.get(predicate, KEPT_STAGED_OTHERS))
        if keep and id(subject) in index and id(object) in index:
            found.append((index[id(subject)], index[id(object)], predicate))
    for i, a in enumerate(sights):
        for b in sights[i + 1 :]:
            same_group = _root(a.figure) is _root(b.figure) and a.figure.support is not b.figure.support
            if same_group or _belongs(a.figure) or _belongs(b.figure) or (id(a.figure), id(b.figure)) in staged:
                continue
            relation = _spatial(scene, a, b, covered)
            if relation is not None and scene.chance(KEPT[relation[1]]):
                subject, predicate, object = relation
                found.append((index[id(subject.figure)], index[id(object.figure)], predicate))
    return found


def look_at(masks: list[np.ndarray], totals: list[int], scene: Scene, owner: np.ndarray) -> list[Sight]:
    """Find the figures that are visible enough to be annotated.

    At least 55% of such a figure lies inside the image, at least 40% of that is not hidden, and its box has sides of
    at least 11 pixels.

    Args:
        masks: for each figure its drawn pixels inside the image, (H, W) bool.
        totals: for each figure the number of its drawn pixels, including pixels outside of the image.
        owner: (H, W) index of the figure seen at each pixel, -1 for the background.
    """
    position = {id(figure): i for i, figure in enumerate(scene.figures)}
    sights = []
    for i, figure in enumerate(scene.figures):
        seen, drawn = owner == i, masks[i]
        for part in (position[id(other)] for other in scene.figures if other.parent is figure):
            seen |= owner == part
            drawn = drawn | masks[part]
        visible, inside, own = (np.count_nonzero(pixels) for pixels in (seen, drawn, masks[i]))
        if not visible or visible * 100 < 40 * inside or own * 100 < 55 * totals[i]:
            continue
        x, y, w, h = cv2.boundingRect(seen.view(np.uint8))
        if min(w, h) >= 11:
            sights.append(Sight(figure, (x, y, x + w, y + h), visible))
    return sights
