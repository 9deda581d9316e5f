"""Images and JSON files of many graphs, with a predictor that needs no model."""

import json
import resource
from dataclasses import replace
from functools import partial

import networkx as nx
import numpy as np
import pytest
from PIL import Image

from egtr.inference import export_scene_graphs, save_graph
from egtr.inference.export import unique_stems
from egtr.structures import ConfigurationError, EGTRError, SceneGraph, WriteError
from egtr.visualization import save_scene_graph
from tests.inference.predictors import FakePredictor
from tests.inference.videos import write_video


def predict(image):
    """Two duplicate dogs near a tree as high as the image; the upper left pixel's red share is the best score."""
    height, width = image.shape[:2]
    score = image[0, 0, 0] / 255
    return SceneGraph(
        boxes=np.array([[0, 0, 5, 5], [0, 0, 5, 5.5], [6, 0, width, height]], dtype=np.float32),
        classes=np.array([0, 0, 1]),
        scores=np.array([0.9, 0.8, 0.7], dtype=np.float32),
        triplets=np.array([[0, 2, 0], [1, 2, 0], [2, 0, 1]]),
        triplet_scores=np.array([score, score * 0.9, score / 2], dtype=np.float32),
        image_size=(height, width),
        class_names=("dog", "tree"),
        predicate_names=("near", "behind"),
    )


predictor = FakePredictor(predict)


@pytest.fixture
def coarse(monkeypatch):
    """A quarter of the pixels a side, which is all that these tests look at."""
    monkeypatch.setattr("egtr.visualization.draw.save_scene_graph", partial(save_scene_graph, dpi=40))


@pytest.fixture
def images(tmp_path):
    """Two images, wholly and hardly red, between them a text file that claims to be one."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, red, size in (("a.png", 255, (20, 16)), ("c.jpg", 51, (24, 12))):
        Image.new("RGB", size, (red, 0, 0)).save(folder / name, quality=100, subsampling=0)
    (folder / "b.png").write_text("hello")
    return folder


def read(path):
    return SceneGraph.from_dict(json.loads(path.read_text("utf-8")))


def test_goes_on_past_what_cannot_be_read(images, tmp_path, capfd):
    paths = [str(images / name) for name in ("a.png", "b.png", "c.jpg")]
    select = partial(SceneGraph.for_display, min_score=0.15)
    written, errors = export_scene_graphs(predictor, paths, tmp_path / "new" / "out", select=select)
    assert [str(error) for error in errors] == [f"{paths[1]}: not an image in any format that Pillow reads"]
    assert written == [tmp_path / "new" / "out" / name for name in ("a.png", "c.png")]
    assert sorted(p.name for p in written[0].parent.iterdir()) == ["a.json", "a.png", "c.json", "c.png"]
    for path in written:
        with Image.open(path) as image:
            assert image.width == 2133  # 13.33 inches at 160 dpi
    errors = capfd.readouterr().err
    assert [line for line in errors.splitlines() if "b.png" in line] == [
        f"{paths[1]}: not an image in any format that Pillow reads"
    ]
    assert "3/3" in errors  # the progress bar

    graph = read(written[0].with_suffix(".json"))
    assert graph.image_size == (16, 20)
    # the dogs are one, the tree's relation to it stays
    assert graph.triplets.tolist() == [[0, 1, 0], [1, 0, 1]] and graph.class_names == ("dog", "tree")
    assert graph.triplet_scores.tolist() == pytest.approx([1, 0.5]) and graph.file_name == paths[0]
    # scores 0.2, 0.18 (a duplicate) and 0.1, of which 0.15 leaves one
    assert len(read(written[1].with_suffix(".json"))) == 1


@pytest.mark.usefixtures("coarse")
def test_errors_go_where_the_caller_says(images, tmp_path, capfd):
    seen = []
    _, errors = export_scene_graphs(predictor, [str(images / "b.png")], tmp_path, on_error=seen.append)
    assert seen == errors and len(seen) == 1
    assert "b.png" not in capfd.readouterr().err


@pytest.mark.usefixtures("coarse")
def test_formats(images, tmp_path, capfd):
    paths = [str(images / "a.png")]
    keep_all = partial(SceneGraph.for_display, top_k=2, merge_iou=None)
    options = {"suffix": ".svg", "graph_suffixes": (".json", ".graphml"), "select": keep_all, "progress": False}
    written, _ = export_scene_graphs(predictor, paths, tmp_path, **options)
    assert written == [tmp_path / "a.svg"] and written[0].read_text().startswith("<?xml")
    assert read(tmp_path / "a.json").triplets.tolist() == [[0, 2, 0], [1, 2, 0]]
    graph = nx.read_graphml(tmp_path / "a.graphml")
    assert [label for _, label in graph.nodes(data="label")] == ["dog", "dog", "tree"]
    assert [edge for *edge, _ in graph.edges(data="label")] == [["0", "2"], ["1", "2"]]
    assert capfd.readouterr().err == ""


def test_graphs_without_drawings(images, tmp_path):
    """A suffix of graphs in place of one of images: nothing is drawn, and a single file may have any name."""
    options = {"suffix": ".json", "progress": False}
    written, errors = export_scene_graphs(predictor, [str(images)], tmp_path / "new/out", **options)
    assert written == [tmp_path / "new/out" / name for name in ("a.json", "c.json")] and len(errors) == 1
    assert sorted(path.name for path in written[0].parent.iterdir()) == ["a.json", "c.json"]
    one = tmp_path / "one.json"
    assert export_scene_graphs(predictor, [str(images / "a.png")], one, **options) == ([one], [])
    assert read(one).to_dict() == read(written[0]).to_dict()
    with pytest.raises(ConfigurationError, match=r"suffix '\.graphml' is none"):
        export_scene_graphs(predictor, [str(images)], tmp_path, suffix=".graphml")


def test_names_of_files_that_are_no_utf8(tmp_path):
    """\udcff is how Python spells the byte FF in the name of a file."""
    graph = replace(predict(np.zeros((9, 9, 3), np.uint8)), file_name="\udcffä.png")
    save_graph(tmp_path / "a.json", graph)
    text = (tmp_path / "a.json").read_text("utf-8")
    assert r'"\udcffä.png"' in text and read(tmp_path / "a.json").file_name == graph.file_name


@pytest.mark.usefixtures("coarse")
def test_one_image_into_one_file(images, tmp_path):
    target = tmp_path / "new" / "v1.2.pdf"
    written, _ = export_scene_graphs(predictor, [str(images / "a.png")], target, progress=False)
    assert written == [target] and target.read_bytes().startswith(b"%PDF")
    assert [path.name for path in sorted(target.parent.iterdir())] == ["v1.2.json", "v1.2.pdf"]
    several = [str(images / "a.png"), str(images / "c.jpg")]
    with pytest.raises(EGTRError, match="one file, but there are 2 images; give a folder"):
        export_scene_graphs(predictor, several, target, progress=False)


@pytest.mark.usefixtures("coarse")
def test_frames_of_a_video_have_their_number(tmp_path):
    write_video(tmp_path / "clip.avi", [np.full((33, 41, 3), 200, np.uint8)] * 2)
    options = {"graph_suffixes": (), "progress": False}
    written, _ = export_scene_graphs(predictor, [str(tmp_path / "clip.avi")], tmp_path / "out", **options)
    assert [path.name for path in written] == ["clip_frame000000.png", "clip_frame000001.png"]
    assert sorted((tmp_path / "out").iterdir()) == written


@pytest.mark.parametrize("options", [{"suffix": ".docx"}, {"graph_suffixes": [".docx"]}])
def test_unknown_format(images, tmp_path, options):
    with pytest.raises(EGTRError, match="docx.*graphml"):
        export_scene_graphs(predictor, [str(images / "a.png")], tmp_path / "out", progress=False, **options)
    assert not (tmp_path / "out").exists()
    with pytest.raises(EGTRError, match="a.docx.*graphml"):
        save_graph(tmp_path / "a.docx", predict(np.zeros((9, 9, 3), np.uint8)))


@pytest.mark.usefixtures("coarse")
def test_same_names(images, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("A.webp", "a_2.png"):
        Image.new("RGB", (9, 9)).save(other / name)
    paths = [str(p) for p in (images / "a.png", other / "A.webp", other / "a_2.png")]
    written, errors = export_scene_graphs(predictor, paths, tmp_path / "out", progress=False)
    assert [path.name for path in written] == ["a.png", "A_3.png", "a_2.png"]
    assert not errors and len(list((tmp_path / "out").iterdir())) == 6


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        # A name that has a number belongs to the image that bears it.
        ("a.jpg a.png a_2.jpg", "a a_3 a_2"),
        ("a_2.jpg a.jpg a.png", "a_2 a a_3"),
        ("a.jpg a.png a.webp a_3.jpg", "a a_2 a_4 a_3"),
        ("A.jpg a.png A_2.jpg a_2.png", "A a_3 A_2 a_2_2"),
        ("x/a.jpg y/a.jpg y/a_2.jpg z/a.jpg", "a a_3 a_2 a_4"),
        # "é" as one character, and as two.
        ("caf\u00e9.jpg cafe\u0301.png", "caf\u00e9 cafe\u0301_2"),
        # Frames, some of which were taken out of the video before.
        ("clip.mp4 clip_frame000001.png", "clip_2 clip_frame000001"),
        ("clip_frame000001.png clip.mp4 clip_2_frame000001.png", "clip_frame000001 clip_3 clip_2_frame000001"),
        ("clip.mp4 clip.mkv", "clip clip_2"),
        ("clip.png clip_frame000001.png", "clip clip_frame000001"),
    ],
)
def test_names_of_results(names, stems):
    assert unique_stems(names.split()) == stems.split()


@pytest.mark.usefixtures("coarse")
def test_each_result_has_the_name_of_its_own_image(tmp_path):
    """Three images whose best scores tell them apart."""
    for name, red in (("a.jpg", 255), ("a.png", 102), ("a_2.jpg", 204)):
        Image.new("RGB", (20, 16), (red, 0, 0)).save(tmp_path / name)
    written, _ = export_scene_graphs(predictor, [str(tmp_path)], tmp_path / "out", progress=False)
    graphs = {path.stem: read(path.with_suffix(".json")) for path in written}
    assert {stem: graph.file_name for stem, graph in graphs.items()} == {
        stem: str(tmp_path / name) for stem, name in (("a", "a.jpg"), ("a_3", "a.png"), ("a_2", "a_2.jpg"))
    }
    assert graphs["a_3"].triplet_scores[0] == pytest.approx(0.4, abs=0.01)


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize("blocked", ["a.png", "a.json", "a.graphml"])
def test_files_that_cannot_be_written(images, tmp_path, blocked):
    """A folder of their name, or a limit on their size in place of a full disk."""
    kinds = {"graph_suffixes": [".json", ".graphml"], "progress": False}
    (tmp_path / "out" / blocked).mkdir(parents=True)
    with pytest.raises(WriteError, match=f"{blocked}: cannot be written .*directory.*; name a place that has room"):
        export_scene_graphs(predictor, [str(images / "a.png")], tmp_path / "out", **kinds)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
        with pytest.raises(WriteError, match="a.png: cannot be written .*too large"):
            export_scene_graphs(predictor, [str(images / "a.png")], tmp_path / "other", **kinds)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_never_overwrites_what_it_reads(images):
    paths = [str(images / name) for name in ("c.jpg", "a.png")]
    before = (images / "a.png").read_bytes()
    with pytest.raises(EGTRError, match="a.png.*another output folder"):
        export_scene_graphs(predictor, paths, images, progress=False)
    assert (images / "a.png").read_bytes() == before and not (images / "c.json").exists()
