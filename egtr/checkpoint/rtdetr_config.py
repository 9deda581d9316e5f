"""Settings of RT-DETR: config.json of FROSS and of Hugging Face, and weights of RT-DETR's authors, who store none."""

import re
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import Tensor

from egtr.structures import ConfigurationError, WeightsError

from .rtdetr_names import PREFIX

HUGGING_FACE = ("rt_detr", "rt_detr_v2")
_BLOCKS_OF_RESNET = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3]}
_WIDTHS = [64, 128, 256, 512]

KINDS = {
    int: (
        "presnet_depth presnet_freeze_at hybrid_encoder_hidden_dim hybrid_encoder_num_encoder_layers "
        "hybrid_encoder_nhead hybrid_encoder_dim_feedforward rt_detr_transformer_hidden_dim "
        "rt_detr_transformer_num_levels rt_detr_transformer_num_layers rt_detr_transformer_num_denoising "
        "rt_detr_transformer_eval_idx encoder_hidden_dim num_denoising decoder_n_levels"
    ),
    int | float: (
        "hybrid_encoder_dropout hybrid_encoder_expansion hybrid_encoder_depth_mult hidden_expansion "
        "rt_detr_transformer_label_noise_ratio rt_detr_transformer_box_noise_scale label_noise_ratio box_noise_scale "
        "weight_loss_vfl weight_loss_bbox weight_loss_giou matcher_class_cost matcher_bbox_cost matcher_giou_cost "
        "focal_loss_alpha focal_loss_gamma decoder_offset_scale"
    ),
    int | list: "rt_detr_transformer_num_points",
    list: "presnet_return_idx hybrid_encoder_use_encoder_idx encode_proj_layers",
}


def is_config(config: dict[str, Any]) -> bool:
    """Tell whether a config.json describes an RT-DETR, of FROSS or of Hugging Face."""
    return config.get("model_type") in HUGGING_FACE or any(key.startswith("presnet_") for key in config)


def default_num_classes(config: dict[str, Any]) -> int:
    """Return the number of classes if a config.json does not tell it.

    FROSS never does; :func:`~egtr.checkpoint.load_reference` then reads it from the weights.
    """
    return 2 if config.get("model_type") in HUGGING_FACE else 150


def has_released_losses(config: dict[str, Any]) -> bool:
    """Tell whether a config.json has the losses of EGTR's released code, as that of FROSS, and not RT-DETR's own."""
    return "ce_loss_coefficient" in config


def set_detector(cfg: CfgNode, config: dict[str, Any]) -> None:
    """Set the detector that a config.json of FROSS or Hugging Face describes (in place).

    Raises:
        ConfigurationError: a setting is not supported.
    """
    egtr, transformer = cfg.MODEL.EGTR, cfg.MODEL.EGTR.TRANSFORMER
    transformer.NAME = "RTDETRTransformer"
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [0.0, 0.0, 0.0], [255.0, 255.0, 255.0]
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 640, 1066
    egtr.NUM_QUERIES = config.get("num_queries", 300)
    egtr.BACKBONE.OUT_INDICES = [2, 3, 4]
    egtr.BACKBONE.FREEZE_DOWNSAMPLE_NORM = True
    if config.get("model_type") in HUGGING_FACE:
        _set_hugging_face(cfg, config)
    else:
        _set_released(cfg, config)
    if not has_released_losses(config):
        _set_losses(cfg, config)


def _require(config: dict[str, Any], **supported: Any) -> None:
    """Refuse settings whose values are not the supported ones; a missing one has that value."""
    for key, value in supported.items():
        if config.get(key, value) != value:
            raise ConfigurationError(f"config.json: {key} {config[key]!r} is not supported, only {value!r}")


def _set_points(cfg: CfgNode, points: int | list[int]) -> None:
    transformer = cfg.MODEL.EGTR.TRANSFORMER
    points = [points] if isinstance(points, int) else list(points)
    transformer.DEC_POINTS = points[0]
    transformer.DEC_POINTS_PER_LEVEL = points if len(set(points)) > 1 else []


def _set_denoising(cfg: CfgNode, count: int, label_noise: float, box_noise: float) -> None:
    denoising = cfg.MODEL.EGTR.DENOISING
    denoising.ENABLED = count > 0
    if count > 0:
        denoising.NUM_QUERIES = count
    denoising.LABEL_NOISE, denoising.BOX_NOISE = float(label_noise), float(box_noise)


def _set_released(cfg: CfgNode, config: dict[str, Any]) -> None:
    _require(
        config,
        presnet_variant="d",
        presnet_num_stages=4,
        presnet_return_idx=[1, 2, 3],
        hybrid_encoder_use_encoder_idx=[2],
        hybrid_encoder_enc_act="gelu",
        hybrid_encoder_act="silu",
        rt_detr_transformer_num_levels=3,
        rt_detr_transformer_cross_attn_method="default",
        rt_detr_transformer_query_select_method="default",
    )
    egtr, transformer, encoder = (
        cfg.MODEL.EGTR,
        cfg.MODEL.EGTR.TRANSFORMER,
        cfg.MODEL.EGTR.TRANSFORMER.HYBRID_ENCODER,
    )
    depth = config.get("presnet_depth", 50)
    if depth not in _BLOCKS_OF_RESNET:
        raise ConfigurationError(f"config.json: presnet_depth {depth} is not supported, only 18, 34, 50 and 101")
    egtr.BACKBONE.NAME = f"resnet{depth}d"
    egtr.BACKBONE.STAGE1_PROJECTION = depth < 50
    egtr.BACKBONE.NORM = "FrozenBN" if config.get("presnet_freeze_norm", True) else "BN"
    cfg.MODEL.BACKBONE.FREEZE_AT = config.get("presnet_freeze_at", 0) + 1
    transformer.HIDDEN_DIM = config.get("rt_detr_transformer_hidden_dim", 256)
    transformer.NHEADS = config.get("hybrid_encoder_nhead", 8)
    transformer.ENC_LAYERS = config.get("hybrid_encoder_num_encoder_layers", 1)
    transformer.ENC_FFN_DIM = config.get("hybrid_encoder_dim_feedforward", 1024)
    transformer.DEC_LAYERS = config.get("rt_detr_transformer_num_layers", config.get("decoder_layers", 6))
    transformer.DEC_FFN_DIM = config.get("rt_detr_transformer_dim_feedforward", 1024)
    transformer.DROPOUT = float(config.get("hybrid_encoder_dropout", 0.0))
    transformer.EVAL_IDX = config.get("rt_detr_transformer_eval_idx", -1)
    _set_points(cfg, config.get("rt_detr_transformer_num_points", 4))
    encoder.DIM = _encoder_width(config.get("hybrid_encoder_hidden_dim", 256), transformer.HIDDEN_DIM)
    encoder.EXPANSION = float(config.get("hybrid_encoder_expansion", 1.0))
    encoder.DEPTH_MULT = float(config.get("hybrid_encoder_depth_mult", 1.0))
    encoder.POSITION_ORDER = "column_major"
    _set_denoising(
        cfg,
        config.get("rt_detr_transformer_num_denoising", 0),
        config.get("rt_detr_transformer_label_noise_ratio", 0.5),
        config.get("rt_detr_transformer_box_noise_scale", 1.0),
    )


def _set_losses(cfg: CfgNode, config: dict[str, Any]) -> None:
    """Set RT-DETR's own losses, by the names of Hugging Face."""
    loss, matcher = cfg.MODEL.EGTR.LOSS, cfg.MODEL.EGTR.MATCHER

    def get(key: str, default: float) -> float:
        return float(config.get(key, default))

    loss.CLASS_LOSS = "varifocal"
    loss.VARIFOCAL_ALPHA, loss.VARIFOCAL_GAMMA = get("focal_loss_alpha", 0.75), get("focal_loss_gamma", 2.0)
    loss.CE_WEIGHT = get("weight_loss_vfl", 1.0)
    loss.BBOX_WEIGHT, loss.GIOU_WEIGHT = get("weight_loss_bbox", 5.0), get("weight_loss_giou", 2.0)
    loss.FOCAL_ALPHA, loss.FOCAL_GAMMA = get("matcher_alpha", 0.25), get("matcher_gamma", 2.0)
    matcher.COST_CLASS = get("matcher_class_cost", 2.0)
    matcher.COST_BBOX, matcher.COST_GIOU = get("matcher_bbox_cost", 5.0), get("matcher_giou_cost", 2.0)


def _encoder_width(width: int, hidden_dim: int) -> int:
    return 0 if width == hidden_dim else width


def _set_hugging_face(cfg: CfgNode, config: dict[str, Any]) -> None:
    _require(
        config,
        encode_proj_layers=[2],
        encoder_activation_function="gelu",
        activation_function="silu",
        decoder_activation_function="relu",
        positional_encoding_temperature=10000,
        eval_size=None,
        anchor_image_size=None,
        use_timm_backbone=False,
        backbone=None,
        normalize_before=False,
        learn_initial_query=False,
        with_box_refine=True,
        num_feature_levels=3,
        decoder_n_levels=3,
        decoder_offset_scale=0.5,
        decoder_method="default",
        layer_norm_eps=1e-5,
        batch_norm_eps=1e-5,
    )
    if config.get("encoder_attention_heads", 8) != config.get("decoder_attention_heads", 8):
        raise ConfigurationError(
            "config.json: encoder_attention_heads and decoder_attention_heads differ, which is not supported"
        )
    _set_hugging_face_backbone(cfg, config.get("backbone_config") or {}, config)
    egtr, transformer, encoder = (
        cfg.MODEL.EGTR,
        cfg.MODEL.EGTR.TRANSFORMER,
        cfg.MODEL.EGTR.TRANSFORMER.HYBRID_ENCODER,
    )
    transformer.HIDDEN_DIM = config.get("d_model", 256)
    transformer.NHEADS = config.get("encoder_attention_heads", 8)
    transformer.ENC_LAYERS = config.get("encoder_layers", 1)
    transformer.ENC_FFN_DIM = config.get("encoder_ffn_dim", 1024)
    transformer.DEC_LAYERS = config.get("decoder_layers", 6)
    transformer.DEC_FFN_DIM = config.get("decoder_ffn_dim", 1024)
    transformer.DROPOUT = float(config.get("dropout", 0.0))
    _set_points(cfg, config.get("decoder_n_points", 4))
    encoder.DIM = _encoder_width(config.get("encoder_hidden_dim", 256), transformer.HIDDEN_DIM)
    encoder.EXPANSION = float(config.get("hidden_expansion", 1.0))
    encoder.POSITION_ORDER = "row_major"
    egtr.AUX_LOSS = bool(config.get("auxiliary_loss", True))
    _set_denoising(
        cfg,
        config.get("num_denoising", 100),
        config.get("label_noise_ratio", 0.5),
        config.get("box_noise_scale", 1.0),
    )


def _set_hugging_face_backbone(cfg: CfgNode, nested: dict[str, Any], config: dict[str, Any]) -> None:
    _require(nested, model_type="rt_detr_resnet")
    _require(
        nested,
        num_channels=3,
        embedding_size=64,
        hidden_act="relu",
        downsample_in_first_stage=False,
        downsample_in_bottleneck=False,
        out_features=["stage2", "stage3", "stage4"],
    )
    is_basic = nested.get("layer_type", "bottleneck") == "basic"
    blocks = list(nested.get("depths", [3, 4, 6, 3]))
    sizes = nested.get("hidden_sizes", [256, 512, 1024, 2048])
    widths = list(sizes) if is_basic else [size // 4 for size in sizes]
    depths = {18: is_basic, 34: is_basic, 50: not is_basic, 101: not is_basic}
    depth = next((d for d, fits in depths.items() if fits and _BLOCKS_OF_RESNET[d] == blocks), None)
    backbone = cfg.MODEL.EGTR.BACKBONE
    backbone.NAME = f"resnet{depth or (18 if is_basic else 50)}d"
    backbone.LAYERS = [] if depth else blocks
    backbone.CHANNELS = [] if widths == _WIDTHS else widths
    backbone.STAGE1_PROJECTION = is_basic
    backbone.NORM = "FrozenBN" if config.get("freeze_backbone_batch_norms", True) else "BN"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0


def config_from_weights(weights: dict[str, Tensor]) -> dict[str, Any]:
    """Make a configuration, as FROSS's config.json has it, from the weights of RT-DETR's authors, who store none.

    What weights do not tell is as the authors have it: 300 queries, 8 heads, and for the r50vd_m models, with narrow
    blocks on a ResNet-50, evaluation after the third of six layers.

    Raises:
        WeightsError: the weights are not those of an RT-DETR on a ResNet-vd.
    """
    weights = {PREFIX.sub("", name): value for name, value in weights.items()}

    def count(pattern: str) -> int:
        return len({match[1] for name in weights if (match := re.match(pattern, name))})

    def shape(name: str) -> torch.Size:
        if name not in weights:
            raise WeightsError(f"released weights: without {name!r}, no RT-DETR on a ResNet-vd can be made of them")
        return weights[name].shape

    shape("backbone.conv1.conv1_1.conv.weight")
    stages = [count(rf"backbone\.res_layers\.{stage}\.blocks\.(\d+)\.") for stage in range(4)]
    is_basic = "backbone.res_layers.0.blocks.0.branch2c.conv.weight" not in weights
    depth = next((d for d, blocks in _BLOCKS_OF_RESNET.items() if (d < 50) == is_basic and blocks == stages), None)
    if depth is None:
        raise WeightsError(f"released weights: a ResNet-vd with {stages} blocks in its stages is not supported")
    encoder_dim = shape("encoder.lateral_convs.0.conv.weight")[0]
    expansion = shape("encoder.fpn_blocks.0.conv1.conv.weight")[0] / encoder_dim
    scale = weights.get("decoder.decoder.layers.0.cross_attn.num_points_scale")
    levels = count(r"decoder\.input_proj\.(\d+)\.")
    heads = 8
    if scale is None:
        points = shape("decoder.decoder.layers.0.cross_attn.attention_weights.bias")[0] // (heads * levels)
    else:
        # One over the points of its level, once for each point.
        if not ((scale > 0) & (scale <= 1)).all():
            raise WeightsError(
                "released weights: num_points_scale must hold 1 / points of each level, values in 0..1; it has "
                f"{scale.min().item():g}..{scale.max().item():g}. Download the file again"
            )
        points, rest = [], [round(1 / value) for value in scale.tolist()]
        while rest:
            points.append(rest[0])
            rest = rest[rest[0] :]
    layers = count(r"decoder\.decoder\.layers\.(\d+)\.")
    encoder_layers = count(r"encoder\.encoder\.0\.layers\.(\d+)\.")
    embedding = weights.get("decoder.denoising_class_embed.weight")
    return {
        "presnet_depth": depth,
        "presnet_freeze_norm": "backbone.res_layers.0.blocks.0.branch2a.norm.num_batches_tracked" not in weights,
        "presnet_freeze_at": 0 if depth >= 50 else -1,
        "hybrid_encoder_hidden_dim": encoder_dim,
        "hybrid_encoder_nhead": heads,
        "hybrid_encoder_num_encoder_layers": encoder_layers,
        "hybrid_encoder_dim_feedforward": len(weights["encoder.encoder.0.layers.0.linear1.bias"])
        if encoder_layers
        else 1024,
        "hybrid_encoder_expansion": expansion,
        "hybrid_encoder_depth_mult": count(r"encoder\.fpn_blocks\.0\.bottlenecks\.(\d+)\.") / 3,
        "rt_detr_transformer_hidden_dim": shape("decoder.enc_score_head.weight")[1],
        "rt_detr_transformer_num_levels": levels,
        "rt_detr_transformer_num_layers": layers,
        "rt_detr_transformer_dim_feedforward": shape("decoder.decoder.layers.0.linear1.weight")[0],
        "rt_detr_transformer_num_points": points,
        "rt_detr_transformer_num_denoising": 0 if embedding is None else 100,
        "rt_detr_transformer_eval_idx": 2 if (depth, expansion, layers) == (50, 0.5, 6) else -1,
        "num_queries": 300,
        "auxiliary_loss": True,
    }
