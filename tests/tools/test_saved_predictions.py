"""What `train_net.py --eval-only` saves scores elsewhere as it did there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from egtr.data.scenes import prepare_scenes

TOOLS = Path(__file__).parents[2] / "tools"


def run_tool(name, *arguments, **environment):
    command = [sys.executable, str(TOOLS / name), *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_predictions_of_the_shipped_model_score_the_same_without_it(tmp_path):
    prepare_scenes(tmp_path / "scenes", sizes=(60, 20, 1))
    output = tmp_path / "run"
    run_tool(
        "train_net.py",
        *("--config-file", "egtr://configs/scenes/egtr.yaml", "--eval-only"),
        *("DATASETS.TEST", "('scenes_val',)", "OUTPUT_DIR", output, "MODEL.DEVICE", "cpu"),
        *("TEST.SCENE_GRAPH.PROTOCOLS", "['strict', 'reference']", "TEST.SCENE_GRAPH.SAVE_PREDICTIONS", "True"),
        DETECTRON2_DATASETS=str(tmp_path),
    )
    printed = run_tool(
        "evaluate_predictions.py",
        *("--predictions", output / "predictions_scenes_val", "--output", tmp_path / "scores"),
        *("--protocol", "reference", "strict"),
    )
    expected = json.loads((output / "scene_graph_scenes_val.json").read_text())["protocols"]
    found = json.loads((tmp_path / "scores" / "evaluation.json").read_text())["protocols"]
    assert set(found) == set(expected) == {"reference", "strict"}
    for protocol, entry in found.items():
        assert entry["metrics"] == pytest.approx(expected[protocol]["metrics"], abs=1e-6)
        assert entry["per_predicate"] == expected[protocol]["per_predicate"]
    metrics = expected["strict"]["metrics"]
    assert metrics["num_images"] == 20 and metrics["R@50"] > 50
    # The training set was counted and travelled along.
    assert "head-mR@50" in metrics and "zR@50" in metrics
    assert f"{metrics['R@50']:.2f}" in printed and "| strict" in printed
