"""`egtr evaluate`: its scores, which `egtr score` finds again in what it saves."""

import json

import pytest

from egtr.cli import main


def test_a_plain_name_is_a_dataset_and_a_model(scenes, tmp_path):
    assert main(["evaluate", "--model", "scenes", "--output", "run", "DATASETS.TEST", "scenes_test"]) == 0
    metrics = json.loads((tmp_path / "run/scene_graph_scenes_test.json").read_text())["protocols"]["reference"]
    assert metrics["metrics"]["num_images"] == 4 and metrics["metrics"]["R@50"] > 50


def test_its_help_is_its_own(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    texts = {}
    for command in ("evaluate", "train"):
        with pytest.raises(SystemExit, match="0"):
            main([command, "--help"])
        texts[command] = capsys.readouterr().out
    assert all("--opts" in text and "--output DIR" in text for text in texts.values())
    assert "--eval-only" not in texts["evaluate"] and "--eval-only" in texts["train"]
    assert "--resume evaluate the last checkpoint in OUTPUT_DIR" in " ".join(texts["evaluate"].split())
    assert "--resume continue from the last checkpoint in OUTPUT_DIR" in " ".join(texts["train"].split())


@pytest.mark.slow
def test_predictions_of_the_shipped_model_score_the_same_without_it(scenes, tmp_path, capsys):
    words = ["DATASETS.TEST", "scenes_val", "OUTPUT_DIR", "run", "TEST.SCENE_GRAPH.PROTOCOLS", "strict,reference"]
    model = ["--config-file", "egtr://configs/scenes/egtr.yaml"]
    assert main(["evaluate", *model, *words, "TEST.SCENE_GRAPH.SAVE_PREDICTIONS", "True"]) == 0
    capsys.readouterr()
    saved = ["--predictions", "run/predictions_scenes_val", "--output", "scores"]
    assert main(["score", *saved, "--protocol", "reference", "strict"]) == 0
    printed = capsys.readouterr().out
    expected = json.loads((tmp_path / "run/scene_graph_scenes_val.json").read_text())["protocols"]
    found = json.loads((tmp_path / "scores/evaluation.json").read_text())["protocols"]
    assert set(found) == set(expected) == {"reference", "strict"}
    for protocol, entry in found.items():
        assert entry["metrics"] == pytest.approx(expected[protocol]["metrics"], abs=1e-6)
        assert entry["per_predicate"] == expected[protocol]["per_predicate"]
    metrics = expected["strict"]["metrics"]
    assert metrics["num_images"] == 20 and metrics["R@50"] > 50
    # The training set was counted and travelled along.
    assert "head-mR@50" in metrics and "zR@50" in metrics
    assert f"{metrics['R@50']:.2f}" in printed and "| strict" in printed
