"""The little stories of the front row: a rider, a laid table, a dog after its ball, a kick, a parasol.

Each function takes the middle ``x`` of its place, the row ``y`` of its ground and ``k``, the scale of figures in
percent.
"""

from __future__ import annotations

from collections.abc import Callable

from . import figures
from .props import add_car, add_dog, dress, hold, perch
from .scene import Scene


def _person_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    flip = scene.chance(50)
    person = scene.add("person", (x, y), scene.between(86, 104) * k // 100, y * 100 + 10, flip, pose="stand")
    item = scene.pick({"": 40, "umbrella": 16, "cup": 12, "ball": 12, "kite": 5, "hat": 5})
    if scene.setting == "room" and item in ("umbrella", "kite"):
        item = "cup"
    if item:
        hold(scene, person, item)
    if item != "hat":
        dress(scene, person, 50)
    if scene.chance(30):
        side = 1 if flip else -1
        add_dog(scene, x + side * scene.between(52, 60) * k // 100, y + scene.between(-3, 4), k)


def _dog_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    add_dog(scene, x, y, k)


def _horse_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    horse = scene.add("horse", (x, y), scene.between(90, 106) * k // 100, y * 100 + 10)
    who = scene.pick({"person": 56, "dog": 8, "bird": 8, "front": 14, "": 14})
    sx, sy = horse.at(-4, 61)
    if who == "person":
        size = scene.between(74, 84) * k // 100
        seat = (sx, sy + size * figures.HIP // 100)
        rider = scene.add("person", seat, size, horse.depth + 10, horse.flip, support=horse, pose="ride")
        scene.stage(rider, "riding", horse)
        dress(scene, rider, 50)
    elif who == "dog":
        dog = scene.add("dog", (sx, sy + 3), 48 * k // 100, horse.depth + 10, horse.flip, support=horse, pose="sit")
        scene.stage(dog, "riding", horse)
    elif who == "front":
        size = scene.between(78, 90) * k // 100
        spot = (x + scene.between(-22, 10), min(y + scene.between(6, 12), scene.height - 2))
        person = scene.add("person", spot, size, horse.depth + 30, pose="stand")
        dress(scene, person, 40)
    elif who == "bird":
        perch(scene, horse, (sx, sy - 1), 100)


def _car_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    add_car(scene, x, y, scene.between(106, 126) * k // 100)


def _table_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    table = scene.add("table", (x, y), scene.between(96, 118) * k // 100, y * 100 + 20, False)
    spots = [-30, 2, 32]
    scene.rng.shuffle(spots)
    for spot in spots[: scene.between(1, 3)]:
        item = scene.pick({"cup": 60, "hat": 10, "ball": 10, "bird": 10, "dog": 7})
        size = {"cup": (17, 22), "hat": (30, 36), "ball": (18, 24), "bird": (24, 30), "dog": (42, 46)}[item]
        look = {"dog": {"pose": "sit"}}.get(item, {})
        thing = scene.add(item, table.at(spot, 47), scene.between(*size), table.depth + 3, support=table, **look)
        scene.stage(thing, "on", table)
    under = scene.pick({"": 40, "dog": 32, "ball": 28})
    if under == "dog":
        size = min(table.size * 43 // 100, 50)
        dog = scene.add("dog", (x + scene.between(-8, 8), y - 1), size, table.depth - 4, support=table, pose="sit")
        scene.stage(dog, "under", table)
    elif under == "ball":
        spot = (x + scene.between(-18, 18), y - 1)
        ball = scene.add("ball", spot, scene.between(20, 26), table.depth - 4, support=table)
        scene.stage(ball, "under", table)
    if scene.chance(26):
        size = scene.between(92, 104) * k // 100
        person = scene.add("person", (x + scene.between(-16, 16), y - 6), size, table.depth - 12, pose="stand")
        dress(scene, person, 40)


def _chase_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    flip = scene.chance(50)
    side = -1 if flip else 1
    size = scene.between(52, 60) * k // 100
    dog = scene.add("dog", (x - side * 22 * k // 100, y), size, y * 100 + 10, flip, pose="run")
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
    dress(scene, person, 35)
    fx, fy = person.at(50, 12)
    spot = (fx + side * scene.between(3, 9), fy + 2)
    ball = scene.add("ball", spot, scene.between(20, 26) * k // 100, y * 100 + 12)
    scene.stage(person, "kicking", ball)


def _kite_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    flip = scene.chance(50)
    person = scene.add("person", (x, y), scene.between(84, 98) * k // 100, y * 100 + 10, flip, pose="raise")
    dress(scene, person, 40)
    hand = person.at(*figures.HANDS["raise"])
    size = scene.between(34, 46)
    kx = min(max(hand[0] + (-1 if flip else 1) * scene.between(16, 90), 24), scene.width - 24)
    ky = scene.between(size + 8, max(hand[1] - 40, size + 10))
    kite = scene.add("kite", (kx, ky), size, scene.air + 50)
    knot = kite.at(0, 62)
    slack = ((hand[0] + knot[0]) // 2 + 4, (hand[1] + knot[1]) // 2 + 6)
    scene.strokes.append((scene.air + 40, [hand, slack, knot], (90, 84, 96)))
    scene.stage(person, "flying", kite)


def _parasol_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    parasol = scene.add("umbrella", (x, y - 2), scene.between(112, 124) * k // 100, y * 100 + 10, False)
    side = 1 if scene.chance(50) else -1
    who = scene.pick({"person": 60, "dog": 40})
    if who == "person":
        guest = scene.add("person", (x + side * 22 * k // 100, y + 2), 78 * k // 100, y * 100 + 20, pose="stand")
        if scene.chance(30):
            hold(scene, guest, "cup")
    else:
        guest = add_dog(scene, x + side * 26 * k // 100, y + 2, k * 94 // 100)
    scene.stage(guest, "under", parasol)


def _ball_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    scene.add("ball", (x, y), scene.between(22, 30) * k // 100, y * 100 + 10)


def _bird_vignette(scene: Scene, x: int, y: int, k: int) -> None:
    scene.add("bird", (x, y), scene.between(28, 36) * k // 100, y * 100 + 10)


# The width that each takes, in pixels at a scale of 100 percent, and its function.
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
