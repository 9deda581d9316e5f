"""Sheets of image and graph: size, colours, and sense at the extremes."""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from PIL import Image

from egtr.structures import EGTRError, SceneGraph
from egtr.visualization import draw_scene_graph, figure_to_array, save_scene_graph
from egtr.visualization.draw import fit_graph
from egtr.visualization.palette import object_colors

CLASSES = ("person", "dog", "hat", "umbrella", "tree")
PREDICATES = ("wearing", "holding", "near", "in front of")


def make_graph(num_objects, num_triplets, size=(90, 120), seed=0, class_names=CLASSES):
    random = np.random.RandomState(seed)
    height, width = size
    corners = random.uniform(0, 0.7, (num_objects, 2)) * (width, height)
    sides = random.uniform(0.1, 0.3, (num_objects, 2)) * (width, height)
    triplets = [(*random.choice(num_objects, 2, replace=False), random.randint(4)) for _ in range(num_triplets)]
    return SceneGraph(
        boxes=np.concatenate([corners, corners + sides], axis=1).astype(np.float32),
        classes=random.randint(0, len(CLASSES), num_objects),
        scores=random.uniform(0.5, 1, num_objects).astype(np.float32),
        triplets=np.array(triplets, dtype=np.int64).reshape(-1, 3),
        triplet_scores=np.sort(random.uniform(0.1, 1, num_triplets)).astype(np.float32)[::-1],
        image_size=size,
        class_names=class_names,
        predicate_names=PREDICATES,
    )


def count_colors(pixels):
    """A function that says how many pixels have a colour given in 0..1, give or take a step of rounding."""
    found, counts = np.unique(pixels.reshape(-1, 3) @ np.array([65536, 256, 1]), return_counts=True)
    found = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1)
    return lambda color: counts[(np.abs(found - np.asarray(color) * 255) < 1.5).all(axis=1)].sum()


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


@pytest.mark.parametrize(
    ("objects", "relations", "size"),
    [
        (0, 0, (90, 120)),
        (1, 0, (90, 120)),
        (6, 0, (90, 120)),
        (2, 1, (90, 120)),
        (2, 5, (90, 120)),
        (25, 12, (90, 120)),
        (4, 3, (64, 64)),
        (3, 2, (1, 1)),
        (4, 3, (2000, 3000)),
        (6, 4, (40, 1600)),
        (6, 4, (1600, 40)),
    ],
)
def test_every_sheet_has_its_size_its_colours_and_all_names(objects, relations, size):
    graph = make_graph(objects, relations, size)
    figure = draw_scene_graph(np.full((*size, 3), 90, dtype=np.uint8), graph)
    pixels = figure_to_array(figure, dpi=72)
    # a slide's width, or more where there is much to draw; never a strip or a tower
    height, width = pixels.shape[:2]
    assert 960 <= width <= 960 * 1.81 and 0.35 < height / width < 0.85
    assert pixels.dtype == np.uint8
    count = count_colors(pixels)
    assert count((90 / 255,) * 3) > 50  # the image itself
    # margins: nothing touches the edge of the sheet
    frame = np.concatenate([pixels[:6].reshape(-1, 3), pixels[-6:].reshape(-1, 3), pixels[:, :6].reshape(-1, 3)])
    assert (frame == 255).all() and (pixels[:, -6:] == 255).all()
    for color in object_colors(objects):
        assert count(color) > 100
    shown = texts(figure)
    for name in CLASSES:
        number = int((graph.classes == CLASSES.index(name)).sum())
        wanted = [name] if number == 1 else [f"{name} {k + 1}" for k in range(number)]
        for label in wanted:
            assert shown.count(label) == 2  # once in the image, once in the graph
    for predicate in PREDICATES:
        assert shown.count(predicate) == (graph.triplets[:, 2] == PREDICATES.index(predicate)).sum()
    assert ("no relations" in shown) == (relations == 0 and objects > 0)
    assert ("no objects, no relations" in shown) == (objects == 0)


def test_texts_lie_on_the_sheet_and_do_not_overlap():
    figure = draw_scene_graph(np.zeros((90, 120, 3), np.uint8), make_graph(12, 12), title="A title")
    figure_to_array(figure, dpi=100)
    renderer = figure.canvas.get_renderer()
    extents = [t.get_window_extent(renderer).extents for t in figure.findobj(Text) if t.get_text()]
    assert len(extents) == 12 * 2 + 12 + 1
    width, height = figure.canvas.get_width_height()
    for k, (x1, y1, x2, y2) in enumerate(extents):
        assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
        for u1, v1, u2, v2 in extents[:k]:
            assert min(x2, u2) <= max(x1, u1) or min(y2, v2) <= max(y1, v1)


@pytest.mark.parametrize(
    ("objects", "relations", "note"),
    [
        # 20 relations join 40 objects, or nearly so where they share some.
        (600, 5000, r"60 of 600 objects and 2\d of 5,000 relations are drawn: those of the highest scores"),
        (600, 0, "60 of 600 objects and 0 of 0 relations are drawn: those of the highest scores"),
        (40, 5000, r"\d\d of 40 objects and 60 of 5,000 relations are drawn: those of the highest scores"),
        (2, 5000, "2 of 2 objects and 5 of 5,000 relations are drawn: those of the highest scores"),
    ],
)
def test_a_graph_of_any_size_says_what_is_drawn(objects, relations, note):
    shown = texts(draw_scene_graph(np.zeros((240, 320, 3), np.uint8), make_graph(objects, relations, (240, 320))))
    assert any(re.fullmatch(note, text) for text in shown), shown
    # At most 60 names in each half, as many predicates, and the note.
    assert len(shown) <= 60 + 60 + 60 + 1 + (relations == 0)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of a process from Linux")
def test_a_graph_of_any_size_takes_bounded_time_and_memory():
    """In a process of its own; getrusage() would count the memory of the process that started it."""
    program = """
import re, time
from pathlib import Path
import numpy as np
from egtr.visualization import draw_scene_graph, figure_to_array
from tests.visualization.test_draw import make_graph
for objects, relations in ((600, 5000), (600, 0), (40, 5000), (2, 5000)):
    graph = make_graph(objects, relations, (240, 320))
    seconds = []
    for _ in range(2):
        begin = time.process_time()
        figure_to_array(draw_scene_graph(np.zeros((240, 320, 3), np.uint8), graph), dpi=80)
        seconds.append(time.process_time() - begin)
    print(min(seconds))
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text()).group(1))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *seconds, kilobytes = map(float, done.stdout.split())
    assert len(seconds) == 4 and max(seconds) < 3
    assert kilobytes < 300_000


def test_what_has_no_room_is_of_lower_score():
    """Relations 0-1, 2-3, ... of falling scores; 40 objects take part in the first 20 of them."""
    pairs = np.arange(100).reshape(50, 2)
    graph = SceneGraph(
        boxes=np.tile([0, 0, 9, 9], (110, 1)),
        classes=np.zeros(110),
        # Of those that no relation joins, the last ones are best.
        scores=np.linspace(0.1, 0.9, 110),
        triplets=np.column_stack([pairs, np.zeros(50)]),
        triplet_scores=np.linspace(0.9, 0.1, 50),
        image_size=(9, 9),
    )
    drawn, note = fit_graph(graph)
    assert drawn.query_index.tolist() == [*range(40), *range(90, 110)]
    assert drawn.triplets.tolist() == [[s, s + 1, 0] for s in range(0, 40, 2)]
    assert note.startswith("60 of 110 objects and 20 of 50 relations are drawn")
    small, nothing = fit_graph(drawn)
    assert small is drawn and nothing is None


def test_many_relations_of_two_objects():
    """The five best ones between the same two objects, in either direction; loops are a pair of their own."""
    ends = [(0, 1), (1, 0), (0, 0)] * 4
    graph = make_graph(2, 12)
    graph.triplets = np.array([(*pair, row % 4) for row, pair in enumerate(ends)])
    drawn, _ = fit_graph(graph)
    rows = [0, 1, 2, 3, 4, 5, 6, 8, 11]  # 7, 9 and 10 are further ones between 0 and 1
    assert drawn.triplets.tolist() == graph.triplets[rows].tolist()


def test_boxes_land_where_the_objects_are():
    """The right half of an image is boxed: the frame runs around that half of the image's place on the sheet."""
    image, graph = np.zeros((100, 200, 3), np.uint8), make_graph(1, 0, (100, 200))
    graph.boxes = np.array([[100, 0, 200, 100]], dtype=np.float32)
    empty = figure_to_array(draw_scene_graph(image, make_graph(0, 0, (100, 200))), dpi=72)
    rows, columns = np.nonzero((empty == 0).all(axis=2))
    left, right, top, bottom = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    assert abs((right - left) - 2 * (bottom - top)) <= 2

    def where_framed(image):
        pixels = figure_to_array(draw_scene_graph(image, graph), dpi=72)
        colored = (np.abs(pixels - object_colors(1)[0] * 255) < 3).all(axis=2)
        # long runs: the sides of the frame, not label or node
        return np.flatnonzero(colored.sum(axis=0) > 100), np.flatnonzero(colored.sum(axis=1) > 150)

    columns, rows = where_framed(image)
    # a side is 2.4 wide, half of it on either side of the object's edge
    assert abs(columns.min() - (left + right) / 2) <= 2 and abs(columns.max() - right) <= 2
    assert abs(rows.min() - top) <= 2 and abs(rows.max() - bottom) <= 2
    # a scaled copy of the image is boxed at the same place
    smaller = where_framed(image[::2, ::2])
    assert np.array_equal(smaller[0], columns) and np.array_equal(smaller[1], rows)


def test_numbers_count_from_left_to_right():
    graph = make_graph(3, 1)
    graph.classes = np.array([1, 1, 0])
    graph.boxes = np.array([[60, 10, 80, 30], [10, 10, 30, 30], [0, 0, 100, 80]], dtype=np.float32)
    graph.triplets = np.array([[2, 0, 2]])
    figure = draw_scene_graph(np.zeros((90, 120, 3), np.uint8), graph)
    first = {t.get_text(): t.get_position()[0] for t in reversed(figure.findobj(Text)) if t.get_text()}
    assert set(first) == {"dog 1", "dog 2", "person", "near"}
    assert first["dog 1"] < first["dog 2"]


def test_scores_and_width_by_score():
    graph = make_graph(3, 2)
    graph.triplets = np.array([[0, 1, 0], [1, 2, 1]])
    graph.triplet_scores = np.array([0.8, 0.2], dtype=np.float32)
    figure = draw_scene_graph(np.zeros((90, 120, 3), np.uint8), graph, show_scores=True)
    assert {"wearing 0.80", "holding 0.20"} <= set(texts(figure))
    arrows = [p for p in figure.axes[0].patches if type(p).__name__ == "FancyArrowPatch"]
    assert len(arrows) == 2 and arrows[0].get_linewidth() > 1.5 * arrows[1].get_linewidth()


def test_probabilities_stand_in_place_of_scores():
    graph = make_graph(2, 1)
    graph.triplet_probabilities, graph.object_probabilities = np.float32([0.77]), np.float32([0.66, 0.55])
    shown = texts(draw_scene_graph(np.zeros((90, 120, 3), np.uint8), graph, show_scores=True))
    assert {text[-4:] for text in shown if text[-4:-2] == "0."} == {"0.77", "0.66", "0.55"}


def test_odd_names():
    """Dollars start no formula, long names are cut, absent names become numbers."""
    graph = make_graph(2, 1, class_names=("$x_1$ ^", "a very long name " * 9, "c", "d", "e"))
    graph.classes = np.array([0, 1])
    shown = texts(draw_scene_graph(np.zeros((90, 120, 3), np.uint8), graph))
    assert "$x_1$ ^" in shown and max(map(len, shown)) == 28
    graph.class_names = graph.predicate_names = None
    assert {"class 0", "class 1"} <= set(texts(draw_scene_graph(np.zeros((90, 120, 3), np.uint8), graph)))


def test_settings_of_the_user_change_nothing():
    image, graph = np.zeros((90, 120, 3), np.uint8), make_graph(3, 2)
    plain = figure_to_array(draw_scene_graph(image, graph), dpi=50)
    with matplotlib.rc_context({"text.usetex": True, "font.family": "serif", "font.size": 30}):
        assert np.array_equal(figure_to_array(draw_scene_graph(image, graph), dpi=50), plain)


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_files(tmp_path, suffix, start):
    path = tmp_path / "new" / "folder" / f"image{suffix}"
    save_scene_graph(path, np.full((90, 120, 3), 90, np.uint8), make_graph(3, 2), dpi=150)
    assert path.read_bytes().startswith(start)
    if suffix == ".png":
        with Image.open(path) as image:
            # 13.33 inches; 150 dots on each is what a print or a projector shows
            assert image.width == 2000 and image.mode in ("RGB", "RGBA")
            assert round(image.info["dpi"][0]) == 150


def test_pyplot_is_not_involved(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(25):  # pyplot would warn at the 21st open figure
            draw_scene_graph(np.zeros((9, 12, 3), np.uint8), make_graph(1, 0))


@pytest.mark.parametrize(
    ("shape", "dtype"), [((9, 9), "uint8"), ((9, 9, 3), "float64"), ((3, 9, 9), "uint8"), ((0, 9, 3), "uint8")]
)
def test_bad_image(shape, dtype):
    with pytest.raises(EGTRError, match="uint8"):
        draw_scene_graph(np.zeros(shape, dtype), make_graph(1, 0))


def test_bad_suffix(tmp_path):
    with pytest.raises(EGTRError, match="image.docx.*png"):
        save_scene_graph(tmp_path / "image.docx", np.zeros((9, 9, 3), np.uint8), make_graph(1, 0))
    assert not list(tmp_path.iterdir())


def test_object_colors_are_what_the_nodes_wear():
    graph = make_graph(2, 1)
    figure = draw_scene_graph(np.zeros((90, 120, 3), np.uint8), graph)
    fills = [to_rgb(p.get_facecolor()) for p in figure.axes[0].patches if type(p).__name__ == "FancyBboxPatch"]
    frames = [to_rgb(p.get_edgecolor()) for p in figure.axes[0].patches if type(p).__name__ == "Rectangle"]
    for color in object_colors(2):
        # one label and one node are filled with it, one box is drawn in it
        assert sum(np.allclose(fill, color) for fill in fills) == 2
        assert sum(np.allclose(frame, color) for frame in frames) == 1
