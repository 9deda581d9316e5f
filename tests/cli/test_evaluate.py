"""`egtr evaluate`: its scores, which `egtr score` finds again in what it saves."""

import json

import pytest

from egtr.cli import main


def test_a_plain_name_is_a_dataset_and_a_model(scenes, tmp_path):
    assert main(["evaluate", "--model", "scenes", "DATASETS.TEST", "scenes_test", "OUTPUT_DIR", "run"]) == 0
    metrics = json.loads((tmp_path / "run/scene_graph_scenes_test.json").read_text())["protocols"]["reference"]
    assert metrics["metrics"]["num_images"] == 4 and metrics["metrics"]["R@50"] > 50


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
