"""Edges of graphs, explained, with the shipped model and a drawn scene."""

import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import egtr
from egtr.cli import main
from egtr.cli.explain import explain_image
from egtr.data.scenes import draw_scene
from egtr.inference import EGTRPredictor, explain, explain_graph
from egtr.structures import EGTRError, SceneGraph, WriteError
from tests.inference.videos import write_video
from tests.running import largest_file


@pytest.fixture(scope="module")
def predictor():
    return EGTRPredictor.create("scenes")


@pytest.fixture(scope="module")
def image():
    return draw_scene(0, "test", 234)[0]


@pytest.fixture(scope="module")
def graph(predictor, image):
    return predictor(image, channel_order="RGB")


def test_all_edges_of_a_merged_graph_that_was_in_a_file(predictor, image, graph):
    shown = SceneGraph.from_dict(json.loads(json.dumps(graph.merge_duplicates().filter(top_k=20).to_dict())))
    found = explain_graph(predictor, image, shown, channel_order="RGB")
    assert len(found) == len(shown) == 20
    # to_dict rounds to six digits.
    np.testing.assert_allclose([edge.score for edge in found], shown.triplet_scores, atol=1e-5)
    for edge, (subject, object_, predicate) in zip(found, shown.triplets, strict=True):
        assert edge.subject.name == shown.class_name(subject) and edge.object.name == shown.class_name(object_)
        assert edge.predicate == shown.predicate_name(predicate)
        assert edge.contributions.sum() + edge.constant + edge.frequency_bias == pytest.approx(edge.logit, abs=1e-5)
        assert edge.sources == ("layer 0", "layer 1", "layer 2", "last state")


def test_one_edge(predictor, image, graph):
    found = explain(predictor, image, graph, 3, channel_order="RGB")
    (same,) = egtr.explain_graph(predictor, image, graph, [3], channel_order="RGB")
    assert found.to_dict() == same.to_dict()
    # Objects of the drawn scene are read where they are: most of the weight of the points lies in the object's box.
    x, y = np.moveaxis(found.object.points, -1, 0)
    x1, y1, x2, y2 = found.object.box
    width, height = x2 - x1, y2 - y1
    near = (abs(x - (x1 + x2) / 2) < width) & (abs(y - (y1 + y2) / 2) < height)
    assert found.object.point_weights[near].sum() > 0.5 * found.object.point_weights.sum()


@pytest.mark.parametrize("edge", [-1, 100])
def test_an_edge_that_is_none(predictor, image, graph, edge):
    with pytest.raises(EGTRError, match=f"no edge {edge}: the graph has 100"):
        explain(predictor, image, graph, edge, channel_order="RGB")


def test_another_image(predictor, image, graph):
    with pytest.raises(EGTRError, match="give the image that the graph was made of"):
        explain(predictor, image[:-2], graph, 0, channel_order="RGB")
    with pytest.raises(EGTRError, match="Edge 0 has the score .* give the model and the image"):
        explain(predictor, np.zeros_like(image), graph, 0, channel_order="RGB")
    other = replace(graph, triplet_scores=graph.triplet_scores / 2)
    with pytest.raises(EGTRError, match="Edge 0 has the score"):
        explain(predictor, image, other, 0, channel_order="RGB")


def test_tool(image, tmp_path, capsys):
    Image.fromarray(image).save(tmp_path / "scene.png")
    (tmp_path / "broken.png").write_text("no image")
    assert main(["explain", "--input", str(tmp_path), "--output", str(tmp_path / "out"), "--top-k", "1"]) == 1
    written = capsys.readouterr()
    assert "broken.png" in written.err
    assert "scene_edge0.png: house - has - window\n  score 0." in written.out
    (record,) = json.loads((tmp_path / "out/scene_explanations.json").read_text("utf-8"))
    assert record["predicate"] == "has" and len(record["subject"]["points"]) == 40
    with Image.open(tmp_path / "out/scene_edge0.png") as drawn:
        assert drawn.width == 1995
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "scene_edge0.png",
        "scene_explanations.json",
    ]


def test_tool_keeps_results_of_one_name_apart(image, tmp_path, monkeypatch):
    # Only names matter here; laying a figure out and drawing it are what takes long.
    monkeypatch.setattr("egtr.visualization.explanation.new_figure", lambda w, h: Figure(figsize=(w, h), dpi=20))
    (tmp_path / "other").mkdir()
    for name in ("scene.png", "other/scene.png"):
        Image.fromarray(image).save(tmp_path / name)
    write_video(tmp_path / "clip.mp4", [image[:230]] * 2)
    paths = [str(tmp_path / name) for name in ("scene.png", "other/scene.png", "clip.mp4")]
    words = ["explain", *paths, "--output", str(tmp_path / "out"), "--top-k", "1", "--limit", "3"]
    assert main(words) == 0
    # The limit leaves out the second frame.
    stems = ("scene", "scene_2", "clip_frame000000")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        f"{stem}_{end}" for stem in stems for end in ("edge0.png", "explanations.json")
    )


def test_tool_on_a_full_disk(predictor, image, graph, tmp_path):
    with largest_file(1000), pytest.raises(WriteError, match="scene_edge0.png: cannot be written .*too large"):
        explain_image(predictor, image, graph.filter(top_k=1), tmp_path / "scene")
    assert not list(tmp_path.iterdir())


def test_tool_says_where_nothing_is_to_be_explained(predictor, image, graph, tmp_path, capsys):
    explain_image(predictor, image, graph.filter(top_k=0), tmp_path / "out/scene")
    assert capsys.readouterr().out == f"{tmp_path / 'out/scene'}: no relations\n"
    assert (tmp_path / "out/scene_explanations.json").read_text("utf-8") == "[]\n"
