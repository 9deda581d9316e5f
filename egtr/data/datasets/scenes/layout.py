"""Composes scenes: which figures stand where, in which pose, and which relations that staging brings about.

A scene is a setting plus vignettes (a rider, a laid table, a dog after its ball, ...). A vignette places figures and
names the relations that it stages; relations that only follow from where things ended up (near, beside, above, behind,
in front of) are read off the finished drawing in :mod:`egtr.data.datasets.scenes.relations`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from egtr.data.datasets.scenes import figures, things
from egtr.data.datasets.scenes.backgrounds import SETTINGS
from egtr.data.datasets.scenes.canvas import Pen, Point

SKY = -3000


@dataclass(eq=False)
class Figure:
    """One object to be drawn: where it stands, its size in pixels (see :class:`Pen`), its depth and its look.

    ``depth``: larger is nearer. ``parent``: the figure that this one is a part of (a car's wheel). ``support``: what
    it stands on, floats in or is worn or held by; None for the ground or the sky.
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
        return Pen(None, self.x, self.y, self.size, self.flip).at(u, v)


@dataclass
class Scene:
    """Figures, staged relations (subject, predicate, object) and strings or waves: (depth, points, colour)."""

    width: int
    height: int
    setting: str
    horizon: int
    rng: np.random.RandomState
    figures: list[Figure] = field(default_factory=list)
    staged: list[tuple[Figure, str, Figure]] = field(default_factory=list)
    strokes: list[tuple[int, list[Point], tuple[int, int, int]]] = field(default_factory=list)

    def chance(self, percent: int) -> bool:
        return self.rng.randint(100) < percent

    def between(self, low: int, high: int) -> int:
        """A random integer, both ends included."""
        return int(self.rng.randint(low, high + 1))

    def pick(self, choices: dict[str, int]) -> str:
        """A random key, drawn by weight."""
        ticket = self.rng.randint(sum(choices.values()))
        for choice, weight in choices.items():
            ticket -= weight
            if ticket < 0:
                return choice
        raise AssertionError("unreachable: the weights add up to more than the ticket")

    def add(self, name: str, at: Point, size: int, depth: int, flip: bool | None = None, parent=None, support=None, **look):
        style = [int(value) for value in self.rng.randint(0, 1 << 16, size=8)]
        flip = self.chance(50) if flip is None else flip
        figure = Figure(name, _DRAW[name], *at, size, depth, flip, style, look, parent, support)
        self.figures.append(figure)
        return figure

    @property
    def air(self) -> int:
        """The depth of what flies: in front of the back row, behind the front row."""
        return (self.horizon + 36) * 100

    def stage(self, subject: Figure, predicate: str, object: Figure) -> None:
        self.staged.append((subject, predicate, object))


_DRAW: dict[str, Callable] = {
    **{name: getattr(figures, name) for name in "person hat umbrella cup ball kite dog horse bird".split()},
    **{name: getattr(things, name) for name in "tree house window car wheel table boat sun cloud".split()},
}


# --- parts and belongings ------------------------------------------------------------------------------------------


def _dress(scene: Scene, person: Figure, percent: int) -> None:
    """Maybe put a hat (rarely a bird) on somebody's head."""
    if scene.chance(percent):
        person.look["bald"] = True
        hat = scene.add(
            "hat", person.at(0, 90), person.size * 42 // 100, person.depth + 4, scene.chance(50), support=person
        )
        scene.stage(person, "wearing", hat)
    elif scene.chance(3):
        bird = scene.add("bird", person.at(0, 95), scene.between(22, 26), person.depth + 4, support=person)
        scene.stage(bird, "on", person)


def _hold(scene: Scene, person: Figure, item: str) -> None:
    person.look["pose"] = "hold"
    hand = person.at(*figures.HANDS["hold"])
    size = {
        "umbrella": person.size * scene.between(76, 86) // 100,
        "cup": scene.between(17, 20),
        "ball": scene.between(18, 24),
        "kite": scene.between(34, 42),
        "hat": scene.between(30, 36),
    }[item]
    x, y = hand
    drop = {"umbrella": size * 8 // 100, "cup": size // 2, "ball": size // 4, "kite": -4, "hat": size // 4}[item]
    x += 0 if item == "umbrella" else (-1 if person.flip else 1) * 5
    held = scene.add(item, (x, y + drop), size, person.depth + 6, person.flip, support=person)
    scene.stage(person, "holding", held)


def _perch(scene: Scene, host: Figure, spot: Point, percent: int) -> None:
    if spot[1] > 30 and scene.chance(percent):
        bird = scene.add("bird", spot, scene.between(22, 30), host.depth + 5, support=host)
        scene.stage(bird, "on", host)


def _house(scene: Scene, x: int, y: int, size: int) -> Figure:
    house = scene.add("house", (x, y), size, y * 100)
    spots = [(-25, 15), (25, 15)] if scene.chance(80) else [(25 if scene.chance(50) else -25, 15)]
    gable = house.style[3] % 2 == 1
    if gable and scene.chance(40):
        spots.append((0, 49))
    for spot in spots:
        lit = scene.setting == "night" or scene.chance(8)
        height = size * (15 if spot[0] == 0 else scene.between(17, 20)) // 100
        window = scene.add("window", house.at(*spot), height, house.depth + 2, parent=house, support=house, lit=lit)
        scene.stage(house, "has", window)
    _perch(scene, house, house.at(0, 77 if gable else 73), 16)
    return house


def _tree(scene: Scene, x: int, y: int, size: int) -> Figure:
    kinds = {
        "beach": {"palm": 1},
        "snow": {"pine": 1},
        "lake": {"leaf": 2, "pine": 2, "autumn": 1},
        "night": {"leaf": 1, "pine": 2},
    }.get(scene.setting, {"leaf": 4, "autumn": 2, "pine": 1})
    kind = scene.pick(kinds)
    size = min(size, y - 12)
    tree = scene.add("tree", (x, y), size, y * 100, kind=kind, snowy=scene.setting == "snow")
    if kind != "palm":
        _perch(scene, tree, tree.at(0, 97), 14)
        if scene.setting != "night" and scene.chance(5):
            kite = scene.add("kite", tree.at(scene.between(-8, 8), 48), scene.between(32, 38), tree.depth + 3, support=tree)
            scene.stage(kite, "in", tree)
    return tree


def _car(scene: Scene, x: int, y: int, size: int) -> Figure:
    kind = scene.pick({"sedan": 4, "van": 3, "open": 4})
    car = scene.add("car", (x, y), size, y * 100 + 10, kind=kind)
    for spot in things.WHEELS:
        wheel = scene.add("wheel", car.at(*spot), size * 25 // 100, car.depth + 2, parent=car, support=car)
        scene.stage(car, "has", wheel)
    if kind == "open" and scene.chance(85):
        seat = -20 if scene.chance(40) else -6
        height = size * scene.between(58, 66) // 100
        sx, sy = car.at(seat, 24)
        driver = scene.add("person", (sx, sy + height * 34 // 100), height, car.depth - 8, support=car, pose="bust")
        scene.stage(driver, "in", car)
        _dress(scene, driver, 30)
    elif kind != "open":
        _perch(scene, car, car.at(-18, 57), 10)
    return car


# --- vignettes of the front row: (width in percent of the scale, function) ----------------------------------------


def _person_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    flip = scene.chance(50)
    person = scene.add("person", (x, y), scene.between(86, 104) * k // 100, y * 100 + 10, flip, pose="stand")
    item = scene.pick({"": 40, "umbrella": 16, "cup": 12, "ball": 12, "kite": 5, "hat": 5})
    if scene.setting == "room" and item in ("umbrella", "kite"):
        item = "cup"
    if item:
        _hold(scene, person, item)
    if item != "hat":
        _dress(scene, person, 50)
    if scene.chance(30):
        side = 1 if flip else -1
        _dog(scene, x + side * scene.between(52, 60) * k // 100, y + scene.between(-3, 4), k)


def _dog(scene: Scene, x: int, y: int, k: int) -> Figure:
    pose = "sit" if scene.chance(40) else "stand"
    dog = scene.add("dog", (x, y), scene.between(48, 58) * k // 100, y * 100 + 20, pose=pose)
    if scene.chance(14):
        spot = dog.at(20, 88) if pose == "sit" else dog.at(30, 82)
        hat = scene.add("hat", spot, dog.size * 56 // 100, dog.depth + 3, dog.flip, support=dog)
        scene.stage(dog, "wearing", hat)
    return dog


def _dog_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    _dog(scene, x, y, k)


def _horse_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    horse = scene.add("horse", (x, y), scene.between(90, 106) * k // 100, y * 100 + 10)
    who = scene.pick({"person": 56, "dog": 8, "bird": 8, "front": 14, "": 14})
    sx, sy = horse.at(-4, 61)
    if who == "person":
        size = scene.between(74, 84) * k // 100
        rider = scene.add(
            "person", (sx, sy + size * 34 // 100), size, horse.depth + 10, horse.flip, support=horse, pose="ride"
        )
        scene.stage(rider, "riding", horse)
        _dress(scene, rider, 50)
    elif who == "dog":
        dog = scene.add("dog", (sx, sy + 3), 48 * k // 100, horse.depth + 10, horse.flip, support=horse, pose="sit")
        scene.stage(dog, "riding", horse)
    elif who == "front":
        size = scene.between(78, 90) * k // 100
        spot = (x + scene.between(-22, 10), min(y + scene.between(6, 12), scene.height - 2))
        person = scene.add("person", spot, size, horse.depth + 30, pose="stand")
        _dress(scene, person, 40)
    elif who == "bird":
        _perch(scene, horse, (sx, sy - 1), 100)


def _car_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    _car(scene, x, y, scene.between(106, 126) * k // 100)


def _table_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    table = scene.add("table", (x, y), scene.between(96, 118) * k // 100, y * 100 + 20, False)
    spots = [-30, 2, 32]
    scene.rng.shuffle(spots)
    for spot in spots[: scene.between(1, 3)]:
        item = scene.pick({"cup": 60, "hat": 10, "ball": 10, "bird": 10, "dog": 7})
        size = {"cup": (17, 22), "hat": (30, 36), "ball": (18, 24), "bird": (24, 30), "dog": (42, 46)}[item]
        look = {"dog": {"pose": "sit"}}.get(item, {})
        thing = scene.add(
            item, table.at(spot, 47), scene.between(*size), table.depth + 3, support=table, **look
        )
        scene.stage(thing, "on", table)
    under = scene.pick({"": 40, "dog": 32, "ball": 28})
    if under == "dog":
        size = min(table.size * 43 // 100, 50)
        dog = scene.add("dog", (x + scene.between(-8, 8), y - 1), size, table.depth - 4, support=table, pose="sit")
        scene.stage(dog, "under", table)
    elif under == "ball":
        ball = scene.add("ball", (x + scene.between(-18, 18), y - 1), scene.between(20, 26), table.depth - 4, support=table)
        scene.stage(ball, "under", table)
    if scene.chance(26):
        size = scene.between(92, 104) * k // 100
        person = scene.add("person", (x + scene.between(-16, 16), y - 6), size, table.depth - 12, pose="stand")
        _dress(scene, person, 40)


def _chase_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    flip = scene.chance(50)
    side = -1 if flip else 1
    dog = scene.add("dog", (x - side * 22 * k // 100, y), scene.between(52, 60) * k // 100, y * 100 + 10, flip, pose="run")
    spot = (x + side * scene.between(34, 44) * k // 100, y)
    if scene.chance(70):
        prey = scene.add("ball", spot, scene.between(20, 26) * k // 100, y * 100 + 12)
    else:
        bird_at = (spot[0], y - scene.between(24, 34))
        prey = scene.add("bird", bird_at, scene.between(26, 32), y * 100 + 12, flip, pose="fly")
    scene.stage(dog, "chasing", prey)


def _kick_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    flip = scene.chance(50)
    side = -1 if flip else 1
    size = scene.between(88, 102) * k // 100
    person = scene.add("person", (x - side * 12, y), size, y * 100 + 10, flip, pose="kick")
    _dress(scene, person, 35)
    fx, fy = person.at(50, 12)
    ball = scene.add("ball", (fx + side * scene.between(3, 9), fy + 2), scene.between(20, 26) * k // 100, y * 100 + 12)
    scene.stage(person, "kicking", ball)


def _kite_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    flip = scene.chance(50)
    person = scene.add("person", (x, y), scene.between(84, 98) * k // 100, y * 100 + 10, flip, pose="raise")
    _dress(scene, person, 40)
    hand = person.at(*figures.HANDS["raise"])
    size = scene.between(34, 46)
    kx = min(max(hand[0] + (-1 if flip else 1) * scene.between(16, 90), 24), scene.width - 24)
    ky = scene.between(size + 8, max(hand[1] - 40, size + 10))
    kite = scene.add("kite", (kx, ky), size, scene.air + 50)
    knot = kite.at(0, 62)
    scene.strokes.append((scene.air + 40, [hand, ((hand[0] + knot[0]) // 2 + 4, (hand[1] + knot[1]) // 2 + 6), knot], (90, 84, 96)))
    scene.stage(person, "flying", kite)


def _parasol_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    parasol = scene.add("umbrella", (x, y - 2), scene.between(112, 124) * k // 100, y * 100 + 10, False)
    side = 1 if scene.chance(50) else -1
    who = scene.pick({"person": 60, "dog": 40})
    if who == "person":
        guest = scene.add("person", (x + side * 22 * k // 100, y + 2), 78 * k // 100, y * 100 + 20, pose="stand")
        if scene.chance(30):
            _hold(scene, guest, "cup")
    else:
        guest = _dog(scene, x + side * 26 * k // 100, y + 2, k * 94 // 100)
    scene.stage(guest, "under", parasol)


def _ball_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    scene.add("ball", (x, y), scene.between(22, 30) * k // 100, y * 100 + 10)


def _bird_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    scene.add("bird", (x, y), scene.between(28, 36) * k // 100, y * 100 + 10)


VIGNETTES: dict[str, tuple[int, Callable]] = {
    "person": (84, _person_vignette),
    "dog": (60, _dog_vignette),
    "horse": (118, _horse_vignette),
    "car": (122, _car_vignette),
    "table": (116, _table_vignette),
    "chase": (104, _chase_vignette),
    "kick": (92, _kick_vignette),
    "kite": (76, _kite_vignette),
    "parasol": (122, _parasol_vignette),
    "ball": (34, _ball_vignette),
    "bird": (40, _bird_vignette),
}
_CASTS = {
    "meadow": {"person": 30, "dog": 8, "horse": 20, "table": 9, "chase": 7, "kick": 5, "kite": 12, "ball": 6, "bird": 5},
    "beach": {"person": 26, "dog": 8, "horse": 8, "parasol": 24, "chase": 5, "kick": 5, "kite": 12, "ball": 8},
    "lake": {"person": 28, "dog": 10, "horse": 14, "parasol": 12, "chase": 4, "kite": 8, "bird": 6, "table": 5},
    "snow": {"person": 40, "dog": 14, "horse": 12, "chase": 4, "kick": 1, "car": 8, "bird": 5, "ball": 3},
    "street": {"car": 48, "person": 26, "dog": 8, "kick": 5, "bird": 5, "horse": 3},
    "room": {"table": 56, "person": 26, "dog": 12, "ball": 8, "kick": 1},
    "night": {"person": 32, "car": 22, "dog": 12, "horse": 12, "chase": 3},
}


# --- the whole scene -----------------------------------------------------------------------------------------------


def _sky(scene: Scene) -> None:
    night = scene.setting == "night"
    if not night and scene.chance(62):
        size = scene.between(34, 46)
        spot = (scene.between(30, scene.width - 30), scene.between(32, 52))
        sun = scene.add("sun", spot, size, SKY, False)
        if scene.chance(24):
            at = (sun.x + scene.between(-18, 18), sun.y + size * 7 // 10)
            scene.add("cloud", at, scene.between(60, 76), SKY + 100)
    for _ in range(scene.pick({"0": 45, "1": 40, "2": 15}).count("1") + (1 if scene.chance(15) else 0)):
        spot = (scene.between(24, scene.width - 24), scene.between(28, max(scene.horizon - 70, 40)))
        scene.add("cloud", spot, scene.between(56, 84), SKY + 50, dark=night)
    if not night and scene.chance(30):
        spot = (scene.between(20, scene.width - 20), scene.between(26, max(scene.horizon - 40, 40)))
        scene.add("bird", spot, scene.between(26, 36), scene.air, pose="fly")


def _back_row(scene: Scene, k: int) -> None:
    if scene.setting == "room":
        for _ in range(scene.between(0, 2)):
            spot = (scene.between(26, scene.width - 26), scene.between(scene.horizon * 50 // 100, scene.horizon - 40))
            if all(abs(other.x - spot[0]) > 58 for other in scene.figures):
                scene.add("window", spot, scene.between(40, 52), SKY)
        return
    if scene.setting in ("beach", "lake"):
        for _ in range(2 if scene.chance(20) else 1 if scene.chance(85) else 0):
            _boat(scene, k)
        if scene.chance(60):
            share = 48 if scene.setting == "beach" else 62
            y = scene.horizon + (scene.height - scene.horizon) * share // 100
            _tree(scene, scene.between(16, 50) if scene.chance(50) else scene.width - scene.between(16, 50), y, 116 * k // 100)
        return
    y = scene.horizon + scene.between(6, 22)
    if scene.chance(68):
        size = scene.between(118, 150) * k // 100
        house = _house(scene, scene.between(size * 2 // 5, scene.width - size * 2 // 5), y, size)
        if scene.chance(50):
            side = -1 if scene.chance(50) else 1
            # A tree whose foot is higher up in the picture stands behind the house, a lower one in front of it.
            offset, shift = (-4, 36) if scene.chance(66) else (scene.between(8, 14), 44)
            _tree(scene, house.x + side * size * shift // 100, y + offset, scene.between(112, 136) * k // 100)
    else:
        for _ in range(scene.between(1, 2)):
            _tree(scene, scene.between(24, scene.width - 24), y + scene.between(-3, 8), scene.between(100, 136) * k // 100)


def _boat(scene: Scene, k: int) -> None:
    depth_range = (scene.height - scene.horizon) * (40 if scene.setting == "beach" else 54) // 100
    size = scene.between(92, 118) * k // 100
    spot = (scene.between(size // 2, scene.width - size // 2), scene.horizon + scene.between(14, max(depth_range, 15)))
    if any(other.name == "boat" and abs(other.x - spot[0]) < 80 for other in scene.figures):
        return
    kind = scene.pick({"row": 55, "sail": 45})
    boat = scene.add("boat", spot, size, spot[1] * 100, kind=kind)
    seats = [-24, 24] if kind == "sail" else [-20, 16]
    for seat in seats[: scene.between(1, 2)] if scene.chance(80) else []:
        who = scene.pick({"person": 72, "dog": 28})
        x, y = boat.at(seat, 16)
        height = scene.between(62, 70) * k // 100
        if who == "person":
            crew = scene.add("person", (x, y + height * 32 // 100), height, boat.depth - 8, support=boat, pose="bust")
            _dress(scene, crew, 40)
        else:
            crew = scene.add("dog", (x, y + 8), 46 * k // 100, boat.depth - 8, support=boat, pose="sit")
        scene.stage(crew, "in", boat)
    if kind == "row":
        _perch(scene, boat, boat.at(45, 22), 14)
    for shift in (-34, -6, 22):
        x, y = boat.at(shift, -2)
        scene.strokes.append((boat.depth + 9, [(x - 10, y), (x - 4, y - 2), (x + 2, y), (x + 8, y - 2)], (236, 246, 250)))


def compose(rng: np.random.RandomState) -> Scene:
    """Draw a setting, its size (H, W in 208..288 pixels) and its cast."""
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
    for _ in range(scene.pick({"1": 3, "22": 5, "333": 3}).__len__()):
        name = scene.pick(_CASTS[setting])
        span = VIGNETTES[name][0] * k // 100
        if span <= budget and (name not in chosen or name in ("person", "dog", "bird")):
            chosen.append(name)
            budget -= span
    x = 0
    for position, name in enumerate(chosen):
        span = VIGNETTES[name][0] * k // 100
        slack = max(budget, 0)
        gap = scene.between(0, slack * 2 // 3) if position < len(chosen) - 1 or len(chosen) == 1 else scene.between(0, slack)
        budget -= gap
        x += gap
        VIGNETTES[name][1](scene, x + span // 2, front - scene.between(0, 12), k)
        x += span
    return scene
