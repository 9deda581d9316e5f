"""Detectron2's own ResNet as backbone, with weights in the form of its model zoo."""

import pickle
import re

import numpy as np
import pytest
import torch

from egtr.checkpoint import EGTRCheckpointer
from egtr.structures import EGTRError
from tests.modeling.models import image, small_model

RESNET = [
    "MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.FREEZE_AT", 2,
    "MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.OUT_FEATURES", ["res3", "res4", "res5"],
    "MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16, "MODEL.RESNETS.WIDTH_PER_GROUP", 4,
    "MODEL.PIXEL_MEAN", [103.53, 116.28, 123.675], "MODEL.PIXEL_STD", [1.0, 1.0, 1.0], "INPUT.FORMAT", "BGR",
]  # fmt: skip
BRANCHES = {"conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c", "shortcut": "branch1"}


def caffe2_name(name):
    """Name of a weight of the backbone in files like ImageNetPretrained/MSRA/R-50.pkl; None for norm statistics."""
    match = re.fullmatch(r"(stem|res(\d)\.(\d+))\.(\w+)\.(norm\.)?(weight|bias)", name)
    if match is None:
        return None
    stem, stage, block, layer, norm, kind = match.groups()
    suffix = {("norm.", "weight"): "bn_s", ("norm.", "bias"): "bn_b", (None, "weight"): "w"}[norm, kind]
    if stem == "stem":
        return f"res_conv1_{suffix}" if norm else f"conv1_{suffix}"
    return f"res{stage}_{block}_{BRANCHES[layer]}_{suffix}"


@pytest.fixture(scope="module")
def model():
    return small_model(*RESNET)


def test_forward_and_backward(model):
    model.train()
    losses = model([image(64, 64)])
    sum(losses.values()).backward()
    backbone = dict(model.backbone.named_parameters())
    assert backbone["res5.0.conv1.weight"].grad.any()
    assert not backbone["res2.0.conv1.weight"].requires_grad


def test_weights_of_the_model_zoo_are_read(model, tmp_path, caplog):
    rng = np.random.RandomState(0)
    wanted, blobs = {}, {"fc1000_w": np.zeros((10, 4), np.float32), "conv1_w_momentum": np.zeros(1, np.float32)}
    for name, value in model.backbone.state_dict().items():
        theirs = caffe2_name(name)
        if theirs is not None:
            wanted[name] = blobs[theirs] = rng.rand(*value.shape).astype(np.float32)
    # 53 convolutions with scale and shift each.
    assert len(wanted) == 3 * 53
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps({"blobs": blobs}))
    checkpointer = EGTRCheckpointer(model)
    checkpointer.load(str(path))
    loaded = model.backbone.state_dict()
    for name, value in wanted.items():
        np.testing.assert_array_equal(loaded[name].numpy(), value)
    assert all(not name.startswith("backbone.") for name in checkpointer.incompatible.missing_keys)
    assert any(name.startswith("transformer.") for name in checkpointer.incompatible.missing_keys)


class Payload:
    def __reduce__(self):
        return print, ("this ran",)


def test_a_file_that_would_run_code_is_refused(model, tmp_path, capsys):
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps({"conv1_w": Payload()}))
    with pytest.raises(EGTRError, match="not a pickle of arrays .*print"):
        EGTRCheckpointer(model).load(str(path))
    assert "this ran" not in capsys.readouterr().out


def test_channels_are_blue_first(model):
    """A red image is bright in the last channel, from which the mean of red is subtracted."""
    red = torch.zeros(3, 32, 32, dtype=torch.uint8)
    red[2] = 255
    pixels = model.preprocess_image([{"image": red}]).tensor[0, :, 0, 0]
    torch.testing.assert_close(pixels, torch.tensor([-103.53, -116.28, 255 - 123.675]))
