"""Exported models in the commands that take them, and the one error of the others."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import egtr
from egtr.cli import main
from egtr.cli.serve import choose_models
from egtr.evaluation import PredictionMeta, PredictionWriter
from egtr.serving import ModelStore
from egtr.structures import ConfigurationError, GroundTruth, Prediction, SceneGraph
from tests.cli.running import parse
from tests.lite.known_model import INFO, write_model
from tests.visualization.report_scenes import BOXES, CALIBRATION, read_element


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory, with a model and two images, one of them broken."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "m.onnx")
    Image.fromarray(np.full((50, 100, 3), 255, np.uint8)).save(tmp_path / "white.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    return tmp_path


def test_graphs_as_lines(capsys):
    assert main(["demo", "white.png", "broken.png", "--model", "m.onnx", "--format", "json", "--top-k", "1"]) == 1
    printed = capsys.readouterr()
    (line,) = printed.out.splitlines()
    graph = SceneGraph.from_dict(json.loads(line))
    assert graph.file_name == "white.png" and graph.triplets.tolist() == [[0, 1, 0]]
    assert printed.err.splitlines() == ["egtr demo: error: broken.png: not an image in any format that Pillow reads"]


def test_graphs_as_files(folder, capsys):
    words = ["demo", "white.png", "--model", "m.onnx", "--format", "json", "--output"]
    assert main([*words, "out"]) == 0 and main([*words, "one.json"]) == 0
    assert [path.name for path in (folder / "out").iterdir()] == ["white.json"]
    assert (folder / "out/white.json").read_text() == (folder / "one.json").read_text()
    first, last = capsys.readouterr().out.splitlines()[:2]
    assert first.replace("\\", "/") == "out/white.json" and last == "1 of 1 images written to out"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "clip.mp4"], "--format json writes no video"),
        (["--output", "out", "--graphs", "graphml"], "no other file of the graph than JSON"),
    ],
)
def test_what_does_not_go_with_json(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["demo", "white.png", "--model", "m.onnx", "--format", "json", *words])
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_drawings_and_a_report(folder, caplog, capsys):
    assert main(["demo", "white.png", "--config-file", "m.onnx", "--output", "out"]) == 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["white.json", "white.png"]
    assert main(["report", "white.png", "--model", "m.onnx", "--output", "page.html"]) == 0
    assert "page.html: 1 image" in capsys.readouterr().out and (folder / "page.html").stat().st_size > 10_000
    assert "LitePredictor has no method explain(): the report explains no edges" in caplog.text


def write_predictions(path, class_names):
    prediction = Prediction([[4, 0], [0, 4]], BOXES[:2], [[0, 1]], [0.5], [[0.8, 0.1]], image_size=(100, 160))
    with PredictionWriter(path, PredictionMeta(class_names, INFO.predicate_names, exhaustive=True)) as writer:
        writer.write(0, prediction, GroundTruth(BOXES[:2], [0, 1], [[0, 1, 0]]))


def test_a_named_model_gives_saved_predictions_its_probabilities(folder, capsys):
    write_model(folder / "known.onnx", replace(INFO, calibration=replace(CALIBRATION, exhaustive=False).to_dict()))
    write_predictions(folder / "saved.npz", INFO.class_names)
    words = ["report", "--predictions", "saved.npz", "--output", "page.html"]
    for model, stated in ([], "score"), (["--model", "known.onnx"], "probability"):
        assert main([*words, *model]) == 0
        printed = capsys.readouterr().out
        assert f"ECE of displayed relations, by {stated}: 0." in printed and "chances" not in printed
        shown = json.loads(read_element((folder / "page.html").read_text("utf-8"), "record-0"))
        (relation,) = shown["graph"]["relations"]
        expected = pytest.approx(relation["score"] / 2, abs=1e-4) if model else None
        assert relation["probability"] == expected


def test_a_model_with_other_names_than_the_predictions_is_refused(folder, capsys):
    write_predictions(folder / "saved.npz", ("dog", "mat"))
    assert main(["report", "--predictions", "saved.npz", "--model", "m.onnx", "--output", "page.html"]) == 1
    assert "saved.npz: its classes (dog, mat, ...) are not the model's (cat, mat, ...)" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["explain --output out", "analyze relations --output out", "evaluate", "train"])
def test_other_commands_say_that_they_need_pytorch(command, capsys):
    words = command.split()
    inputs = ["white.png"] if words[0] == "explain" else []
    assert main([*words[:1], *inputs, *words[1:], "--model", "m.onnx"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    name = " ".join(words[:2]) if words[0] == "analyze" else words[0]
    assert line.startswith(f"egtr {name}: error: m.onnx: is an exported model, which egtr demo, report and serve run")


def test_errors_are_one_line(capsys):
    for words in (
        ["--model", "no.onnx"],
        ["--model", "m.onnx", "--provider", "X"],
        ["--model", "m.onnx", "SEED", "1"],
    ):
        assert main(["demo", "white.png", "--output", "out", *words]) == 1
    no_file, no_provider, no_key = capsys.readouterr().err.splitlines()
    assert no_file == "egtr demo: error: no.onnx: there is no such file"
    assert "provider X: this onnxruntime has only" in no_provider and "m.onnx: SEED is a key" in no_key


def test_a_missing_package_is_one_line_that_names_it(monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'yaml.nodes'", name="yaml.nodes")

    monkeypatch.setattr("egtr.inference.opening.open_predictor", fail)
    monkeypatch.setattr("egtr.inference.open_predictor", fail)
    assert main(["demo", "white.png", "--model", "m.onnx", "--format", "json"]) == 1
    message = "egtr demo: error: the package PyYAML is missing, which this command needs: pip install PyYAML\n"
    assert capsys.readouterr().err == message


def test_models_to_serve():
    models = choose_models(parse(["serve", "--model", "m.onnx", "--model", "scenes"]))
    store = ModelStore(models, providers=["CPUExecutionProvider"])
    assert store.names == ("m", "scenes") and store.state("m") == "not loaded"
    assert store.load("m").class_names == store.vocabulary("m")["classes"] == ("cat", "mat")
    with pytest.raises(ConfigurationError, match="SEED: is a key for models in PyTorch, and exported models have no"):
        ModelStore(["m.onnx"], ["SEED", "1"])
    with pytest.raises(ConfigurationError, match="provider X: is for exported models"):
        ModelStore(["scenes"], providers=["X"])


@pytest.mark.parametrize("module", ["numpy", "lazy_loader"])
def test_packages_that_the_library_itself_needs(module):
    code = f"import sys; sys.modules[{module!r}] = None; from egtr.cli import main; sys.exit(main(['models']))"
    root = Path(egtr.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    last = {
        "numpy": "egtr models: error: the package numpy is missing, which this command needs: pip install numpy",
        "lazy_loader": "ModuleNotFoundError: egtr needs the package lazy-loader and others: pip install -r",
    }[module]
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith(last)
    assert ("Traceback" in done.stderr) == (module == "lazy_loader")
