"""`egtr convert` from a released folder to a model that predicts."""

import torch

from egtr.cli import main
from egtr.inference import EGTRPredictor
from tests.checkpoint.artifacts import write_artifact
from tests.golden_cases import GoldenCase


def test_a_released_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    case = GoldenCase("small")
    write_artifact(tmp_path / "released", case.record["config"], case.reference_state_dict)
    assert main(["convert", "released", "--output", "mine"]) == 0
    first, *files = capsys.readouterr().out.splitlines()
    assert "tensors, no names of classes, no of predicates; written:" in first
    assert files == ["mine/model.pth", "mine/model.safetensors", "mine/config.yaml", "mine/model_info.json"]
    predictor = EGTRPredictor.from_config_file("mine/config.yaml", ["MODEL.DEVICE", "cpu"])
    assert predictor(torch.zeros(3, 40, 60, dtype=torch.uint8), "RGB").image_size == (40, 60)


def test_errors_are_one_line(tmp_path, capsys):
    assert main(["convert", "--artifact", str(tmp_path), "--output", str(tmp_path / "mine")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"egtr convert: error: {tmp_path}") and not (tmp_path / "mine").exists()
