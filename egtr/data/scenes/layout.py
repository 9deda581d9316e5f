"""Composes scenes: a setting, its sky, a back row (houses, trees, boats) and a front row of vignettes.

Vignettes name the relations that they stage (wearing, riding, ...). Relations that follow only from the places of
figures (near, beside, above, behind, in front of) are found in the finished drawing, by
:mod:`egtr.data.scenes.relations`.
"""

from __future__ import annotations

import numpy as np

from .backgrounds import SETTINGS
from .props import add_boat, add_house, add_tree
from .scene import SKY, Scene
from .vignettes import VIGNETTES

# How likely each vignette is in each setting, as weights.
_CASTS = {
    "meadow": dict(person=30, dog=8, horse=20, table=9, chase=7, kick=5, kite=12, ball=6, bird=5),
    "beach": dict(person=26, dog=8, horse=8, parasol=24, chase=5, kick=5, kite=12, ball=8),
    "lake": dict(person=28, dog=10, horse=14, parasol=12, chase=4, kite=8, bird=6, table=5),
    "snow": dict(person=40, dog=14, horse=12, chase=4, kick=1, car=8, bird=5, ball=3),
    "street": dict(car=48, person=26, dog=8, kick=5, bird=5, horse=3),
    "room": dict(table=56, person=26, dog=12, ball=8, kick=1),
    "night": dict(person=32, car=22, dog=12, horse=12, chase=3),
}


def _sky(scene: Scene) -> None:
    night = scene.setting == "night"
    if not night and scene.chance(62):
        size = scene.between(34, 46)
        spot = (scene.between(30, scene.width - 30), scene.between(32, 52))
        sun = scene.add("sun", spot, size, SKY, False)
        if scene.chance(24):
            at = (sun.x + scene.between(-18, 18), sun.y + size * 7 // 10)
            scene.add("cloud", at, scene.between(60, 76), SKY + 100)
    clouds = scene.pick({"none": 45, "one": 40, "clear": 15}) == "one"
    for _ in range(clouds + scene.chance(15)):
        spot = (scene.between(24, scene.width - 24), scene.between(28, max(scene.horizon - 70, 40)))
        scene.add("cloud", spot, scene.between(56, 84), SKY + 50, dark=night)
    if not night and scene.chance(30):
        spot = (scene.between(20, scene.width - 20), scene.between(26, max(scene.horizon - 40, 40)))
        scene.add("bird", spot, scene.between(26, 36), scene.air, pose="fly")


def _back_row(scene: Scene, k: int) -> None:
    if scene.setting == "room":
        for _ in range(scene.between(0, 2)):
            x = scene.between(26, scene.width - 26)
            y = scene.between(scene.horizon * 50 // 100, scene.horizon - 40)
            if all(abs(other.x - x) > 58 for other in scene.figures):
                scene.add("window", (x, y), scene.between(40, 52), SKY)
        return
    if scene.setting in ("beach", "lake"):
        for _ in range(2 if scene.chance(20) else 1 if scene.chance(85) else 0):
            add_boat(scene, k)
        if scene.chance(60):
            # Just below the shore line that the background has.
            share = 48 if scene.setting == "beach" else 62
            y = scene.horizon + (scene.height - scene.horizon) * share // 100
            x = scene.between(16, 50) if scene.chance(50) else scene.width - scene.between(16, 50)
            add_tree(scene, x, y, 116 * k // 100)
        return
    y = scene.horizon + scene.between(6, 22)
    if scene.chance(68):
        size = scene.between(118, 150) * k // 100
        house = add_house(scene, scene.between(size * 2 // 5, scene.width - size * 2 // 5), y, size)
        if scene.chance(50):
            side = -1 if scene.chance(50) else 1
            # A tree whose foot is higher up in the image stands behind the house, a lower one in front of it.
            offset, shift = (-4, 36) if scene.chance(66) else (scene.between(8, 14), 44)
            add_tree(scene, house.x + side * size * shift // 100, y + offset, scene.between(112, 136) * k // 100)
    else:
        for _ in range(scene.between(1, 2)):
            x, foot = scene.between(24, scene.width - 24), y + scene.between(-3, 8)
            add_tree(scene, x, foot, scene.between(100, 136) * k // 100)


def compose(rng: np.random.RandomState) -> Scene:
    """Pick a setting, the image's size (H and W in 208..288 pixels) and the cast, and place all figures.

    Sizes of figures share the factor ``k``, in percent, so that the figures of one image fit together.
    """
    long_side, short_side = int(rng.randint(240, 289)), int(rng.randint(208, 241))
    width, height = (long_side, short_side) if rng.randint(100) < 62 else (short_side, long_side)
    setting = SETTINGS[rng.randint(len(SETTINGS))]
    horizon = height * int(rng.randint(46, 59)) // 100
    scene = Scene(width, height, setting, horizon, rng)
    k = scene.between(88, 110)
    if setting != "room":
        _sky(scene)
    _back_row(scene, k)
    front = scene.height - scene.between(8, 24)
    budget, chosen = scene.width + 6, []
    for _ in range(scene.pick({1: 3, 2: 5, 3: 3})):
        name = scene.pick(_CASTS[setting])
        span = VIGNETTES[name][0] * k // 100
        if span <= budget and (name not in chosen or name in ("person", "dog", "bird")):
            chosen.append(name)
            budget -= span
    x = 0
    for position, name in enumerate(chosen):
        span = VIGNETTES[name][0] * k // 100
        # The last of several may use all of the width that is left; the others leave some.
        last = 0 < position == len(chosen) - 1
        gap = scene.between(0, budget if last else budget * 2 // 3)
        budget -= gap
        x += gap
        VIGNETTES[name][1](scene, x + span // 2, front - scene.between(0, 12), k)
        x += span
    return scene
