"""SceneGraph's own methods: drawing, saving, and the look in a notebook."""

import io
import json
import subprocess
import sys
from dataclasses import replace

import networkx
import numpy as np
import pytest
from PIL import Image

from egtr.structures import (
    ConfigurationError,
    DataError,
    Prediction,
    PredictionError,
    SceneGraph,
    WriteError,
    all_pairs,
)
from egtr.visualization import figure_to_array
from egtr.visualization.own_image import load_own_image
from tests.inference.videos import write_video

RED, BLUE = (200, 0, 0), (0, 0, 200)


def make_graph(**options):
    """A man in the left half and a hat in the right one, of an image of 60 x 40."""
    fields = {
        "boxes": [[2, 2, 28, 38], [32, 2, 58, 38]],
        "classes": [0, 1],
        "scores": [0.9, 0.8],
        "triplets": [[0, 1, 0]],
        "triplet_scores": [0.5],
        "image_size": (40, 60),
        "class_names": ("man", "hat"),
        "predicate_names": ("has",),
    }
    return SceneGraph(**{**fields, **options})


@pytest.fixture
def red(tmp_path):
    """The file of a red image of 60 x 40."""
    path = tmp_path / "red.png"
    Image.new("RGB", (60, 40), RED).save(path)
    return str(path)


def count(pixels, colour):
    """Count pixels of nearly this colour."""
    return (np.abs(pixels.astype(int) - colour).max(axis=-1) < 20).sum()


def read_texts(figure):
    return {text.get_text() for text in figure.axes[0].texts}


def test_the_image_is_the_graphs_own_or_one_that_is_given(red):
    own = figure_to_array(make_graph(file_name=red).draw(), dpi=40)
    assert count(own, RED) > 1000 and count(own, BLUE) == 0
    blue = np.full((40, 60, 3), BLUE, dtype=np.uint8)
    for image, order in ((Image.fromarray(blue), None), (blue, "RGB"), (blue[..., ::-1], "BGR")):
        given = figure_to_array(make_graph(file_name=red).draw(image, order), dpi=40)
        assert count(given, BLUE) > 1000 and count(given, RED) == 0
    # A copy of half the size will do.
    assert load_own_image(make_graph(), Image.new("RGB", (30, 20), RED)).shape == (20, 30, 3)


def test_a_frame_of_a_video(tmp_path):
    path = tmp_path / "clip.avi"
    write_video(path, [np.full((40, 60, 3), colour, np.uint8) for colour in (RED, BLUE)])
    graph = make_graph(file_name=str(path), frame=1, time=0.1)
    assert count(load_own_image(graph), BLUE) > 2000
    with pytest.raises(PredictionError, match=r"clip.avi: has no frame 7; give the image"):
        replace(graph, frame=7).draw()


def test_an_image_that_is_not_there(tmp_path, red):
    with pytest.raises(PredictionError, match=r"does not know the file of its image; give the image"):
        make_graph().draw()
    with pytest.raises(DataError, match="gone.png"):
        make_graph(file_name=str(tmp_path / "gone.png")).draw()
    with pytest.raises(PredictionError, match=r"red.png: is 60 x 40 pixels, but the graph is of an image of 40 x 60"):
        make_graph(file_name=red, image_size=(60, 40)).draw()


def test_what_a_model_returns_is_drawn_as_for_display(red):
    """Query 2 shows nothing, and the weak triplet is below a twentieth of the best."""
    logits = np.array([[9, -9], [-9, 9], [-9, -12]], dtype=np.float32)
    relation = np.zeros((9, 1), dtype=np.float32)
    relation[[1, 3]] = [[0.9], [0.01]]
    boxes = [*make_graph().boxes, [5, 5, 9, 9]]
    prediction = Prediction(logits, boxes, all_pairs(3), np.ones(9), relation, (40, 60))
    graph = SceneGraph.from_prediction(prediction, ("man", "hat"), ("has",))
    graph.file_name = red
    assert graph.holds_all_queries() and len(graph) == 6
    assert read_texts(graph.draw()) == read_texts(graph.for_display().draw())
    # A selection of the caller is drawn as it is.
    chosen = graph.filter(min_score=0.001)
    assert len(chosen) == 2 and not chosen.holds_all_queries()
    first = [text for text in chosen.draw().axes[0].texts if text.get_text() == "has"]
    assert len(first) == 2


def test_a_graph_of_given_boxes_is_drawn_like_one_of_all_queries():
    boxes, names = [[0, 0, 20, 20], [30, 10, 50, 30]], {"class_names": ("a", "b"), "predicate_names": ("has",)}
    triplets = [[0, 1, 0], [1, 0, 0]]
    graph = SceneGraph(boxes, [0, 1], [1, 1], triplets, [0.5, 1e-5], (40, 60), **names, presence=[1, 1])
    assert not graph.holds_all_queries()
    graph.given = np.array([True, True])
    assert graph.holds_all_queries() and not graph.for_display().holds_all_queries()


def test_the_suffix_decides_what_is_saved(red, tmp_path):
    graph = make_graph(file_name=red)
    for name in ("a.json", "b.graphml", "c.png", "d.svg"):
        graph.save(tmp_path / name)
    assert json.loads((tmp_path / "a.json").read_text()) == graph.to_dict()
    assert networkx.read_graphml(tmp_path / "b.graphml").number_of_edges() == 1
    with Image.open(tmp_path / "c.png") as image:
        assert count(np.asarray(image.convert("RGB")), RED) > 1000
    assert (tmp_path / "d.svg").read_text().startswith("<?xml")
    graph.save(str(tmp_path / "blue.png"), Image.new("RGB", (60, 40), BLUE), title="A title")
    with Image.open(tmp_path / "blue.png") as image:
        assert count(np.asarray(image.convert("RGB")), BLUE) > 1000
    with pytest.raises(ConfigurationError, match="'.txt' is no format of images"):
        graph.save(tmp_path / "graph.txt")
    with pytest.raises(WriteError, match="red.png"):
        graph.save(f"{red}/graph.png")


def test_a_notebook_shows_the_drawing_even_without_the_image(red, tmp_path):
    for file_name, red_pixels in ((red, True), (str(tmp_path / "gone.png"), False), (None, False)):
        with Image.open(io.BytesIO(make_graph(file_name=file_name)._repr_png_())) as image:
            assert image.format == "PNG" and image.width == 1066
            assert (count(np.asarray(image.convert("RGB")), RED) > 1000) == red_pixels


def test_structures_stay_light_until_something_is_drawn():
    code = (
        "import sys\nfrom egtr.structures import SceneGraph\nimport numpy as np\n"
        "assert not {'matplotlib', 'egtr.visualization'} & set(sys.modules)\n"
        "graph = SceneGraph([[0, 0, 5, 5]], [0], [1], [], [], (8, 8))\n"
        "graph.draw(np.zeros((8, 8, 3), np.uint8), 'RGB')\n"
        "assert 'matplotlib' in sys.modules and not {'torch', 'detectron2'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
