"""timm networks as Detectron2 backbones."""

import math
from contextlib import suppress

import timm
import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.modeling import build_backbone as build_registered
from timm.layers import PatchEmbed, freeze_batch_norm_2d
from timm.models.resnet import BasicBlock, Bottleneck, downsample_avg
from torch import Tensor, nn

from egtr.layers import cpu
from egtr.layers.norm_folding import fold_batch_norms
from egtr.structures import ConfigurationError

NORMS = ("FrozenBN", "BN")


def _freeze_norms(module: nn.Module, keep_downsample: bool) -> nn.Module:
    """Replace batch norms by frozen ones; with ``keep_downsample``, not those inside `downsample`."""
    for name, child in list(module.named_children()):
        if not (keep_downsample and name == "downsample"):
            module.add_module(name, _freeze_norms(child, keep_downsample))
    return module if list(module.children()) else freeze_batch_norm_2d(module)


def _create_model(name: str, **options) -> nn.Module:
    """Create a timm model for images of any size.

    Raises:
        ConfigurationError: it takes only images of some sizes.
        Exception: timm's own errors.
    """
    card = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    fixed = card is not None and card.fixed_input_size
    model = None
    if fixed:
        # Some of these models have no such option.
        with suppress(TypeError):
            model = timm.create_model(name, features_only=True, dynamic_img_size=True, **options)
    if model is None:
        model = timm.create_model(name, features_only=True, **options)
    for module in model.modules():
        if isinstance(module, PatchEmbed):
            module.dynamic_img_pad = True
    sizes = [(40, 56), (200, 333)] if fixed else [(40, 56)]
    for height, width in sizes:
        try:
            with torch.no_grad():
                model.eval()(torch.zeros(1, 3, height, width))
        except (RuntimeError, AssertionError, IndexError, ValueError) as error:
            raise ConfigurationError(
                f"MODEL.EGTR.BACKBONE.NAME {name!r}: this timm model does not take images of every size, such as "
                f"{height} x {width} ({error}). Take another one, such as a ResNet, ConvNeXt, Swin or ViT"
            ) from error
    return model.train()


def _add_stage1_projection(model: nn.Module) -> None:
    block = next(iter(getattr(model, "layer1", [])), None)
    if not isinstance(block, BasicBlock | Bottleneck):
        raise ConfigurationError("MODEL.EGTR.BACKBONE.STAGE1_PROJECTION True needs a ResNet of timm")
    if block.downsample is None:
        width = block.conv1.in_channels
        block.downsample = downsample_avg(width, width, kernel_size=1)


class TimmBackbone(Backbone):
    """Feature maps of a timm model.

    Maps are named after their stride: "c3" has stride 8, "c4" 16, "c5" 32. The timm model is the attribute
    ``model``, so parameter names are ``model.`` and timm's own names. Models that are made for images of one size,
    such as Swin and ViT, are built so that they take any size.

    Args:
        name: timm model name; the model must support ``features_only``.
        out_indices: stages to return, in timm's counting.
        pretrained: let timm fetch its weights.
        norm: "FrozenBN" or "BN".
        freeze_downsample_norm: with "FrozenBN", freeze the norms of `downsample` branches, too.
        freeze_at: number of leading stages that are not trained; 0 none, 1 the stem, 2 the stem and the first stage.
        channels, layers: widths and numbers of blocks of the stages of a timm ResNet; empty for the model's own.
        stage1_projection: give the first block of a timm ResNet a projection in its shortcut, with which resnet18d
            and resnet34d are the ResNet-vd of RT-DETR.

    Raises:
        ConfigurationError: timm does not know the model, or the model does not support a setting or images of any
            size.
    """

    def __init__(
        self,
        name: str,
        *,
        out_indices=(2, 3, 4),
        pretrained: bool = False,
        norm: str = "FrozenBN",
        freeze_downsample_norm: bool = True,
        freeze_at: int = 2,
        channels=(),
        layers=(),
        stage1_projection: bool = False,
    ):
        super().__init__()
        if norm not in NORMS:
            raise ConfigurationError(f"MODEL.EGTR.BACKBONE.NORM is {norm!r}, choose one of {', '.join(NORMS)}")
        shape = {"channels": tuple(channels), "layers": tuple(layers)}
        extra = {key: value for key, value in shape.items() if value}
        try:
            model = _create_model(name, pretrained=pretrained, out_indices=tuple(out_indices), **extra)
        # timm raises OSError if it cannot fetch the weights.
        except (RuntimeError, TypeError, AttributeError, IndexError, AssertionError, OSError) as error:
            raise ConfigurationError(
                f"MODEL.EGTR.BACKBONE: NAME {name!r}, OUT_INDICES {list(out_indices)}, PRETRAINED {pretrained}: timm "
                f"says: {error}. timm.list_models() names the models"
            ) from error
        if stage1_projection:
            _add_stage1_projection(model)
        if norm == "FrozenBN":
            model = _freeze_norms(model, keep_downsample=not freeze_downsample_norm)
        self.model = model
        # Swin and some others put channels last.
        self._permuted = getattr(model, "output_fmt", "NCHW") == "NHWC"
        self._freeze_stages(freeze_at, freeze_norms=norm == "BN")
        fold_batch_norms(model)
        strides, widths = model.feature_info.reduction(), model.feature_info.channels()
        if len(set(strides)) < len(strides):
            raise ConfigurationError(
                f"MODEL.EGTR.BACKBONE.OUT_INDICES {list(out_indices)}: in {name!r} these have the strides "
                f"{strides}. Give one stage of each stride, such as [{list(out_indices)[-1]}]; the transformer makes "
                "coarser maps"
            )
        self._out_features = [f"c{int(math.log2(stride))}" for stride in strides]
        self._out_feature_strides = dict(zip(self._out_features, strides, strict=True))
        self._out_feature_channels = dict(zip(self._out_features, widths, strict=True))

    def _freeze_stages(self, freeze_at: int, freeze_norms: bool) -> None:
        if freeze_at <= 0:
            return
        stages = [info["module"].replace(".", "_") for info in self.model.feature_info.info]
        if freeze_at > len(stages):
            raise ConfigurationError(
                f"MODEL.BACKBONE.FREEZE_AT is {freeze_at}, the backbone has {len(stages)} stages"
            )
        names = [name for name, _ in self.model.named_children()]
        if stages[freeze_at - 1] not in names:
            raise ConfigurationError(
                f"MODEL.BACKBONE.FREEZE_AT is {freeze_at}, but in this timm model the end of stage "
                f"{stages[freeze_at - 1]!r} is unknown (parts: {', '.join(names)}): set it to 0"
            )
        for name in names[: names.index(stages[freeze_at - 1]) + 1]:
            part = self.model.get_submodule(name).requires_grad_(False)
            if freeze_norms:
                # Their statistics must not change either.
                self.model.add_module(name, _freeze_norms(part, keep_downsample=False))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, H, W) normalised images to {"c3": (B, width, H / 8, W / 8), ...}, finest first."""
        if cpu.is_used(x.device):
            # Convolutions and pooling are faster with channels last; docs/performance.md has the numbers.
            x = x.contiguous(memory_format=torch.channels_last)
        maps = self.model(x)
        if self._permuted:
            maps = [m.permute(0, 3, 1, 2) for m in maps]
        return dict(zip(self._out_features, maps, strict=True))

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            name: ShapeSpec(channels=self._out_feature_channels[name], stride=self._out_feature_strides[name])
            for name in self._out_features
        }


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg, input_shape) -> TimmBackbone:
    """Build the timm model that ``cfg.MODEL.EGTR.BACKBONE`` describes."""
    backbone = cfg.MODEL.EGTR.BACKBONE
    return TimmBackbone(
        backbone.NAME,
        out_indices=backbone.OUT_INDICES,
        pretrained=backbone.PRETRAINED,
        norm=backbone.NORM,
        freeze_downsample_norm=backbone.FREEZE_DOWNSAMPLE_NORM,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        channels=backbone.CHANNELS,
        layers=backbone.LAYERS,
        stage1_projection=backbone.STAGE1_PROJECTION,
    )


def build_backbone(cfg: CfgNode) -> Backbone:
    """Build the backbone that MODEL.BACKBONE.NAME names in Detectron2's registry.

    Raises:
        ConfigurationError: it is not registered, or cannot be built from these settings.
    """
    name = cfg.MODEL.BACKBONE.NAME
    if name not in BACKBONE_REGISTRY:
        known = ", ".join(sorted(name for name, _ in BACKBONE_REGISTRY))
        raise ConfigurationError(f"MODEL.BACKBONE.NAME: {name!r} is not registered. Known: {known}")
    try:
        return build_registered(cfg)
    # As Detectron2's own builders raise them.
    except (AssertionError, KeyError) as error:
        raise ConfigurationError(
            f"MODEL.BACKBONE.NAME {name!r} cannot be built ({type(error).__name__}: {error}). Detectron2's ResNets "
            "name their maps in MODEL.RESNETS.OUT_FEATURES, and an FPN also what it reads in MODEL.FPN.IN_FEATURES: "
            "set both to ['res3', 'res4', 'res5']"
        ) from error
