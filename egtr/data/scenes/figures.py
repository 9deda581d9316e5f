"""Figures that live or are carried: person, hat, umbrella, cup, ball, kite, dog, horse, bird.

Every function takes a :class:`~egtr.data.scenes.canvas.Pen` and ``style``, a list of eight random integers
that settle colours and variants; further arguments set the pose.
"""

from __future__ import annotations

from .canvas import INK, Pen, shade

WHITE = (250, 248, 242)
BRIGHT = (
    (226, 74, 66),
    (250, 186, 60),
    (70, 132, 206),
    (96, 172, 92),
    (150, 98, 182),
    (240, 128, 60),
    (238, 118, 158),
    (52, 168, 168),
)
SKIN = ((252, 216, 184), (238, 190, 150), (204, 148, 106), (146, 98, 68), (108, 72, 52))
HAIR = ((62, 44, 38), (112, 70, 42), (214, 164, 82), (176, 84, 46), (40, 38, 48), (168, 164, 164))
TROUSERS = ((62, 78, 128), (88, 76, 72), (58, 98, 104), (122, 92, 60), (74, 62, 94))
DOGS = ((196, 140, 84), (126, 84, 56), (236, 222, 196), (150, 146, 148), (226, 178, 108))
HORSES = ((164, 104, 62), (112, 70, 48), (226, 218, 206), (196, 150, 98))

# Where a person's right hand is in each pose, in the person's units.
HANDS = {
    "stand": (23, 36),
    "hold": (31, 52),
    "raise": (33, 86),
    "kick": (28, 60),
    "ride": (28, 48),
    "bust": (26, 46),
}
# The height of a person's seat.
HIP = 34


def person(pen: Pen, style: list[int], pose: str = "stand", bald: bool = False) -> None:
    """Draw a person. Pose ``bust`` ends below the hip, for a person who sits in something; ``ride`` shows a leg."""
    skin, hair = SKIN[style[0] % 5], HAIR[style[1] % 6]
    shirt, trousers = BRIGHT[style[2] % 8], TROUSERS[style[3] % 5]
    dress = style[4] % 3 == 0 and pose in ("stand", "hold", "raise")
    long_hair = style[5] % 2 == 0
    if long_hair:
        pen.oval(0, 78, 17, 20, hair)
    if pose == "ride":
        pen.limb([(-2, 36), (14, 26), (10, 6)], 13, trousers)
        pen.oval(14, 4, 9, 5, shade(trousers, 50))
    elif pose != "bust":
        feet = ((-9, 5), (9, 5)) if pose != "kick" else ((-9, 5), (36, 17))
        for side, (u, v) in zip((-8, 8), feet, strict=True):
            pen.limb([(side, 36), (u, v)], 12, skin if dress else trousers)
            pen.oval(u + 3, v - 1, 8, 5, shade(trousers, 60))
    hand = HANDS[pose]
    elbow = {"hold": (22, 42), "raise": (28, 64), "kick": (24, 56)}.get(pose, (22, 50))
    sleeve = shade(shirt, 85)
    pen.limb([(-13, 62), (-21, 50), (-22 if pose != "kick" else -32, 38 if pose != "kick" else 50)], 10, sleeve)
    pen.disc(-22 if pose != "kick" else -32, 36 if pose != "kick" else 49, 6, skin)
    if dress:
        pen.polygon([(-11, 68), (11, 68), (21, 24), (-21, 24)], shirt)
    else:
        pen.polygon([(-12, 68), (12, 68), (16, 60), (15, 33), (-15, 33), (-16, 60)], shirt)
        if style[6] % 2:
            pen.polygon([(-15, 52), (15, 52), (15, 45), (-15, 45)], WHITE, edge=False)
    pen.limb([(13, 62), elbow, hand], 10, sleeve)
    pen.disc(*hand, 6, skin)
    pen.disc(0, 81, 15, skin)
    if not bald:
        pen.polygon(
            [(-15, 82), (-13, 92), (-5, 97), (5, 97), (13, 92), (15, 82), (8, 90), (-8, 90)], hair, edge=False
        )
    pen.dot(-5, 81)
    pen.dot(6, 81)
    pen.line([(-4, 75), (-1, 73), (2, 73), (5, 75)], shade(skin, 45))


def hat(pen: Pen, style: list[int]) -> None:
    """Draw a hat: 100 units are the brim's width; the origin is the middle of the brim."""
    color, kind = BRIGHT[style[0] % 8], style[1] % 5
    band = WHITE if style[2] % 2 else shade(color, 50)
    if kind == 0:  # top hat
        color = (58, 54, 70) if style[3] % 2 else color
        pen.polygon([(-28, 4), (28, 4), (31, 62), (-31, 62)], color)
        pen.polygon([(-28, 10), (28, 10), (28, 24), (-28, 24)], BRIGHT[style[4] % 8], edge=False)
        pen.oval(0, 4, 50, 10, color)
    elif kind == 1:  # sun hat
        pen.oval(0, 24, 29, 32, (244, 214, 138))
        pen.polygon([(-29, 10), (29, 10), (29, 24), (-29, 24)], color, edge=False)
        pen.oval(0, 6, 52, 11, (244, 214, 138))
    elif kind == 2:  # woollen hat
        pen.oval(0, 22, 38, 34, color)
        pen.limb([(-34, 6), (34, 6)], 20, band)
        pen.disc(0, 58, 13, band)
    elif kind == 3:  # party hat
        pen.polygon([(-34, -2), (34, -2), (0, 78)], color)
        pen.line([(-22, 26), (26, 14)], band)
        pen.line([(-14, 46), (16, 38)], band)
        pen.disc(0, 76, 11, band)
    else:  # cap
        pen.oval(0, 18, 38, 38, color)
        pen.polygon([(-38, -2), (38, -2), (62, -2), (62, 8), (34, 14), (-38, 12)], shade(color, 80))
        pen.disc(0, 56, 6, band)


def umbrella(pen: Pen, style: list[int]) -> None:
    """Draw an umbrella: 100 units are the canopy's width; the origin is the pole's foot, the rim is at v = 74."""
    color, other = BRIGHT[style[0] % 8], (WHITE, (250, 214, 110))[style[1] % 2]
    pen.limb([(0, 0), (0, 104)], 5, (128, 92, 66))
    pen.polygon([(-50, 74), (-46, 88), (-34, 102), (-16, 110), (16, 110), (34, 102), (46, 88), (50, 74)], color)
    pen.polygon([(-18, 74), (-14, 98), (0, 110), (14, 98), (18, 74)], other)
    for u in (-34, 34):
        pen.polygon([(u - 16, 74), (u, 79), (u + 16, 74)], shade(color, 70), edge=False)
    pen.dot(0, 111, INK, 2)


def cup(pen: Pen, style: list[int]) -> None:
    """Draw a cup: 100 units are its height."""
    color = (BRIGHT + (WHITE,))[style[0] % 9]
    pen.disc(42, 50, 26, color)
    pen.disc(42, 50, 12, shade(color, 55), edge=False)
    pen.polygon([(-40, 90), (40, 90), (32, 0), (-32, 0)], color)
    pen.polygon([(-37, 62), (37, 62), (35, 40), (-35, 40)], shade(color, 150), edge=False)
    pen.oval(0, 90, 40, 11, (116, 72, 48))


def ball(pen: Pen, style: list[int]) -> None:
    """Draw a ball: 100 units are its diameter."""
    color, kind = BRIGHT[style[0] % 8], style[1] % 3
    if kind == 0:  # beach ball
        pen.disc(0, 50, 50, WHITE)
        pen.polygon([(0, 52), (-44, 72), (-20, 96), (2, 98)], color, edge=False)
        pen.polygon([(0, 52), (44, 74), (48, 40), (36, 18)], BRIGHT[(style[0] + 2) % 8], edge=False)
        pen.polygon([(0, 52), (-6, 4), (-34, 16), (-46, 36)], BRIGHT[(style[0] + 5) % 8], edge=False)
    elif kind == 1:  # football
        pen.disc(0, 50, 50, WHITE)
        pen.polygon([(0, 70), (18, 56), (12, 34), (-12, 34), (-18, 56)], INK, edge=False)
        for u, v in ((0, 94), (42, 62), (26, 14), (-26, 14), (-42, 62)):
            pen.disc(u, v, 9, INK, edge=False)
    else:  # striped ball
        pen.disc(0, 50, 50, color)
        pen.polygon([(-48, 58), (48, 58), (48, 40), (-48, 40)], WHITE, edge=False)
        pen.dot(-18, 76, shade(color, 160))


def kite(pen: Pen, style: list[int]) -> None:
    """Draw a kite: 100 units are its height without the tail; the origin is the lower tip."""
    color, other = BRIGHT[style[0] % 8], BRIGHT[(style[0] + 1 + style[1] % 6) % 8]
    pen.line([(0, 0), (-10, -14), (0, -26), (-10, -40)], INK)
    pen.polygon([(-18, -10), (-2, -16), (-18, -22)], other)
    pen.polygon([(6, -26), (-10, -32), (6, -38)], color)
    pen.polygon([(0, 0), (38, 62), (0, 100), (-38, 62)], color)
    pen.polygon([(0, 0), (0, 62), (-38, 62)], other, edge=False)
    pen.polygon([(0, 62), (38, 62), (0, 100)], other, edge=False)
    pen.line([(0, 0), (0, 100)])
    pen.line([(-38, 62), (38, 62)])


def dog(pen: Pen, style: list[int], pose: str = "stand") -> None:
    """Draw a dog that looks to the right: 100 units are the length of body and head."""
    coat = DOGS[style[0] % 5]
    ear, collar = shade(coat, 62), BRIGHT[style[1] % 8]
    head = (32, 66)
    if pose == "sit":
        pen.limb([(-22, 10), (-42, 22)], 11, coat)
        pen.limb([(14, 40), (18, 6)], 15, shade(coat, 88))
        pen.limb([(12, 46), (-8, 22)], 40, coat)
        pen.oval(-10, 8, 24, 9, coat)
        pen.limb([(22, 42), (26, 5)], 14, coat)
        head = (22, 72)
    else:
        pen.limb([(-34, 50), (-50, 68), (-48, 78)], 10, coat)
        legs = ((-28, -30), (-16, -16), (14, 12), (25, 27))
        if pose == "run":
            legs = ((-28, -48), (-20, -34), (14, 32), (22, 46))
        for k, (top, foot) in enumerate(legs):
            pen.limb([(top, 34), (foot, 6 if pose != "run" else 11)], 13, coat if k % 2 else shade(coat, 85))
        pen.limb([(-24, 44), (20, 46)], 36, coat)
    if style[2] % 2:
        pen.disc(-14, 48 if pose != "sit" else 24, 10, ear, edge=False)
    u, v = head
    pen.limb([(u - 12, v - 14), (u + 2, v - 18)], 9, collar)
    pen.oval(u + 19, v - 6, 14, 10, shade(coat, 135))
    pen.disc(u, v, 21, coat)
    pen.oval(u + 17, v - 6, 12, 8, shade(coat, 135), edge=False)
    pen.oval(u - 14, v + 1, 8, 17, ear)
    pen.dot(u + 29, v - 2, INK, 2)
    pen.dot(u + 6, v + 5)


def horse(pen: Pen, style: list[int]) -> None:
    """Draw a horse that looks to the right: 100 units are its height; the back is at v = 62."""
    coat = HORSES[style[0] % 4]
    mane = shade(coat, 45)
    pen.limb([(-40, 56), (-54, 46), (-54, 22)], 10, mane)
    for k, (top, foot) in enumerate(((-34, -36), (-22, -22), (16, 14), (28, 30))):
        pen.limb([(top, 40), (foot, 5)], 12, coat if k % 2 == 0 else shade(coat, 82))
        pen.limb([(foot - 2, 3), (foot + 3, 3)], 9, mane)
    pen.limb([(-28, 48), (22, 48)], 32, coat)
    pen.polygon([(10, 52), (34, 46), (52, 82), (34, 92)], coat)
    pen.polygon([(46, 96), (40, 104), (36, 92)], coat)
    pen.limb([(44, 86), (64, 72)], 18, coat)
    pen.limb([(60, 74), (66, 70)], 15, shade(coat, 140), edge=False)
    pen.limb([(40, 96), (26, 84), (14, 62)], 11, mane)
    pen.dot(48, 87)
    if style[1] % 3 == 0:
        pen.limb([(50, 82), (58, 78)], 6, WHITE, edge=False)


def bird(pen: Pen, style: list[int], pose: str = "perch") -> None:
    """Draw a bird that looks to the right: 100 units are its length. It perches on the origin or flies around it."""
    color = BRIGHT[style[0] % 8]
    lift = 18 if pose == "perch" else -26
    if pose == "perch":
        pen.line([(-6, 30), (-6, 0)])
        pen.line([(8, 30), (8, 0)])
    pen.polygon([(-22, 34 + lift), (-60, 46 + lift), (-58, 22 + lift)], shade(color, 75))
    pen.oval(-2, 30 + lift, 34, 26, color)
    pen.oval(6, 22 + lift, 20, 16, shade(color, 150), edge=False)
    pen.polygon([(44, 56 + lift), (66, 47 + lift), (44, 40 + lift)], (250, 170, 50))
    pen.disc(28, 48 + lift, 20, color)
    if pose == "perch":
        pen.oval(-12, 34 + lift, 20, 13, shade(color, 70))
    else:
        pen.polygon([(10, 38 + lift), (-20, 38 + lift), (-44, 92 + lift), (-16, 82 + lift)], shade(color, 70))
        pen.polygon([(14, 40 + lift), (-8, 38 + lift), (-10, 96 + lift), (8, 84 + lift)], shade(color, 85))
    pen.dot(33, 52 + lift, INK)
