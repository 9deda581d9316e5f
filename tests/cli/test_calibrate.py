"""`egtr calibrate` from saved predictions to the record of a model, and to the graphs of that model."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from egtr.cli import main
from egtr.evaluation import PredictionMeta, PredictionWriter
from egtr.inference import EGTRPredictor
from egtr.structures import Calibration, GroundTruth, ModelInfo, Prediction, all_pairs

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "projects/EGTR/weights"


def write_predictions(path, num_images, annotated=True, exhaustive=True):
    """Write images of six objects in a row, whose relations are annotated with their probability."""
    left = np.arange(6) * 20.0
    boxes = np.stack([left, left * 0, left + 10, left * 0 + 10], axis=1)
    with PredictionWriter(path, PredictionMeta(exhaustive=exhaustive)) as writer:
        for image_id in range(num_images):
            rng = np.random.default_rng(image_id)
            pairs, logits = all_pairs(6), rng.normal(0, 2, (6, 3))
            relation = rng.random((len(pairs), 2))
            prediction = Prediction(logits, boxes, pairs, np.ones(len(pairs)), relation, (10, 130))
            chosen = [(i, j, int(relation[row].argmax())) for row, (i, j) in enumerate(pairs) if i < j]
            truth = GroundTruth(boxes, logits.argmax(axis=1), np.array(chosen), image_id)
            writer.write(image_id, prediction, truth if annotated else None)
    return str(path)


@pytest.fixture
def model(tmp_path):
    """Copy the shipped model, without its calibration."""
    weights = tmp_path / "model.pth"
    shutil.copy(WEIGHTS / "scenes_rtdetr.pth", weights)
    record = ModelInfo.load(WEIGHTS / "scenes_rtdetr.model_info.json").to_dict()
    record.pop("calibration")
    ModelInfo.from_dict(record).save(tmp_path / "model.model_info.json")
    config = tmp_path / "config.yaml"
    base = str(ROOT / "configs/scenes/rtdetr.yaml")
    config.write_text(yaml.safe_dump({"_BASE_": base, "MODEL": {"WEIGHTS": str(weights)}}))
    return config


def test_shipped_model_is_calibrated():
    calibration = Calibration.of(ModelInfo.load(WEIGHTS / "scenes_rtdetr.model_info.json"))
    assert (calibration.dataset, calibration.num_images, calibration.exhaustive) == ("scenes_val", 400, True)


def test_calibrate(model, tmp_path, capsys):
    fitted, tested = (write_predictions(tmp_path / f"predictions_{name}", 30) for name in ("mine_val", "mine_test"))
    words = ["calibrate", "--model", str(model), "--predictions", fitted, "--bootstrap", "20"]
    output = tmp_path / "output"
    assert main([*words, "--test", tested, "--output", str(output), "--splits", "3", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "fitted to 30 images of mine_val" in shown and "asked precision" in shown and "chances" not in shown
    assert "| 3 random halves" in shown
    splits = json.loads((output / "calibration.json").read_text())["splits"]
    assert splits["number"] == 3 and splits["predicates"][0] == pytest.approx(0.9, abs=0.05)
    assert sorted(path.name for path in output.iterdir()) == ["calibration.json", "calibration.png"]
    assert ModelInfo.find(tmp_path / "model.pth").calibration is None

    image = np.full((120, 160, 3), 200, np.uint8)
    before = EGTRPredictor.from_config_file(str(model))(image, "RGB")
    assert before.triplet_probabilities is None
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "model.model_info.json")
    assert Calibration.of(ModelInfo.find(tmp_path / "model.pth")).dataset == "mine_val"
    after = EGTRPredictor.from_config_file(str(model))(image, "RGB")
    for field in ("triplets", "triplet_scores", "scores", "boxes"):
        np.testing.assert_array_equal(getattr(after, field), getattr(before, field))
    assert len(after.triplet_probabilities) == len(after) and len(after.object_probabilities) == len(after.boxes)


def test_the_object_score_of_the_configuration_is_fitted_to(model, tmp_path):
    fitted, key = write_predictions(tmp_path / "predictions_mine_val", 30), "TEST.SCENE_GRAPH.OBJECT_SCORE"
    assert main(["calibrate", "--model", str(model), "--predictions", fitted, key, "sigmoid"]) == 0
    assert ModelInfo.find(tmp_path / "model.pth").calibration["object_score"] == "sigmoid"
    assert EGTRPredictor.from_config_file(str(model), [key, "sigmoid"]).calibration is not None
    assert EGTRPredictor.from_config_file(str(model)).calibration is None


def test_sparse_annotations_are_named(model, tmp_path, capsys):
    fitted = write_predictions(tmp_path / "sparse", 30, exhaustive=False)
    assert main(["calibrate", "--model", str(model), "--predictions", fitted, "--dry-run"]) == 0
    assert "chances of being annotated, not of being true" in " ".join(capsys.readouterr().out.split())


def test_predictions_without_annotations_are_refused(model, tmp_path, capsys):
    fitted = write_predictions(tmp_path / "bare", 3, annotated=False)
    assert main(["calibrate", "--model", str(model), "--predictions", fitted]) == 1
    assert "has no annotations, which a calibration needs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give either --dataset or --predictions"),
        (["--dataset", "a", "--predictions", "b"], "give either --dataset or --predictions"),
        (["--dataset", "a", "--output", "b"], "--output holds what is measured on --test"),
        (["--dataset", "a", "--splits", "2"], "--splits mixes --dataset or --predictions with --test"),
    ],
)
def test_arguments_that_do_not_go_together(words, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["calibrate", *words])
    assert message in capsys.readouterr().err
