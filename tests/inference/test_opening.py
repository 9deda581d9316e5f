"""`open_predictor`: the runtime that a model gets, by its name and by what is installed."""

import numpy as np
import pytest

import egtr.inference.opening as opening
from egtr.config import load_config
from egtr.hub.model_zoo import get_config_file, get_exported_file
from egtr.inference import EGTRPredictor, open_predictor
from egtr.lite import LitePredictor
from egtr.structures import ConfigurationError, WeightsError
from tests.lite.known_model import write_model


def test_an_exported_file_runs_in_its_runtime(tmp_path):
    model = open_predictor(str(write_model(tmp_path / "Mine.ONNX")), providers=["CPUExecutionProvider"])
    assert isinstance(model, LitePredictor) and model.class_names == ("cat", "mat")
    (result,) = model.predict(np.full((50, 100, 3), 255, np.uint8), "RGB")
    assert result.graph.triplets[0].tolist() == [0, 1, 0]


def test_names_and_configurations_run_in_pytorch():
    assert isinstance(open_predictor("scenes", ["MODEL.DEVICE", "cpu"]), EGTRPredictor)
    assert isinstance(open_predictor(load_config(get_config_file("scenes/egtr.yaml"))), EGTRPredictor)


def test_a_model_that_ships_needs_no_torch(monkeypatch, tmp_path):
    monkeypatch.setattr(opening, "has_torch", lambda: False)
    model = open_predictor("scenes")
    assert isinstance(model, LitePredictor) and model.path == get_exported_file("scenes")
    with pytest.raises(ConfigurationError, match="scenes: MODEL.DEVICE is a key for models in PyTorch"):
        open_predictor("scenes", ["MODEL.DEVICE", "cpu"])
    assert not opening.runs_without_torch("vg150")
    # A file of that name is meant, as everywhere.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenes").write_text("SEED: 5")
    assert not opening.runs_without_torch("scenes")


@pytest.mark.parametrize("missing", ["torch", "detectron2"])
def test_what_is_installed(missing, monkeypatch):
    assert opening.has_torch()
    monkeypatch.setattr(opening, "find_spec", lambda name: None if name == missing else object())
    assert not opening.has_torch()


def test_what_does_not_fit(tmp_path):
    file = str(write_model(tmp_path / "m.onnx"))
    with pytest.raises(ConfigurationError, match=r"m.onnx: SEED is a key for models in PyTorch,.*Leave it out"):
        open_predictor(file, ["SEED", "1"])
    with pytest.raises(ConfigurationError, match="scenes: runs in PyTorch, which has no provider X"):
        open_predictor("scenes", providers=["X"])
    with pytest.raises(WeightsError, match="nowhere.onnx: there is no such file"):
        open_predictor("nowhere.onnx")
    with pytest.raises(
        ConfigurationError, match=r"m.onnx: is an exported model, which egtr demo, report and serve run"
    ):
        EGTRPredictor.create(file)
