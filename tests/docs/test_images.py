"""Images of the documentation: each has its command, and each graph shown is what the model finds."""

import json
import os
import re
import runpy

import numpy as np
import pytest
from matplotlib.cbook import get_sample_data
from PIL import Image

import egtr
from egtr.data.scenes import draw_scene
from tests.docs.commands import PAGES, ROOT, code_blocks, run_code
from tests.inference.videos import read_video

IMAGES = runpy.run_path(str(ROOT / "tools/make_images.py"))["ALL"]
WITH_GRAPH = [image for image in IMAGES if image.graph]


@pytest.fixture(scope="module")
def predictor():
    return egtr.EGTRPredictor.create("scenes")


def read_input(command):
    """The image that a command draws: a drawn scene, or matplotlib's photo."""
    scene = re.search(r"test_(\d+)\.png", command)
    if scene:
        return draw_scene(0, "test", int(scene[1]))[0]
    return np.asarray(Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB"))


def test_every_image_shown_has_a_command():
    shown = set()
    for page in PAGES:
        for link in re.findall(r"!\[[^\]]*\]\(([^)]+\.(?:png|jpg|webp))\)", page.read_text("utf-8")):
            shown.add((page.parent / link).resolve())
    assert shown == {image.path for image in IMAGES}


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.path.name)
def test_the_page_has_the_command(image):
    text = re.sub(r"\\\n +", "", (ROOT / image.page).read_text("utf-8"))
    assert image.command in text
    # The link to the image, as the page writes it.
    assert os.path.relpath(image.path, (ROOT / image.page).parent) in text


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.path.name)
def test_size(image):
    assert 10_000 < image.path.stat().st_size < 250_000


BY_NAME = {image.path.name: image for image in IMAGES}


@pytest.mark.parametrize("image", [i for i in WITH_GRAPH if "egtr demo --" in i.command], ids=lambda i: i.path.name)
def test_the_graph_shown_is_what_the_command_gives(image, predictor):
    threshold = re.search(r"--confidence-threshold (\S+)", image.command)
    min_score = float(threshold[1]) if threshold else None
    graph = predictor(read_input(image.command), "RGB")
    check_graph(graph, json.loads(image.graph_path.read_text("utf-8")), min_score)


def check_graph(graph, stored, min_score=None):
    graph = graph.for_display(min_score).to_dict()
    assert [(o["class"], o["query"]) for o in graph["objects"]] == [
        (o["class"], o["query"]) for o in stored["objects"]
    ]
    words = ("subject", "predicate", "object")
    assert [[r[w] for w in words] for r in graph["relations"]] == [[r[w] for w in words] for r in stored["relations"]]
    for kind in ("objects", "relations"):
        np.testing.assert_allclose(
            [row["score"] for row in graph[kind]], [row["score"] for row in stored[kind]], atol=1e-3
        )
    boxes = [row["box"] for row in graph["objects"]]
    np.testing.assert_allclose(boxes, [row["box"] for row in stored["objects"]], atol=0.5)


@pytest.mark.parametrize("image", [i for i in WITH_GRAPH if "explain" in i.command], ids=lambda i: i.path.name)
def test_the_explanation_shown_is_what_the_command_gives(image, predictor):
    (stored,) = json.loads(image.graph_path.read_text("utf-8"))
    pixels = read_input(image.command)
    graph = predictor(pixels, "RGB").for_display(top_k=1)
    (explanation,) = (e.to_dict() for e in egtr.explain_graph(predictor, pixels, graph, channel_order="RGB"))
    assert explanation.keys() == stored.keys()
    assert explanation["predicate"] == stored["predicate"]
    assert explanation["score"] == pytest.approx(stored["score"], abs=1e-3)


def test_the_frames_shown_are_what_the_command_gives(predictor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "datasets/scenes/images"
    folder.mkdir(parents=True)
    Image.fromarray(draw_scene(0, "test", 298)[0]).save(folder / "test_00298.png")
    (code,) = (
        block for block in code_blocks((ROOT / "docs/tour.md").read_text("utf-8"), "python") if "clip" in block
    )
    run_code(code)
    stored = json.loads(BY_NAME["tour_video.jpg"].graph_path.read_text("utf-8"))
    assert [record["source"]["frame"] for record in stored] == [0, 14, 29]
    for record in stored:
        frame = read_video("clip.mp4")[0][record["source"]["frame"]]
        check_graph(predictor(frame, "RGB"), record)


def test_the_triplets_of_the_report_are_what_the_command_gives(predictor):
    """Its first image is the first one of the dataset; a page writes numbers after names, and two digits or three."""
    stored = json.loads(BY_NAME["report.webp"].graph_path.read_text("utf-8"))
    graph = predictor(draw_scene(0, "val", 0)[0], "RGB").for_display()
    relations = graph.to_dict()["relations"]
    classes = [found["class"] for found in graph.to_dict()["objects"]]
    assert len(stored) == len(relations)
    for text, relation in zip(stored, relations, strict=True):
        words, score = re.fullmatch(r"(.*?)\s+(?:✓ )?([\d.]+) %", text).groups()
        subject, obj = classes[relation["subject"]], classes[relation["object"]]
        assert re.sub(r" \d+", "", words) == f"{subject} {relation['predicate']} {obj}"
        assert float(score) == pytest.approx(100 * relation["probability"], abs=0.6)
