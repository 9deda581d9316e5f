import pytest
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from egtr.modeling import TimmBackbone
from egtr.structures import ConfigurationError
from tests.modeling.models import image, small_model


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
