"""Weights inside of what other tools save around them."""

import argparse
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from egtr.checkpoint import EGTRCheckpointer, load_checkpoint_file, load_reference
from egtr.checkpoint.wrappers import strip_wrapper
from egtr.structures import WeightsError
from tests.checkpoint.artifacts import write_artifact
from tests.golden_cases import GoldenCase


class Toy(nn.Module):
    """Like the models here, one of its parts has a part called ``model``."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.ModuleDict({"model": nn.Linear(2, 2)})
        self.head = nn.Linear(2, 3)


WEIGHTS = {name: torch.full_like(value, 0.25) for name, value in Toy().state_dict().items()}


def prefixed(prefix: str) -> dict:
    return {prefix + name: value for name, value in WEIGHTS.items()}


def check(path: Path) -> EGTRCheckpointer:
    checkpointer = EGTRCheckpointer(model := Toy())
    checkpointer.load(str(path))
    assert not checkpointer.incompatible.missing_keys and not checkpointer.incompatible.incorrect_shapes
    assert all((value == 0.25).all() for value in model.state_dict().values())
    return checkpointer


@pytest.mark.parametrize("content", [
    WEIGHTS,
    {"model": WEIGHTS, "iteration": 3},
    {"state_dict": WEIGHTS, "epoch": 3},
    {"model_state_dict": WEIGHTS, "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(1)}}}},
    {"state_dict": prefixed("model."), "pytorch-lightning_version": "2.0", "loops": {}},
    {"state_dict": prefixed("model._orig_mod."), "epoch": 3},
    {"model_ema": WEIGHTS},
    {"ema": {"module": WEIGHTS, "updates": 5}},
    {"ema": WEIGHTS, "arch": "egtr", "model": "egtr"},
    {"ema_state_dict": prefixed("module.")},
    {"model": prefixed("module.")},
    {"model": prefixed("_orig_mod.")},
    {"model": prefixed("module._orig_mod.")},
    {"model": prefixed("_orig_mod.module.")},
    {"model": prefixed("module.") | {"n_averaged": torch.tensor(3)}},
    {"model": {name.replace("backbone.", "backbone._orig_mod."): value for name, value in WEIGHTS.items()}},
    {"model": {"state_dict": WEIGHTS}},
    {"state_dict": prefixed("net.") | {"criterion.weight": torch.ones(3)}},
    {**WEIGHTS, "epoch": 3},
    {"params": WEIGHTS, "params_ema": {name: value + 1 for name, value in WEIGHTS.items()}},
    {"params_ema": WEIGHTS},
    {"teacher": prefixed("module."), "optimizer": {"state": {0: {"exp_avg": torch.ones(1)}}}, "epoch": 3},
])  # fmt: skip
@pytest.mark.parametrize("zipped", [True, False])
def test_as_other_tools_save_them(tmp_path, content, zipped):
    path = tmp_path / "weights.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    check(path)


def test_training_weights_come_before_averaged_ones(tmp_path):
    other = {name: value + 1 for name, value in WEIGHTS.items()}
    torch.save({"ema": {"module": other}, "model": WEIGHTS, "epoch": 3}, tmp_path / "weights.pth")
    check(tmp_path / "weights.pth")


def test_objects_of_lightning(tmp_path):
    """They are read as plain values; Lightning need not be installed."""
    hyper_parameters = argparse.Namespace(lr=1e-4, folder=Path("a/b"), scale=np.float64(0.5))
    content = {"state_dict": prefixed("model."), "hyper_parameters": hyper_parameters, "epoch": 3}
    torch.save(content, tmp_path / "lightning.ckpt")
    check(tmp_path / "lightning.ckpt")


def test_the_content_decides_about_the_format(tmp_path):
    torch.save({"state_dict": WEIGHTS}, tmp_path / "torch.safetensors")
    torch.save({"state_dict": WEIGHTS}, tmp_path / "torch.pkl")
    save_file(prefixed("module."), tmp_path / "safe.pth")
    save_file(prefixed("model."), tmp_path / "safe")
    arrays = {name: value.numpy() for name, value in prefixed("module.").items()}
    (tmp_path / "arrays.pkl").write_bytes(pickle.dumps({"state_dict": arrays}))
    for path in tmp_path.iterdir():
        check(path)


def test_weights_that_are_exported(tmp_path):
    torch.save({"state_dict": prefixed("module._orig_mod."), "epoch": 3}, tmp_path / "weights.pth")
    content = load_checkpoint_file(str(tmp_path / "weights.pth"))
    assert content.keys() == {"model"} and content["model"].keys() == WEIGHTS.keys()


def test_what_is_beside_the_weights_of_a_run_stays(tmp_path):
    torch.save({"model": WEIGHTS, "iteration": 3, "score": 0.5}, tmp_path / "model_best.pth")
    content = load_checkpoint_file(str(tmp_path / "model_best.pth"))
    assert (content["iteration"], content["score"]) == (3, 0.5)


@pytest.mark.parametrize(("content", "message"), [
    ({"epoch": 3, "lr": 0.1}, r"weights.pth: holds no single set of weights, only epoch, lr\. Save"),
    ({"state_dict": {"a": 1}}, "holds no single set of weights, only state_dict"),
    ({"model": None}, "holds no single set of weights, only model"),
    ({"teacher": WEIGHTS, "student": WEIGHTS}, "holds no single set of weights, only teacher, student"),
    ([torch.ones(1)], "holds a list, expected a dict of tensors"),
    ({"model": Toy()}, r"holds more than weights: .*Toy.*save it again as \{'model': model.state_dict\(\)\}"),
])  # fmt: skip
def test_no_weights(tmp_path, content, message):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=message) as caught:
        EGTRCheckpointer(Toy()).load(str(tmp_path / "weights.pth"))
    assert "weights_only" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_pickle_with_more_than_arrays(tmp_path):
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps({"head": {"weight": np.zeros(1)}}))
    with pytest.raises(WeightsError, match=r"weights\.pkl: 'head' is no array"):
        EGTRCheckpointer(Toy()).load(str(tmp_path / "weights.pkl"))


def test_only_names_of_wrappers_are_left_away():
    """A part of another model may be called like a part of this one."""
    assert strip_wrapper({"0.head": 1}, {"head"}) == {"0.head": 1}
    assert strip_wrapper({"teacher.head": 1}, {"head"}) == {"teacher.head": 1}
    # The more names fit, and of equally many the longer ones.
    assert strip_wrapper({"model.a": 1, "model.b": 2, "c": 3}, {"a", "b", "c"}) == {"a": 1, "b": 2, "c": 3}
    assert strip_wrapper({"model.a": 1}, {"a", "model.a"}) == {"model.a": 1}


@pytest.mark.parametrize("wrap", [
    lambda weights: {"model": {f"module._orig_mod.{name}": value for name, value in weights.items()}},
    lambda weights: {"ema": {"module": weights}},
])  # fmt: skip
def test_a_released_model_that_was_wrapped(tmp_path, wrap):
    case = GoldenCase("small")
    checkpoint = write_artifact(tmp_path, case.record["config"], case.reference_state_dict)
    torch.save(wrap(torch.load(checkpoint, weights_only=True)["state_dict"]), checkpoint)
    _, state_dict = load_reference(tmp_path)
    assert state_dict.keys() == case.model.state_dict().keys()
