"""docs/tour.md: its commands do what it says, and its images are small."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from benchmarks.photographs import QUANTILES, best_scores, find_photographs
from egtr.data.scenes import SCENES_CLASSES, SCENES_PREDICATES, draw_scene
from egtr.hub import read_info
from egtr.inference import EGTRPredictor
from tests.docs.commands import ROOT, code_blocks, commands, run_code, run_command
from tests.inference.videos import read_video

TEXT = (ROOT / "docs/tour.md").read_text("utf-8")
# These have tests of their own, and need the whole dataset, or do not end.
ELSEWHERE = ("egtr data prepare-scenes", "egtr report", "egtr serve")
# A graph in the terminal, and a video to begin with.
GRAPH_CODE, VIDEO_CODE = code_blocks(TEXT, "python")


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder with the image that the tour speaks of."""
    images = tmp_path / "datasets/scenes/images"
    images.mkdir(parents=True)
    Image.fromarray(draw_scene(0, "test", 298)[0]).save(images / "test_00298.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands(clone):
    # Three frames are enough here.
    run_code(VIDEO_CODE.replace("range(30)", "range(0, 30, 10)"))
    done = [command for command in commands(TEXT) if not command.startswith(ELSEWHERE)]
    for command in done:
        run_command(command)
    assert sorted(command.split()[1] for command in done) == ["demo"] * 3 + ["explain"]
    # Every file that the text says is written.
    for name in re.findall(r"`(output/tour/[\w.]+)`", TEXT):
        assert (clone / name).is_file() or name.endswith(".html"), name
    assert {"test_00298.graphml", "clip.jsonl"} < {path.name for path in (clone / "output/tour").iterdir()}


def test_python(clone):
    """The first block of Python prints the block of text, the other one writes a video of three seconds."""
    (printed,) = code_blocks(TEXT, "text")
    assert run_code(GRAPH_CODE).split() == printed.split()
    assert run_code(VIDEO_CODE) == ""
    frames, rate = read_video(clone / "clip.mp4")
    assert frames.shape == (30, 224, 204, 3) and rate == 10


def test_images_are_small():
    images = re.findall(r"\((images/[^)]+)\)", TEXT)
    assert len(images) == 4
    for image in images:
        assert (ROOT / "docs" / image).stat().st_size < 150_000


def test_scores_of_photographs_are_those_of_the_shipped_model():
    """The threshold of its record is that of the table, and 15 photographs lie below it as the table says."""
    threshold = read_info("scenes").photograph_threshold
    assert f"| below {threshold:.3f} |" in TEXT
    own = re.search(r"^\| `scenes_val` \| (.*) \|$", TEXT, re.M)[1].split(" | ")
    assert float(own[1]) == threshold
    found = np.array(best_scores(EGTRPredictor.create("scenes"), find_photographs()))
    expected = re.search(r"^\| photographs \| (.*) \|$", TEXT, re.M)[1].split(" | ")
    np.testing.assert_allclose(np.quantile(found, QUANTILES), [float(cell) for cell in expected[:-1]], atol=0.001)
    assert expected[-1] == f"{np.mean(found < threshold):.0%}"


def test_scores_in_the_text_are_those_of_the_images():
    best = re.search(r"the best triplet in `\S*` has ([\d.]+), the best one of the drawn scene ([\d.]+)\.", TEXT)
    for text, name in zip(best.groups(), ("tour_photo", "tour_scene"), strict=True):
        graph = json.loads((ROOT / f"docs/images/{name}.json").read_text("utf-8"))
        assert float(text) == round(max(each["score"] for each in graph["relations"]), len(text) - 2)


def test_what_of_the_photograph_is_drawn_by_default():
    """No relation in the image of the low threshold is probable, but some objects are present."""
    graph = json.loads((ROOT / "docs/images/tour_photo.json").read_text("utf-8"))
    assert not [each for each in graph["relations"] if each["probability"] >= 0.3]
    shown = sorted(each["class"] for each in graph["objects"] if each["presence"] >= 0.5)
    assert shown == ["bird"] * 2 and "but two objects are, both\nbirds" in TEXT


def test_every_relation_of_the_scene_is_annotated():
    _, _, classes, relations = draw_scene(0, "test", 298)
    annotated = Counter(
        (SCENES_CLASSES[classes[s]], SCENES_PREDICATES[p], SCENES_CLASSES[classes[o]]) for s, o, p in relations
    )
    graph = json.loads((ROOT / "docs/images/tour_scene.json").read_text("utf-8"))
    kinds = [found["class"] for found in graph["objects"]]
    shown = Counter((kinds[each["subject"]], each["predicate"], kinds[each["object"]]) for each in graph["relations"])
    assert shown.total() == 6 and shown <= annotated and "every relation drawn is annotated" in TEXT
