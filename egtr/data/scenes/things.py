"""Things that stand, float or shine: tree, house, window, car, wheel, table, boat, sun, cloud.

The conventions are those of :mod:`egtr.data.scenes.figures`.
"""

from __future__ import annotations

from .canvas import INK, Pen, shade
from .figures import BRIGHT, WHITE

LEAVES = ((86, 154, 80), (60, 128, 84), (122, 172, 74), (72, 142, 112))
AUTUMN = ((222, 140, 58), (206, 92, 58), (232, 184, 76))
WALLS = ((246, 228, 196), (238, 190, 168), (196, 214, 226), (224, 208, 232), (250, 240, 150), (188, 216, 180))
ROOFS = ((190, 84, 66), (118, 86, 96), (86, 108, 146), (150, 100, 62), (92, 122, 100))
WOOD = ((170, 116, 72), (136, 90, 60), (200, 154, 102))
TRUNK = (126, 86, 58)


def tree(pen: Pen, style: list[int], kind: str = "leaf", snowy: bool = False) -> None:
    """Draw a tree: 100 units are its height; ``kind`` is leaf, autumn, pine or palm."""
    if kind == "palm":
        pen.limb([(0, 2), (4, 30), (2, 54), (8, 78)], 9, (168, 126, 82))
        green = LEAVES[style[0] % 4]
        for u, v in ((-34, 62), (-28, 86), (46, 60), (42, 86)):
            middle = (8 + (u - 8) // 2, 94 if v > 70 else 88)
            pen.limb([(8, 80), middle, (u, v)], 11, green)
        pen.limb([(8, 80), (10, 98)], 11, green)
        for u in (3, 12):
            pen.disc(u, 74, 5, (122, 82, 54))
        return
    green = AUTUMN[style[0] % 3] if kind == "autumn" else LEAVES[style[0] % 4]
    pen.polygon([(-6, 0), (6, 0), (5, 40), (-5, 40)], TRUNK)
    if kind == "pine":
        green = shade(LEAVES[1 + 2 * (style[0] % 2)], 85)
        for low, high, half in ((16, 54, 33), (40, 76, 27), (64, 100, 20)):
            pen.polygon([(-half, low), (half, low), (0, high)], green)
            if snowy:
                tip = half * 2 // 5
                pen.polygon([(-tip, high - 14), (0, high - 19), (tip, high - 14), (0, high)], WHITE, edge=False)
        return
    for u, v, radius in ((-19, 50, 20), (20, 52, 20), (0, 74, 25), (0, 52, 24)):
        pen.disc(u, v, radius, green)
    pen.disc(0, 56, 21, green, edge=False)
    pen.disc(-6, 80, 11, shade(green, 125), edge=False)
    if style[1] % 3 == 0 and kind == "leaf":
        for u, v in ((-20, 52), (2, 60), (20, 56), (8, 82)):
            pen.dot(u, v, (220, 62, 58), 2)


def house(pen: Pen, style: list[int]) -> None:
    """Draw a house: 100 units are the width of the roof; 40 units of wall, the ridge at v = 76."""
    wall, roof = WALLS[style[0] % 6], ROOFS[style[1] % 5]
    if style[2] % 2:
        pen.polygon([(20, 50), (32, 50), (32, 84), (20, 84)], shade(roof, 75))
    pen.polygon([(-42, 0), (42, 0), (42, 46), (-42, 46)], wall)
    pen.polygon([(-42, 0), (42, 0), (42, 4), (-42, 4)], shade(wall, 70), edge=False)
    if style[3] % 2:
        pen.polygon([(-50, 44), (50, 44), (0, 78)], roof)
    else:
        pen.polygon([(-50, 44), (50, 44), (36, 74), (-36, 74)], roof)
        for v in (54, 64):
            pen.line([(-42, v), (42, v)], shade(roof, 75))
    door = BRIGHT[style[4] % 8]
    pen.polygon([(-8, 0), (8, 0), (8, 28), (-8, 28)], shade(door, 80))
    pen.dot(4, 13, (250, 220, 120))


def window(pen: Pen, style: list[int], lit: bool = False) -> None:
    """Draw a window: 100 units are its height; the origin is the middle of the sill."""
    glass = (255, 222, 110) if lit else ((166, 212, 236), (140, 190, 222))[style[0] % 2]
    half = (40, 46, 50)[style[1] % 3]
    pen.polygon([(-half, 0), (half, 0), (half, 100), (-half, 100)], WHITE)
    pen.polygon([(10 - half, 10), (half - 10, 10), (half - 10, 90), (10 - half, 90)], glass)
    pen.polygon([(-4, 10), (4, 10), (4, 90), (-4, 90)], WHITE, edge=False)
    pen.polygon([(10 - half, 48), (half - 10, 48), (half - 10, 56), (10 - half, 56)], WHITE, edge=False)
    if style[2] % 2:
        pen.polygon([(-half - 6, -6), (half + 6, -6), (half + 6, 4), (-half - 6, 4)], (190, 150, 110))


def car(pen: Pen, style: list[int], kind: str = "sedan") -> None:
    """Draw a car that drives to the right: 100 units are its length; ``kind`` is sedan, van or open.

    Wheels are figures of their own (:data:`WHEELS`).
    """
    color = BRIGHT[style[0] % 8]
    glass = (184, 222, 238)
    if kind == "van":
        pen.polygon([(-48, 8), (50, 8), (50, 30), (34, 58), (-48, 58)], color)
        for left, right in ((-42, -20), (-15, 6)):
            pen.polygon([(left, 36), (right, 36), (right, 52), (left, 52)], glass)
        pen.polygon([(11, 36), (40, 36), (31, 52), (11, 52)], glass)
        pen.polygon([(-48, 24), (50, 24), (50, 19), (-48, 19)], WHITE, edge=False)
    elif kind == "open":
        pen.polygon([(20, 32), (26, 32), (16, 52), (12, 52)], glass)
        pen.polygon([(-50, 8), (50, 8), (50, 24), (44, 31), (20, 35), (-46, 36), (-50, 30)], color)
        pen.polygon([(-48, 20), (50, 20), (50, 16), (-48, 16)], shade(color, 145), edge=False)
    else:
        pen.polygon(
            [(-50, 8), (50, 8), (50, 24), (40, 32), (22, 35), (8, 56), (-26, 56), (-38, 34), (-50, 32)], color
        )
        pen.polygon([(-31, 34), (-23, 51), (-9, 51), (-9, 34)], glass)
        pen.polygon([(-5, 34), (-5, 51), (6, 51), (16, 34)], glass)
        pen.limb([(-8, 26), (-2, 26)], 3, shade(color, 60), edge=False)
    pen.oval(47, 24, 4, 4, (255, 236, 150))
    pen.oval(-48, 25, 3, 4, (214, 60, 52))
    pen.limb([(-49, 10), (49, 10)], 5, shade(color, 55), edge=False)


WHEELS = ((-28, 12), (28, 12))


def wheel(pen: Pen, style: list[int]) -> None:
    """Draw a wheel: 100 units are its diameter; the origin is the hub."""
    pen.disc(0, 0, 50, (58, 56, 64))
    pen.disc(0, 0, 28, (206, 208, 214))
    pen.disc(0, 0, 10, (110, 110, 120), edge=False)


def table(pen: Pen, style: list[int]) -> None:
    """Draw a table: 100 units are the width of its top, whose surface is at v = 48."""
    wood = WOOD[style[0] % 3]
    for u in (-38, 38):
        pen.polygon([(u - 4, 0), (u + 4, 0), (u + 5, 42), (u - 5, 42)], shade(wood, 80))
    if style[1] % 2:
        cloth = (BRIGHT + (WHITE, WHITE))[style[2] % 10]
        pen.polygon(
            [(-50, 48), (50, 48), (48, 36), (32, 40), (16, 36), (0, 40), (-16, 36), (-32, 40), (-48, 36)],
            cloth,
        )
    else:
        pen.polygon([(-50, 48), (50, 48), (50, 40), (-50, 40)], wood)


def boat(pen: Pen, style: list[int], kind: str = "row") -> None:
    """Draw a boat: 100 units are its length; ``kind`` is row or sail; the gunwale is at v = 22."""
    color = BRIGHT[style[0] % 8]
    if kind == "sail":
        pen.limb([(0, 16), (0, 108)], 4, (126, 90, 62))
        sail = (WHITE, (252, 226, 160), BRIGHT[style[1] % 8])[style[2] % 3]
        pen.polygon([(4, 30), (4, 104), (42, 30)], sail)
        pen.polygon([(-4, 30), (-4, 92), (-32, 30)], shade(sail, 88))
        pen.polygon([(0, 114), (-16, 109), (0, 104)], BRIGHT[(style[1] + 3) % 8])
    pen.polygon([(-50, 24), (-40, 20), (40, 20), (50, 26), (38, 0), (-36, 0)], color)
    pen.polygon([(-44, 14), (44, 14), (42, 9), (-42, 9)], WHITE, edge=False)


def sun(pen: Pen, style: list[int]) -> None:
    """Draw a sun: 100 units are its diameter without the rays."""
    for u, v in ((0, 76), (54, 54), (76, 0), (54, -54), (0, -76), (-54, -54), (-76, 0), (-54, 54)):
        pen.limb([(u * 3 // 4, v * 3 // 4), (u, v)], 11, (250, 168, 48), edge=False)
    pen.disc(0, 0, 50, (255, 212, 74))
    if style[0] % 2:
        pen.dot(-15, 8, INK, 1)
        pen.dot(16, 8, INK, 1)
        pen.line([(-16, -12), (-6, -20), (6, -20), (16, -12)], (150, 84, 30))
    else:
        pen.disc(-8, 10, 26, (255, 228, 128), edge=False)


def cloud(pen: Pen, style: list[int], dark: bool = False) -> None:
    """Draw a cloud: 100 units are its width."""
    color = (150, 156, 184) if dark else WHITE
    low = shade(color, 86)
    bumps = ((-30, 14, 17), (-8, 26, 23), (18, 20, 19), (34, 12, 14))
    if style[0] % 2:
        bumps = ((-34, 10, 14), (-16, 20, 20), (10, 28, 24), (34, 13, 16))
    for u, v, radius in bumps:
        pen.disc(u, v, radius, low, edge=False)
    pen.limb([(-34, 6), (34, 6)], 20, low, edge=False)
    for u, v, radius in bumps:
        pen.disc(u - 1, v + 4, radius - 4, color, edge=False)
