"""Records of models that change in place."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from egtr.checkpoint.model_info import update_model_info
from egtr.config import get_egtr_cfg
from egtr.structures import ModelInfo, WeightsError

CHANGE = {"calibration": {"dataset": "mine_val"}}


def make_cfg(weights):
    cfg = get_egtr_cfg()
    cfg.MODEL.WEIGHTS = str(weights)
    cfg.MODEL.EGTR.CLASS_NAMES, cfg.MODEL.EGTR.NUM_CLASSES = ["dog"], 1
    return cfg


def test_beside_weights_without_a_record(tmp_path):
    weights = tmp_path / "mine.pth"
    torch.save({}, weights)
    assert update_model_info(make_cfg(weights), CHANGE) == tmp_path / "mine.model_info.json"
    found = ModelInfo.find(weights)
    assert found.calibration == {"dataset": "mine_val"} and found.class_names == ("dog",)


def test_the_record_of_a_folder_stays_as_it_is(tmp_path):
    weights, shared = tmp_path / "mine.pth", tmp_path / "model_info.json"
    torch.save({}, weights)
    ModelInfo(name="folder", unknown={"later": 1}).save(shared)
    before = shared.read_bytes()
    update_model_info(make_cfg(weights), CHANGE)
    assert shared.read_bytes() == before
    found = ModelInfo.find(weights)
    assert (found.name, found.unknown, found.calibration) == ("folder", {"later": 1}, {"dataset": "mine_val"})


def test_in_the_metadata_of_safetensors(tmp_path):
    weights = tmp_path / "mine.safetensors"
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}
    save_file(tensors, weights, {"model_info": ModelInfo(name="inside").to_json(), "other": "kept"})
    assert update_model_info(make_cfg(weights), CHANGE) == weights
    found = ModelInfo.find(weights)
    assert (found.name, found.calibration) == ("inside", {"dataset": "mine_val"})
    with safe_open(weights, framework="pt") as file:
        assert file.metadata()["other"] == "kept"
    for name, tensor in load_file(weights).items():
        assert tensor.dtype == tensors[name].dtype and torch.equal(tensor, tensors[name])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.safetensors"]


def test_safetensors_without_a_record_get_one_beside(tmp_path):
    weights = tmp_path / "mine.safetensors"
    save_file({"a": torch.zeros(1)}, weights)
    assert update_model_info(make_cfg(weights), CHANGE) == tmp_path / "mine.model_info.json"


@pytest.mark.parametrize("name", ["", "missing.pth"])
def test_no_weights(tmp_path, name):
    with pytest.raises(WeightsError, match="MODEL.WEIGHTS is .*, which is no file"):
        update_model_info(make_cfg(tmp_path / name if name else ""), CHANGE)
