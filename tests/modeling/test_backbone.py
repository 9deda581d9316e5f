import math

import pytest
import timm
import torch
from detectron2.modeling import build_model
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from egtr.modeling import TimmBackbone
from egtr.structures import ConfigurationError
from tests.modeling.models import image, small_cfg, small_model


def make(**options):
    return TimmBackbone("resnet18", channels=(8, 8, 16, 16), **options)


def norms(backbone, kind):
    return {name for name, module in backbone.named_modules() if isinstance(module, kind)}


def test_maps_are_named_after_their_stride():
    backbone = make()
    maps = backbone(torch.zeros(1, 3, 64, 96))
    assert {name: tuple(x.shape) for name, x in maps.items()} == {
        "c3": (1, 8, 8, 12),
        "c4": (1, 16, 4, 6),
        "c5": (1, 16, 2, 3),
    }
    assert {name: (s.channels, s.stride) for name, s in backbone.output_shape().items()} == {
        "c3": (8, 8),
        "c4": (16, 16),
        "c5": (16, 32),
    }


def test_every_norm_is_frozen_by_default():
    # One in the stem, two in each of eight blocks, and one in each of four downsample branches.
    backbone = make()
    assert norms(backbone, nn.BatchNorm2d) == set()
    assert len(norms(backbone, FrozenBatchNorm2d)) == 21


def test_released_code_leaves_the_norms_of_downsample_branches():
    backbone = make(freeze_downsample_norm=False)
    ordinary = norms(backbone, nn.BatchNorm2d)
    assert ordinary and all(".downsample." in name for name in ordinary)
    assert not any(".downsample." in name for name in norms(backbone, FrozenBatchNorm2d))


def test_trainable_norms():
    assert len(norms(make(norm="BN", freeze_at=0), nn.BatchNorm2d)) == 21


@pytest.mark.parametrize(("freeze_at", "frozen"), [
    (0, set()), (1, {"conv1"}), (2, {"conv1", "layer1"}), (3, {"conv1", "layer1", "layer2"}),
])  # fmt: skip
def test_leading_stages_are_not_trained(freeze_at, frozen):
    backbone = make(norm="BN", freeze_at=freeze_at)
    # Norms of frozen stages have no parameters left.
    got = {name.split(".")[1] for name, p in backbone.named_parameters() if not p.requires_grad}
    assert got == frozen


def test_a_frozen_norm_keeps_its_activation():
    """In some timm models the norm includes the activation, which freezing must keep."""
    torch.manual_seed(0)
    plain = TimmBackbone("mobilenetv3_small_050", out_indices=(2, 3), norm="BN", freeze_at=0).eval()
    frozen = TimmBackbone("mobilenetv3_small_050", out_indices=(2, 3), norm="FrozenBN", freeze_at=0).eval()
    frozen.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    for name, ours in frozen(x).items():
        torch.testing.assert_close(ours, plain(x)[name])


def test_statistics_of_frozen_stages_do_not_drift():
    backbone = make(norm="BN", freeze_at=2).train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    backbone(torch.randn(2, 3, 64, 64))
    moved = {name.split(".")[1] for name, value in backbone.named_buffers() if not torch.equal(value, before[name])}
    assert moved == {"layer2", "layer3", "layer4"}


def test_a_model_without_visible_stages_is_not_frozen_silently():
    with pytest.raises(ConfigurationError, match="set it to 0"):
        TimmBackbone("mobilenetv3_small_050", out_indices=(2, 3), norm="BN", freeze_at=2)


@pytest.mark.parametrize(
    "name, out_indices, norm",
    [
        ("resnet10t", (2, 3, 4), "FrozenBN"),
        ("convnext_atto", (1, 2, 3), "BN"),
        ("swin_tiny_patch4_window7_224", (1, 2, 3), "BN"),
        ("mobilenetv3_small_050", (2, 3, 4), "FrozenBN"),
    ],
)
def test_families_forward_and_backward(name, out_indices, norm):
    """Maps have the announced shapes, also those of Swin, which puts channels last.

    They feed the whole model, and its losses reach the first and the last stage.
    """
    model = small_model(
        "MODEL.EGTR.BACKBONE.NAME", name, "MODEL.EGTR.BACKBONE.OUT_INDICES", list(out_indices),
        "MODEL.EGTR.BACKBONE.NORM", norm, "MODEL.EGTR.BACKBONE.CHANNELS", [],
    ).train()  # fmt: skip
    seen = []
    model.backbone.register_forward_hook(lambda _, inputs, maps: seen.append(maps))
    sum(model([image(224, 224)]).values()).backward()
    for level, shape in model.backbone.output_shape().items():
        side = 224 // shape.stride
        assert seen[0][level].shape == (1, shape.channels, side, side)
    stages = [name.split(".")[1] for name, _ in model.backbone.named_parameters()]
    reached = {
        name.split(".")[1] for name, p in model.backbone.named_parameters() if p.grad is not None and p.grad.any()
    }
    assert {stages[0], stages[-1]} <= reached


@pytest.mark.parametrize(
    ("name", "out_indices"),
    [
        ("swin_tiny_patch4_window7_224", (1, 2, 3)),
        ("swinv2_tiny_window8_256", (1, 2, 3)),
        ("vit_tiny_patch16_224", (11,)),
        ("eva02_tiny_patch14_224", (11,)),
    ],
)
def test_models_that_are_made_for_one_size_take_any(name, out_indices):
    backbone = TimmBackbone(name, out_indices=out_indices, norm="BN", freeze_at=0).eval()
    # Neither side is a multiple of the patches, of 4, 14 or 16 pixels.
    height, width = 101, 150
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 3, height, width))
    for level, shape in backbone.output_shape().items():
        assert maps[level].shape[2:] == (math.ceil(height / shape.stride), math.ceil(width / shape.stride))


def test_a_model_whose_card_names_one_size_may_take_any_without_an_option():
    backbone = TimmBackbone("xcit_nano_12_p16_224", out_indices=(11,), norm="BN", freeze_at=0).eval()
    with torch.no_grad():
        assert backbone(torch.zeros(1, 3, 96, 160))["c4"].shape == (1, 128, 6, 10)


def test_one_size_gives_the_maps_of_timm():
    """At the size that a model is made for, nothing has changed."""
    name, indices = "swin_tiny_patch4_window7_224", (1, 2, 3)
    ours = TimmBackbone(name, out_indices=indices, norm="BN", freeze_at=0).eval()
    theirs = timm.create_model(name, features_only=True, out_indices=indices).eval()
    theirs.load_state_dict(ours.model.state_dict())
    pixels = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        for mine, other in zip(ours(pixels).values(), theirs(pixels), strict=True):
            torch.testing.assert_close(mine, other.permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("name", "out_indices", "message"),
    [
        ("levit_128", (0, 1, 2), "NAME 'levit_128': this timm model does not take images of every size"),
        ("mvitv2_tiny", (1, 2, 3), "does not take images of every size, such as 200 x 333"),
        ("hrnet_w18_small", (2, 3, 4), "does not take images of every size"),
        ("vit_tiny_patch16_224", (9, 10, 11), r"OUT_INDICES \[9, 10, 11\].*strides \[16, 16, 16\].* \[11\]"),
    ],
)
def test_what_cannot_be_a_backbone_is_refused_when_it_is_built(name, out_indices, message):
    with pytest.raises(ConfigurationError, match=message):
        TimmBackbone(name, out_indices=out_indices, norm="BN", freeze_at=0)


FPN = ["MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone", "MODEL.RESNETS.DEPTH", 18]
FPN += ["MODEL.RESNETS.RES2_OUT_CHANNELS", 64]


def test_a_feature_pyramid_of_detectron2():
    stages = ["res3", "res4", "res5"]
    model = small_model(*FPN, "MODEL.RESNETS.OUT_FEATURES", stages, "MODEL.FPN.IN_FEATURES", stages).train()
    assert {name: shape.stride for name, shape in model.backbone.output_shape().items()} == {
        "p3": 8, "p4": 16, "p5": 32, "p6": 64,
    }  # fmt: skip
    sum(model([image(64, 96)]).values()).backward()
    assert model.backbone.fpn_lateral3.weight.grad.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (FPN, "build_resnet_fpn_backbone' cannot be built .*MODEL.FPN.IN_FEATURES"),
        ([*FPN, "MODEL.FPN.IN_FEATURES", ["res3"]], "cannot be built .*MODEL.RESNETS.OUT_FEATURES"),
        (
            [*FPN, *(w for key in ("MODEL.RESNETS.OUT_FEATURES", "MODEL.FPN.IN_FEATURES")
                     for w in (key, ["res2", "res3", "res4", "res5"]))],
            r"NUM_FEATURE_LEVELS 4 is less than the backbone's 5 maps \(p2, p3, p4, p5, p6\).*MODEL.FPN.IN_FEATURES",
        ),
        (["MODEL.BACKBONE.NAME", "build_nothing"], "'build_nothing' is not registered. Known: .*build_timm_backbone"),
    ],
)  # fmt: skip
def test_a_backbone_of_detectron2_that_cannot_be_built_is_one_line(options, message):
    with pytest.raises(ConfigurationError, match=message):
        build_model(small_cfg(*options))
