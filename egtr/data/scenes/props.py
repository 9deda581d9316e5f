"""Figures with their parts and belongings: a house and its windows, a car and its driver, hats, held things.

Each function stages the relations that it brings about. ``k`` is the scene's scale of figures in percent.
"""

from __future__ import annotations

from . import figures, things
from .canvas import Point
from .scene import Figure, Scene


def dress(scene: Scene, person: Figure, percent: int) -> None:
    """Put a hat (rarely a bird) on a person's head with some probability."""
    if scene.chance(percent):
        person.look["bald"] = True
        brim, size = person.at(0, 90), person.size * 42 // 100
        hat = scene.add("hat", brim, size, person.depth + 4, scene.chance(50), support=person)
        scene.stage(person, "wearing", hat)
    elif scene.chance(3):
        bird = scene.add("bird", person.at(0, 95), scene.between(22, 26), person.depth + 4, support=person)
        scene.stage(bird, "on", person)


def hold(scene: Scene, person: Figure, item: str) -> None:
    """Put an umbrella, a cup, a ball, a kite or a hat into a person's hand."""
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


def perch(scene: Scene, host: Figure, spot: Point, percent: int) -> None:
    """Set a bird on something with some probability, unless the upper border of the image would cut it."""
    if spot[1] > 30 and scene.chance(percent):
        bird = scene.add("bird", spot, scene.between(22, 30), host.depth + 5, support=host)
        scene.stage(bird, "on", host)


def add_house(scene: Scene, x: int, y: int, size: int) -> Figure:
    """Add a house with one to three windows, lit at night, maybe with a bird on the roof."""
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
    perch(scene, house, house.at(0, 77 if gable else 73), 16)
    return house


def add_tree(scene: Scene, x: int, y: int, size: int) -> None:
    """Add a tree that suits the setting, maybe with a bird on top or a kite caught in it."""
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
        perch(scene, tree, tree.at(0, 97), 14)
        if scene.setting != "night" and scene.chance(5):
            spot = tree.at(scene.between(-8, 8), 48)
            kite = scene.add("kite", spot, scene.between(32, 38), tree.depth + 3, support=tree)
            scene.stage(kite, "in", tree)


def add_car(scene: Scene, x: int, y: int, size: int) -> None:
    """Add a car with two wheels: an open one mostly with a driver, another one maybe with a bird on the roof."""
    kind = scene.pick({"sedan": 4, "van": 3, "open": 4})
    car = scene.add("car", (x, y), size, y * 100 + 10, kind=kind)
    for spot in things.WHEELS:
        wheel = scene.add("wheel", car.at(*spot), size * 25 // 100, car.depth + 2, parent=car, support=car)
        scene.stage(car, "has", wheel)
    if kind == "open" and scene.chance(85):
        seat = -20 if scene.chance(40) else -6
        height = size * scene.between(58, 66) // 100
        sx, sy = car.at(seat, 24)
        driver = scene.add(
            "person", (sx, sy + height * figures.HIP // 100), height, car.depth - 8, support=car, pose="bust"
        )
        scene.stage(driver, "in", car)
        dress(scene, driver, 30)
    elif kind != "open":
        perch(scene, car, car.at(-18, 57), 10)


def add_dog(scene: Scene, x: int, y: int, k: int) -> Figure:
    """Add a dog that sits or stands, now and then with a hat."""
    pose = "sit" if scene.chance(40) else "stand"
    dog = scene.add("dog", (x, y), scene.between(48, 58) * k // 100, y * 100 + 20, pose=pose)
    if scene.chance(14):
        spot = dog.at(20, 88) if pose == "sit" else dog.at(30, 82)
        hat = scene.add("hat", spot, dog.size * 56 // 100, dog.depth + 3, dog.flip, support=dog)
        scene.stage(dog, "wearing", hat)
    return dog


def add_boat(scene: Scene, k: int) -> None:
    """Add a boat on the water, mostly with a crew, unless another boat is too close."""
    depth_range = (scene.height - scene.horizon) * (40 if scene.setting == "beach" else 54) // 100
    size = scene.between(92, 118) * k // 100
    x = scene.between(size // 2, scene.width - size // 2)
    y = scene.horizon + scene.between(14, max(depth_range, 15))
    if any(other.name == "boat" and abs(other.x - x) < 80 for other in scene.figures):
        return
    kind = scene.pick({"row": 55, "sail": 45})
    boat = scene.add("boat", (x, y), size, y * 100, kind=kind)
    seats = [-24, 24] if kind == "sail" else [-20, 16]
    for seat in seats[: scene.between(1, 2)] if scene.chance(80) else []:
        who = scene.pick({"person": 72, "dog": 28})
        x, y = boat.at(seat, 16)
        height = scene.between(62, 70) * k // 100
        if who == "person":
            crew = scene.add("person", (x, y + height * 32 // 100), height, boat.depth - 8, support=boat, pose="bust")
            dress(scene, crew, 40)
        else:
            crew = scene.add("dog", (x, y + 8), 46 * k // 100, boat.depth - 8, support=boat, pose="sit")
        scene.stage(crew, "in", boat)
    if kind == "row":
        perch(scene, boat, boat.at(45, 22), 14)
    for shift in (-34, -6, 22):
        x, y = boat.at(shift, -2)
        wave = [(x - 10, y), (x - 4, y - 2), (x + 2, y), (x + 8, y - 2)]
        scene.strokes.append((boat.depth + 9, wave, (236, 246, 250)))
