"""`python -m benchmarks predicting`: the shipped models on two drawn images, and two processes."""

import json

import cv2
import pytest

from benchmarks import predicting
from benchmarks.__main__ import main
from egtr.data.scenes import draw_scene


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """The name of a dataset of two drawn scenes."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    files = [str(tmp_path / f"{index}.png") for index in range(2)]
    for index, file in enumerate(files):
        cv2.imwrite(file, draw_scene(0, "val", index)[0][:, :, ::-1])
    DatasetCatalog.register("two_scenes", lambda: [{"file_name": file} for file in files])
    MetadataCatalog.get("two_scenes").set(thing_classes=["thing"], predicate_classes=["predicate"])
    yield "two_scenes"
    DatasetCatalog.remove("two_scenes")
    MetadataCatalog.remove("two_scenes")


def run(tmp_path, *arguments):
    output = tmp_path / "report.json"
    assert main(["predicting", *arguments, "--output", str(output)]) == 0
    return json.loads(output.read_text())


def test_models_in_turn(dataset, tmp_path, capsys):
    report = run(tmp_path, "--runs", "1", "DATASETS.TEST", f"['{dataset}']")
    models = report["models"]
    assert list(models) == ["scenes", "scenes_deformable"] and min(models["scenes"].values()) > 0
    assert models["scenes_deformable"]["cpu_share"] == models["scenes_deformable"]["share"] == 1
    assert models["scenes"]["share"] == pytest.approx(models["scenes"]["ms"] / models["scenes_deformable"]["ms"])
    assert "egtr.predict, 2 images of two_scenes" in capsys.readouterr().out


def test_shares_are_those_of_a_turn(monkeypatch):
    """Medians of two models in three turns that count; (processor, passed) seconds of the turns by hand."""
    times = iter([(9, 9), (9, 9), (1, 2), (2, 2), (4, 1), (1, 4), (3, 3), (6, 12)])
    monkeypatch.setattr(predicting.EGTRPredictor, "create", lambda name: name)
    monkeypatch.setattr(predicting, "_time_all", lambda model, files: next(times))
    found = predicting.measure_predicting(["first", "base"], ["1.png", "2.png"], runs=3)
    assert found["first"] == {"cpu_ms": 1500, "ms": 1000, "cpu_share": 0.5, "share": 0.25}
    assert found["base"] == {"cpu_ms": 1000, "ms": 2000, "cpu_share": 1, "share": 1}


def test_the_code_of_another_checkout(dataset, tmp_path, capsys):
    """A stand-in for an old checkout, by whose clocks each image takes 0.5 s of the processor and 0.25 s."""
    package = tmp_path / "old/egtr/__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text(
        "import time\n"
        "done = [0]\n"
        "time.process_time = lambda: 0.5 * len(done)\n"
        "time.perf_counter = lambda: 0.25 * len(done)\n"
        "def predict(name, files):\n"
        "    assert name == 'scenes' and len(files) == 4 and files[:2] == files[2:]\n"
        "    for file in files:\n"
        "        done.append(file)\n"
        "        yield file\n"
    )
    words = ("--runs", "1", "DATASETS.TEST", f"['{dataset}']")
    models = run(tmp_path, "--before", str(tmp_path / "old"), *words)["models"]
    assert models["scenes, before"] == {"cpu_ms": 500, "ms": 250, "cpu_share": 1, "share": 1}
    assert models["scenes, now"]["cpu_share"] == pytest.approx(models["scenes, now"]["cpu_ms"] / 500)
    package.write_text("raise ImportError('too old')")
    assert main(["predicting", "--before", str(tmp_path / "old"), *words]) == 1
    assert "old: its code cannot predict with the model scenes: ImportError: too old" in capsys.readouterr().err
    assert main(["predicting", "--before", str(tmp_path / "none"), *words]) == 1
    assert "none: has no folder egtr; give the root of a checkout" in capsys.readouterr().err


def test_one_comparison_at_a_time(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["predicting", "--before", str(tmp_path), "--processes", "2"])
    assert "not allowed with argument" in capsys.readouterr().err


@pytest.mark.slow
def test_processes_side_by_side(dataset, tmp_path, capsys):
    report = run(tmp_path, "--processes", "2", "DATASETS.TEST", f"['{dataset}']")
    assert report["processes"] == 2 and min(report["alone"], report["together"], report["gain"]) > 0
    assert "one thread each: one process" in capsys.readouterr().out
