"""`egtr demo` from the command line to the files, with a small random model."""

import json
import logging

import cv2
import networkx as nx
import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

from egtr.checkpoint import export_weights
from egtr.cli import main
from egtr.config import load_config
from egtr.structures import SceneGraph
from tests.inference.videos import read_video, write_video
from tests.lite.known_model import write_model

CONFIG = """
MODEL:
  META_ARCHITECTURE: EGTR
  DEVICE: cpu
  BACKBONE: {{NAME: build_timm_backbone, FREEZE_AT: 0}}
  EGTR:
    NUM_CLASSES: 5
    NUM_PREDICATES: 4
    NUM_QUERIES: 6
    BACKBONE: {{NAME: resnet18, CHANNELS: [8, 8, 8, 16], OUT_INDICES: [3, 4]}}
    TRANSFORMER: {{HIDDEN_DIM: 32, NHEADS: 2, ENC_LAYERS: 1, DEC_LAYERS: 1, NUM_FEATURE_LEVELS: 2}}
INPUT: {{FORMAT: RGB, MIN_SIZE_TEST: 48, MAX_SIZE_TEST: 64}}
DATASETS: {{TEST: [{dataset}]}}
"""


@pytest.fixture(scope="module")
def config(tiny_dataset, tmp_path_factory):
    """Path of a configuration whose MODEL.WEIGHTS exist."""
    folder = tmp_path_factory.mktemp("model")
    path = folder / "tiny.yaml"
    path.write_text(CONFIG.format(dataset=tiny_dataset.test))
    torch.manual_seed(0)
    export_weights(build_model(load_config(str(path))), folder / "tiny.safetensors")
    path.write_text(path.read_text().replace("MODEL:", f"MODEL:\n  WEIGHTS: {folder / 'tiny.safetensors'}", 1))
    return str(path)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.RandomState(0)
    Image.fromarray(random.randint(0, 255, (40, 60, 3), dtype=np.uint8)).save(folder / "colour.png")
    Image.fromarray(random.randint(0, 255, (50, 30), dtype=np.uint8)).save(folder / "gray.png")
    return folder


def run(*arguments):
    return main(["demo", *map(str, arguments)])


def test_folder(config, images, tiny_dataset, tmp_path, capfd):
    output = tmp_path / "out"
    status = run(
        images, "--config-file", config, "--output", output,
        "--confidence-threshold", "0", "--topk", "7", "TEST.SCENE_GRAPH.OBJECT_SCORE", "sigmoid",
    )  # fmt: skip
    assert status == 0
    assert sorted(p.name for p in output.iterdir()) == ["colour.json", "colour.png", "gray.json", "gray.png"]
    for stem, size in (("colour", (40, 60)), ("gray", (50, 30))):
        graph = SceneGraph.from_dict(json.loads((output / f"{stem}.json").read_text()))
        assert graph.image_size == size and graph.class_names == tiny_dataset.thing_classes
        assert 1 <= len(graph) <= 7
        with Image.open(output / f"{stem}.png") as image:
            assert image.width >= 2000 and len(image.convert("RGB").getcolors(1 << 24)) > 50
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == f"{output / 'colour.png'} {output / 'colour.json'}"
    assert lines[-1] == f"2 of 2 images drawn to {output}"


def test_single_objects(config, images, tmp_path):
    """Without relations, a threshold of 0 keeps every object of another class or place, and the flag none."""
    words = [images / "gray.png", "--config-file", config, "--top-k", "0", "--format", "json"]
    for flags, least, most in (([], 1, 6), (["--no-single-objects"], 0, 0)):
        opts = ["TEST.SCENE_GRAPH.OBJECT_THRESHOLD", "0.0"]
        assert run(*words, *flags, "--output", tmp_path / "out", *opts) == 0
        record = json.loads((tmp_path / "out" / "gray.json").read_text())
        assert least <= len(record["objects"]) <= most and not record["relations"]


def test_warnings(images, tmp_path, capfd, monkeypatch):
    """Two noisy images: one line for the model, and one for the first image that it does not know."""
    # Runs of training in this process may have set up a log.
    monkeypatch.setattr(logging.getLogger("egtr"), "handlers", [])
    assert run(images, "--output", tmp_path / "out", "--format", "json") == 0
    lines = [line.rpartition("\r")[2].strip() for line in capfd.readouterr().err.splitlines()]
    domain, score = (line for line in lines if "warning" in line)
    assert domain.startswith("egtr demo: warning: the model scenes was trained on drawings")
    assert score.startswith(f"egtr demo: warning: {images / 'colour.png'}: the model scenes probably does not know")
    for name in ("colour", "gray"):
        assert len(json.loads((tmp_path / "out" / f"{name}.json").read_text())["warnings"]) == 2
    assert not logging.getLogger("egtr").handlers


def test_unreadable_image_is_passed_over(config, images, tmp_path, capfd):
    (images / "broken.png").write_text("hello")
    inputs = [images / "broken.png", images / "missing.png", images / "gr*.png"]
    status = run("--config-file", config, "--input", *inputs, "--output", tmp_path / "out")
    assert status == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["gray.json", "gray.png"]
    out, err = capfd.readouterr()
    assert "1 of 3 images" in out
    lines = [line.rpartition("\r")[2].strip() for line in err.splitlines()]
    assert f"egtr demo: error: {images / 'broken.png'}: not an image in any format that Pillow reads" in lines
    assert f"egtr demo: error: {images / 'missing.png'}: there is no such file" in lines


def test_limit(config, images, tmp_path, capfd):
    """A limit of images; then of the frames of a video, drawn as images and as a video."""
    # One image of the folder may go to one file.
    assert run(images, "--config-file", config, "--limit", "1", "--output", tmp_path / "one.png") == 0
    assert capfd.readouterr().out.endswith(f"1 of 1 images drawn to {tmp_path / 'one.png'}\n")
    write_video(tmp_path / "clip.avi", [np.zeros((48, 64, 3), np.uint8)] * 3)
    words = [tmp_path / "clip.avi", "--config-file", config, "--limit", "2", "--output"]
    assert run(*words, tmp_path / "out") == 0
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == [f"clip_frame00000{i}.png" for i in (0, 1)]
    assert run(*words, tmp_path / "short.mp4") == 0
    assert len(read_video(tmp_path / "short.mp4")[0]) == 2


def test_formats_batches_and_threads(config, images, tmp_path):
    status = run(
        "--config-file", config, "--input", images, "--output", tmp_path / "out", "--format", "svg",
        "--graphs", "graphml", "--confidence-threshold", "0", "--batch-size", "2", "--threads", "2",
    )  # fmt: skip
    assert status == 0
    names = ["colour.graphml", "colour.svg", "gray.graphml", "gray.svg"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names
    assert len(nx.read_graphml(tmp_path / "out" / "gray.graphml").edges) >= 1


def test_one_file_and_no_graph(config, images, tmp_path):
    target = tmp_path / "figure.pdf"
    arguments = ["--input", images / "gray.png", "--output", target, "--graphs", "--config-file", config]
    assert run(*arguments) == 0
    assert target.read_bytes().startswith(b"%PDF") and not target.with_suffix(".json").exists()


def test_video(config, tmp_path, capfd):
    """Made by OpenCV: three frames with odd sides."""
    clip, random = tmp_path / "clip.avi", np.random.RandomState(0)
    write_video(clip, [random.randint(0, 255, (47, 61, 3), dtype=np.uint8) for _ in range(3)])
    status = run("--config-file", config, "--video-input", clip, "--output", tmp_path / "out")
    assert status == 0 and f"3 frames drawn to {tmp_path / 'out' / 'clip.mp4'}" in capfd.readouterr().out
    assert len(read_video(tmp_path / "out" / "clip.mp4")[0]) == 3
    assert len((tmp_path / "out" / "clip.jsonl").read_text("utf-8").splitlines()) == 3
    # An input like any other becomes a video where the output is one.
    assert run(clip, "--config-file", config, "--output", tmp_path / "again.webm") == 0
    out = capfd.readouterr().out
    assert out == f"3 frames drawn to {tmp_path / 'again.webm'}, graphs in {tmp_path / 'again.jsonl'}\n"
    assert len(read_video(tmp_path / "again.webm")[0]) == 3


@pytest.mark.parametrize(
    ("kind", "suffix", "possible"), [("--input", "webp", ".png"), ("--video-input", "mkv", ".mp4")]
)
def test_a_file_that_cannot_be_written_becomes_no_folder(config, tmp_path, capfd, kind, suffix, possible):
    pixels = np.zeros((40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    write_video(tmp_path / "a.avi", [pixels])
    source, target = tmp_path / ("a.png" if kind == "--input" else "a.avi"), tmp_path / f"drawn.{suffix}"
    assert run("--config-file", config, kind, source, "--output", target) == 1
    assert f"drawn.{suffix}: " in (error := capfd.readouterr().err) and possible in error
    assert not target.exists()


def test_window(config, images, monkeypatch, capfd):
    """Without --output; OpenCV's functions are replaced, as machines that run tests have no screen."""
    shown = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "imshow", lambda title, pixels: shown.append(pixels.shape))
    monkeypatch.setattr(cv2, "waitKey", lambda delay: ord(" "))
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
    (images / "broken.png").write_text("hello")
    assert run("--config-file", config, "--input", images) == 1
    assert len(shown) == 2 and "broken.png: not an image" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config-file", "{config}", "--video-input", "none.mp4"], "none.mp4: there is no such file"),
        (["--config-file", "none.yaml", "--input", "{images}"], "none.yaml"),
        (["--config-file", "{config}", "--input", "{images}/*.gif"], "no image there"),
        (["--config-file", "{config}", "--input", "{images}", "--opts", "MODEL.WEIGHTS", "none.pth"], "none.pth"),
        (["--config-file", "{config}", "--input", "{images}", "--opts", "MODEL.WEIGHT", "x"], "MODEL.WEIGHTS"),
    ],
)
def test_one_clear_line(config, images, tmp_path, capfd, arguments, message):
    arguments = [a.format(config=config, images=images) for a in arguments]
    assert run("--output", tmp_path / "out", *arguments) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("egtr demo: error: ") and message in line
    assert not (tmp_path / "out").exists()


def test_names_of_cameras_are_files(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert run("DSC_0001.JPG", "MVI_0001.MP4") == 1
    assert capfd.readouterr().err == "egtr demo: error: DSC_0001.JPG, MVI_0001.MP4: there is no such file\n"
    (tmp_path / "MY.KEY").touch()
    assert run("MY.KEY", "--model", "nosuch") == 1
    assert "nosuch: is neither a file nor the name of a model" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "o"], "give images or a video, or --video-input, or --webcam: only one of them"),
        (["a.png", "--webcam"], "give images or a video, or --video-input, or --webcam: only one of them"),
        (["--webcam", "--video-input", "a.mp4"], "not allowed with argument"),
        (["--webcam", "--output", "o", "--graphs", "graphml"], "a file holds one graph, but a video has many"),
        (
            ["a.png", "MY.KEY", "3"],
            "neither a file nor a key of the configuration, whose sections are MODEL",
        ),
        (["a.png", "MODLE.DEVICE", "cpu"], "MODLE.DEVICE: is neither a file nor a key of the configuration. Did you"),
        (["--input", "a.png", "MODLE.DEVICE", "cpu"], "Did you mean MODEL.DEVICE?"),
        (["a.png", "MODEL.DEVICE"], "keys and values come in pairs, but there are 1 words: MODEL.DEVICE"),
        (["a.png", "--confidence-threshold", "30"], "--confidence-threshold: 30: give a number from 0 to 1"),
        (["a.png", "--top-k", "-1"], "--top-k: -1: give a whole number of at least 0"),
        (["a.png", "--format", "gif"], "invalid choice: 'gif'"),
        (["a.png", "--batch-size", "0"], "--batch-size: 0: give a whole number of at least 1"),
    ],
)
def test_usage(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        run(*arguments)
    assert end.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("egtr demo: error: ") and message in last


def coco_boxes(path, **fields):
    content = {
        "images": [{"id": 1, "file_name": "colour.png"}, {"id": 2, "file_name": "gray.png"}],
        "annotations": [
            {"image_id": 1, "bbox": [4, 5, 26, 30], "category_id": 11},
            {"image_id": 1, "bbox": [20, 2, 30, 36], "category_id": 12, "score": 0.5},
            {"image_id": 2, "bbox": [2, 3, 20, 30], "category_id": 12},
        ],
        "categories": [{"id": 11, "name": "thing1"}, {"id": 12, "name": "thing3"}],
    } | fields
    path.write_text(json.dumps(content))
    return path


def read_graphs(output):
    return {path.stem: SceneGraph.from_dict(json.loads(path.read_text())) for path in output.glob("*.json")}


def test_given_boxes(config, images, tmp_path, capfd):
    boxes, output = coco_boxes(tmp_path / "boxes.json"), tmp_path / "out"
    model = ["--config-file", config, "--format", "json"]
    assert run(images, "--boxes", boxes, *model, "--output", output) == 0
    graphs = read_graphs(output)
    assert graphs["colour"].boxes.tolist() == [[4, 5, 30, 35], [20, 2, 50, 38]]
    assert graphs["colour"].classes.tolist() == [1, 3] and graphs["colour"].scores.tolist() == [1.0, 0.5]
    assert graphs["gray"].boxes.tolist() == [[2, 3, 22, 33]] and graphs["gray"].given_by == "assignment"
    # a graph that was written is read again, with other options
    more = tmp_path / "more"
    words = ["--with-found", "--keep-duplicates", *model, "--output", more]
    assert run(images / "colour.png", "--boxes", output / "colour.json", *words) == 0
    (graph,) = read_graphs(more).values()
    assert graph.given[:2].all() and graph.boxes[:2].tolist() == graphs["colour"].boxes.tolist()
    # results without names take them from annotations
    results = tmp_path / "results.json"
    results.write_text(json.dumps(json.loads(boxes.read_text())["annotations"]))
    words = ["--boxes-annotations", boxes, "--refine-boxes", *model, "--output", tmp_path / "last"]
    assert run(images, "--boxes", results, *words) == 0
    refined = read_graphs(tmp_path / "last")["colour"]
    assert refined.classes.tolist() == [1, 3] and refined.boxes.tolist() != graphs["colour"].boxes.tolist()


def test_an_image_without_boxes_fails_and_the_others_are_drawn(config, images, tmp_path, capfd):
    boxes = coco_boxes(tmp_path / "boxes.json", images=[{"id": 1, "file_name": "colour.png"}])
    content = json.loads(boxes.read_text())
    content["annotations"].pop()
    boxes.write_text(json.dumps(content))
    assert run(images, "--boxes", boxes, "--config-file", config, "--output", tmp_path / "out") == 1
    assert sorted(read_graphs(tmp_path / "out")) == ["colour"]
    assert f"{boxes}: has no boxes of {images / 'gray.png'}" in capfd.readouterr().err


@pytest.mark.parametrize(("words", "message"), [
    (["--with-found"], "--with-found goes with --boxes FILE"),
    (["--refine-boxes"], "--refine-boxes goes with --boxes FILE"),
    (["--boxes-annotations", "a.json"], "--boxes-annotations goes with --boxes FILE"),
    (["--boxes", "boxes.json", "--webcam"], "--boxes: the frames of a video have no boxes of their own"),
])  # fmt: skip
def test_options_that_do_not_go_together(config, images, tmp_path, monkeypatch, capfd, words, message):
    monkeypatch.chdir(tmp_path)
    coco_boxes(tmp_path / "boxes.json")
    inputs = [] if "--webcam" in words else [images]
    with pytest.raises(SystemExit):
        run(*inputs, *words, "--config-file", config, "--output", "out")
    assert message in capfd.readouterr().err


@pytest.mark.parametrize(("content", "message"), [
    (None, "boxes.json"),
    ("hello", "boxes.json: is not a JSON file"),
    ('{"a": 1}', "boxes.json: holds neither COCO annotations"),
    ('[{"image_id": 1, "bbox": [1, 2, -3, 4]}]', "boxes.json of image id 1: box 0 is [1.0, 2.0, -2.0, 6.0]"),
])  # fmt: skip
def test_files_without_boxes(config, images, tmp_path, capfd, content, message):
    if content is not None:
        (tmp_path / "boxes.json").write_text(content)
    words = ["--boxes", tmp_path / "boxes.json", "--config-file", config, "--output", tmp_path / "out"]
    assert run(images, *words) != 0
    assert message in capfd.readouterr().err and not (tmp_path / "out").exists()


def test_exported_models_take_no_boxes(images, tmp_path, capfd):
    model, boxes = write_model(tmp_path / "tiny.onnx"), coco_boxes(tmp_path / "boxes.json")
    with pytest.raises(SystemExit):
        run(images, "--model", model, "--boxes", boxes, "--format", "json")
    assert "tiny.onnx is an exported model, which takes no boxes" in capfd.readouterr().err
