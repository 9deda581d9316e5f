"""Names and settings of the released implementation, which are those of Hugging Face's Deformable DETR.

RT-DETR under EGTR (FROSS) has other names and settings of the detector, see ``rtdetr_names`` and ``rtdetr_config``.

Version 5 of transformers renamed some weights (``mlp.fc1``, ``self_attn.o_proj``, ``backbone.model``). Its files
still have the old names; the new ones occur in a saved ``state_dict()`` of a model.
"""

import logging
import re
from collections.abc import Iterable
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import Tensor

from egtr.config.defaults import get_egtr_cfg
from egtr.config.paths import fetch
from egtr.structures import ConfigurationError, WeightsError

from . import rtdetr_config, rtdetr_names

logger = logging.getLogger(__name__)

_LAYER = r"model\.(encoder|decoder)\.layers\.(\d+)\."
# The first match counts. The right side is a name of this library.
_NAMES = [
    (r"triplet_dist$", r"relation.frequency_bias.table"),
    (r"rel_dist$", r"relation.frequency_bias.predicate_frequency"),
    (r"proj_q\.", r"relation.source.query_proj."),
    (r"proj_k\.", r"relation.source.key_proj."),
    (r"final_sub_proj\.", r"relation.source.subject_proj."),
    (r"final_obj_proj\.", r"relation.source.object_proj."),
    (r"rel_predictor_gate\.", r"relation.source.gate."),
    (r"rel_predictor\.", r"relation.relation_head.mlp."),
    (r"connectivity_layer\.", r"relation.connectivity_head.mlp."),
    (r"class_embed\.", r"transformer.class_heads."),
    (r"bbox_embed\.", r"transformer.box_heads."),
    (r"model\.backbone\.(?:conv_encoder\.)?model\.(?:_backbone\.)?", r"backbone.model."),
    (r"model\.level_embed$", r"transformer.level_embed"),
    (r"model\.input_proj\.", r"transformer.input_proj."),
    (r"model\.query_position_embeddings\.", r"transformer.query_embed."),
    (r"model\.reference_points\.", r"transformer.reference_points."),
    (r"model\.enc_output\.", r"transformer.two_stage.memory_proj."),
    (r"model\.enc_output_norm\.", r"transformer.two_stage.memory_norm."),
    (r"model\.pos_trans\.", r"transformer.two_stage.query_proj."),
    (r"model\.pos_trans_norm\.", r"transformer.two_stage.query_norm."),
    (_LAYER + r"self_attn\.o_proj\.", r"transformer.\1.layers.\2.self_attn.out_proj."),
    (_LAYER + r"self_attn\.", r"transformer.\1.layers.\2.self_attn."),
    (_LAYER + r"self_attn_layer_norm\.", r"transformer.\1.layers.\2.self_attn_norm."),
    (_LAYER + r"encoder_attn\.", r"transformer.\1.layers.\2.cross_attn."),
    (_LAYER + r"encoder_attn_layer_norm\.", r"transformer.\1.layers.\2.cross_attn_norm."),
    (_LAYER + r"(?:mlp\.)?fc1\.", r"transformer.\1.layers.\2.linear1."),
    (_LAYER + r"(?:mlp\.)?fc2\.", r"transformer.\1.layers.\2.linear2."),
    (_LAYER + r"final_layer_norm\.", r"transformer.\1.layers.\2.ffn_norm."),
]
# The decoder's heads, which the released modules also hold at the top level. Files may have both or either.
_DECODER_HEAD = re.compile(r"model\.decoder\.(?=(class_embed|bbox_embed)\.)")
# FROSS has the relation part behind this prefix.
_RELATION_HEAD = re.compile(r"^(?:model\.)?egtr_head\.")
_LATER_HEAD = re.compile(r"^(class_embed|bbox_embed)\.[1-9]\d*\.")


def convert_name(name: str) -> str | None:
    """Translate the name of a released weight; None for a copy of another weight.

    Raises:
        WeightsError: no released model has this name.
    """
    if _DECODER_HEAD.match(name):
        return None
    for pattern, ours in _NAMES:
        if re.match(pattern, name):
            return re.sub(f"^{pattern}", ours, name)
    raise WeightsError(f"released weights: {name!r} is not a name of an EGTR or Deformable DETR checkpoint")


def family(names: Iterable[str]) -> str:
    """Name the models whose weights have such names, for messages."""
    return "RT-DETR" if rtdetr_names.has_names(names) else "EGTR or Deformable DETR"


def unknown_names(names: Iterable[str]) -> list[str]:
    """List the names that no released model has, with or without the leading "model." of a checkpoint file."""
    names = list(names)
    if rtdetr_names.has_names(names):
        return [n for n in names if not (rtdetr_names.is_known(n) or _is_known(_RELATION_HEAD.sub("", n)))]
    prefix = _prefix(names)
    return [n for n in names if not (n.startswith(prefix) and _is_known(n.removeprefix(prefix)))]


def convert_state_dict(reference_state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Translate the weights of the released implementation to the names of this library.

    Heads that the released model shares (one for all decoder layers unless boxes are refined) are stored once. A
    leading "model." of every name, as in a released checkpoint file, is removed.

    Args:
        reference_state_dict: names and tensors as released by EGTR, FROSS or RT-DETR's authors, or as in a Hugging
            Face Deformable DETR, RT-DETR or RT-DETRv2.

    Returns:
        A new dict; the tensors are not copied.

    Raises:
        WeightsError: there are unknown names, or copies of one weight that differ.
    """
    unknown = unknown_names(reference_state_dict)
    if unknown:
        raise WeightsError(
            f"released weights: no {family(reference_state_dict)} checkpoint has the "
            f"{'name' if len(unknown) == 1 else 'names'} {', '.join(map(repr, unknown))}"
        )
    if rtdetr_names.has_names(reference_state_dict):
        return _convert_rtdetr(reference_state_dict)
    prefix = _prefix(reference_state_dict)
    weights = {name.removeprefix(prefix): value for name, value in reference_state_dict.items()}
    refined = any(_DECODER_HEAD.match(name) for name in weights)
    converted, holders = {}, {}
    for name, value in weights.items():
        own = _DECODER_HEAD.sub("", name)
        if not refined:
            own = _LATER_HEAD.sub(r"\1.0.", own)
        if own not in holders:
            holders[own] = name
            converted[convert_name(own)] = value
        elif not torch.equal(value, weights[holders[own]]):
            raise WeightsError(f"released weights: {name!r} should equal {holders[own]!r} and does not")
    return converted


def _convert_rtdetr(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    detector, relation = {}, {}
    for name, value in weights.items():
        if _RELATION_HEAD.match(name):
            relation[convert_name(_RELATION_HEAD.sub("", name))] = value
        else:
            detector[name] = value
    return rtdetr_names.convert_detector(detector) | relation


def _prefix(names: Iterable[str]) -> str:
    # A training checkpoint has one more "model." than the names of the model, some of which also begin with it.
    return "model." if any(name.startswith("model.model.") for name in names) else ""


def _is_known(name: str) -> bool:
    return bool(_DECODER_HEAD.match(name)) or any(re.match(pattern, name) for pattern, _ in _NAMES)


# The types of the values in config.json, as far as it has these keys.
_KINDS = {
    int: (
        "num_labels num_rel_labels num_queries two_stage_num_proposals num_feature_levels d_model encoder_layers "
        "decoder_layers encoder_attention_heads decoder_attention_heads encoder_ffn_dim decoder_ffn_dim "
        "encoder_n_points decoder_n_points"
    ),
    int | None: "rel_sample_negatives rel_sample_nonmatching",
    int | float: (
        "dropout class_cost bbox_cost giou_cost ce_loss_coefficient bbox_loss_coefficient giou_loss_coefficient "
        "focal_alpha rel_loss_coefficient connectivity_loss_coefficient freq_bias_eps logit_adj_tau "
        "activation_dropout attention_dropout"
    ),
    int | float | None: "smoothing",
    str | None: "backbone",
    dict | None: "id2label backbone_config backbone_kwargs",
}


def _check_kinds(config: dict[str, Any]) -> None:
    for kind, keys in [*_KINDS.items(), *rtdetr_config.KINDS.items()]:
        for key in keys.split():
            if key in config and not isinstance(config[key], kind):
                wanted = kind.__name__ if isinstance(kind, type) else kind
                raise ConfigurationError(f"config.json: {key} is {config[key]!r}, expected {wanted}")


def _optional_count(value: int | None) -> int:
    # The released code writes null for "all of them".
    return -1 if value is None else value


def config_from_reference(config: dict[str, Any]) -> CfgNode:
    """Make a complete configuration from the config.json of a released artifact.

    The released code saves every key of Hugging Face's Deformable DETR, also those that it does not read itself. Its
    weight of loss_ce and the class cost of its matcher are both ``ce_loss_coefficient``. A file without this key is
    Hugging Face's: there the weight is 1, and the cost is ``class_cost``. Other missing keys have the defaults of the
    released code. ``FREEZE_DOWNSAMPLE_NORM`` is off, as in that code (see ``egtr/config/defaults.py``).

    Args:
        config: the parsed file.

    Raises:
        ConfigurationError: a required key is missing or has a value of another type, or a setting is not supported.
    """
    _check_kinds(config)
    cfg = get_egtr_cfg()
    cfg.merge_from_file(fetch("egtr://configs/Base-EGTR.yaml", "there is no such file"), allow_unsafe=False)
    egtr = cfg.MODEL.EGTR
    egtr.AUX_LOSS = bool(config.get("auxiliary_loss", False))
    is_rtdetr = rtdetr_config.is_config(config)
    if is_rtdetr:
        egtr.NUM_CLASSES = _num_classes(config, rtdetr_config.default_num_classes(config))
        rtdetr_config.set_detector(cfg, config)
    else:
        egtr.NUM_CLASSES = _num_classes(config, 2)
        _set_deformable(cfg, config)
    if not is_rtdetr or rtdetr_config.has_released_losses(config):
        _set_losses(cfg, config)
    egtr.RELATION.ENABLED = "num_rel_labels" in config
    if egtr.RELATION.ENABLED:
        egtr.NUM_PREDICATES = config["num_rel_labels"]
        _set_relation(cfg, config)
        # The released code resizes half of the images of this stage twice; FROSS's does not.
        cfg.INPUT.PRE_RESIZE = [] if is_rtdetr else [400, 500, 600]
        egtr.LOSS.NEGATIVES_PER = "image" if is_rtdetr else "triplet"
    _warn_of_training(config)
    # Both papers' rates for training further.
    new_multiplier = 10.0 if is_rtdetr else 100.0
    cfg.SOLVER.BASE_LR, cfg.SOLVER.NEW_MULTIPLIER = (2e-6, new_multiplier) if egtr.RELATION.ENABLED else (1e-4, 1.0)
    return cfg


def _num_classes(config: dict[str, Any], default: int) -> int:
    # transformers does not write the names of two classes without names.
    return config["num_labels"] if "num_labels" in config else len(config.get("id2label") or range(default))


def _set_deformable(cfg: CfgNode, config: dict[str, Any]) -> None:
    egtr = cfg.MODEL.EGTR

    def get(key: str, *default):
        if key in config:
            return config[key]
        if default:
            return default[0]
        raise ConfigurationError(f"config.json: {key!r} is missing")

    if get("model_type", "deformable_detr") != "deformable_detr":
        raise ConfigurationError(
            f"config.json: model_type is {config['model_type']!r}; only 'deformable_detr', "
            "'rt_detr' and 'rt_detr_v2' can be converted"
        )
    if get("encoder_attention_heads", 8) != get("decoder_attention_heads", 8):
        raise ConfigurationError(
            "config.json: encoder_attention_heads and decoder_attention_heads differ, which is not supported"
        )
    if get("activation_function", "relu") != "relu":
        raise ConfigurationError(
            f"config.json: activation_function {config['activation_function']!r} is not supported"
        )
    backbone_options = get("backbone_kwargs", None) or {}
    dilated = get("dilation", False) or backbone_options.get("output_stride", 32) != 32
    if get("position_embedding_type", "sine") != "sine" or dilated:
        raise ConfigurationError(
            "config.json: learned position embeddings and a dilated last stage are not supported"
        )
    egtr.WITH_BOX_REFINE = bool(get("with_box_refine", False))
    egtr.TWO_STAGE = bool(get("two_stage", False))
    egtr.NUM_QUERIES = get("two_stage_num_proposals", 300) if egtr.TWO_STAGE else get("num_queries")
    _set_backbone(cfg, config)

    transformer = egtr.TRANSFORMER
    transformer.HIDDEN_DIM = get("d_model", 256)
    transformer.NHEADS = get("encoder_attention_heads", 8)
    transformer.ENC_LAYERS, transformer.DEC_LAYERS = get("encoder_layers", 6), get("decoder_layers", 6)
    transformer.ENC_FFN_DIM, transformer.DEC_FFN_DIM = get("encoder_ffn_dim", 1024), get("decoder_ffn_dim", 1024)
    transformer.ENC_POINTS, transformer.DEC_POINTS = get("encoder_n_points", 4), get("decoder_n_points", 4)
    transformer.NUM_FEATURE_LEVELS = get("num_feature_levels", 4)
    transformer.DROPOUT = float(get("dropout", 0.1))


def _set_losses(cfg: CfgNode, config: dict[str, Any]) -> None:
    matcher, loss = cfg.MODEL.EGTR.MATCHER, cfg.MODEL.EGTR.LOSS
    loss.CE_WEIGHT = float(config.get("ce_loss_coefficient", 1.0))
    matcher.COST_CLASS = float(config.get("ce_loss_coefficient", config.get("class_cost", 1.0)))
    matcher.COST_BBOX, matcher.COST_GIOU = float(config.get("bbox_cost", 5.0)), float(config.get("giou_cost", 2.0))
    loss.BBOX_WEIGHT = float(config.get("bbox_loss_coefficient", 5.0))
    loss.GIOU_WEIGHT = float(config.get("giou_loss_coefficient", 2.0))
    loss.FOCAL_ALPHA = float(config.get("focal_alpha", 0.25))


def _set_relation(cfg: CfgNode, config: dict[str, Any]) -> None:
    loss, relation = cfg.MODEL.EGTR.LOSS, cfg.MODEL.EGTR.RELATION
    loss.REL_WEIGHT = float(config.get("rel_loss_coefficient", 15.0))
    loss.CONNECTIVITY_WEIGHT = float(config.get("connectivity_loss_coefficient", 30.0))
    loss.SMOOTHING_ALPHA = float(config.get("smoothing", 1e-14) or 0.0)
    loss.K_NEG = _optional_count(config.get("rel_sample_negatives", 80))
    loss.K_NON = _optional_count(config.get("rel_sample_nonmatching", 80))
    loss.NEG_SAMPLING = "hard" if config.get("rel_sample_negatives_largest", True) else "random"
    loss.NON_SAMPLING = "hard" if config.get("rel_sample_nonmatching_largest", True) else "random"
    relation.FREQUENCY_BIAS = "reference" if config.get("use_freq_bias", True) else "none"
    if config.get("use_freq_bias", True) and config.get("use_log_softmax", False):
        relation.FREQUENCY_BIAS = "probability"
    relation.FREQUENCY_BIAS_EPS = float(config.get("freq_bias_eps", 1e-12))
    relation.LOGIT_ADJUSTMENT.ENABLED = bool(config.get("logit_adjustment", False))
    relation.LOGIT_ADJUSTMENT.TAU = float(config.get("logit_adj_tau", 0.3))


def _warn_of_training(config: dict[str, Any]) -> None:
    """Log settings that change nothing in what the model computes, but would change further training."""
    for key in ("activation_dropout", "attention_dropout"):
        if config.get(key):
            logger.warning("config.json: %s is %s; further training does without this dropout", key, config[key])
    if config.get("focal_alpha", 0.25) != 0.25:
        logger.warning(
            "config.json: focal_alpha is %s; further training uses it in the matcher too, where the released code "
            "has 0.25",
            config["focal_alpha"],
        )


def _set_backbone(cfg: CfgNode, config: dict[str, Any]) -> None:
    backbone = cfg.MODEL.EGTR.BACKBONE
    # Newer versions of transformers nest it.
    nested = config.get("backbone_config") or config.get("backbone_kwargs") or {}
    if not config.get("use_timm_backbone", True) or nested.get("model_type", "timm_backbone") != "timm_backbone":
        raise ConfigurationError(
            "config.json: use_timm_backbone or backbone_config asks for a backbone of transformers, which is not "
            "supported; backbones of timm are"
        )
    backbone.NAME = nested.get("backbone") or config.get("backbone") or "resnet50"
    single_scale = config.get("num_feature_levels", 4) == 1
    backbone.OUT_INDICES = list(nested.get("out_indices") or ([4] if single_scale else [2, 3, 4]))
    backbone.NORM = "FrozenBN"
    backbone.FREEZE_DOWNSAMPLE_NORM = False
    # The released code freezes the first stages only of ResNets.
    cfg.MODEL.BACKBONE.FREEZE_AT = 2 if "resnet" in backbone.NAME else 0
