"""Names of the weights of RT-DETR: as its authors and FROSS release them, and as Hugging Face does.

FROSS has the names of RT-DETR's authors behind ``obj_det_model.``, and the relation part behind ``egtr_head.``
"""

import re
from collections.abc import Iterable

import torch
from torch import Tensor

from egtr.structures import WeightsError

PREFIX = re.compile(r"^(?:model\.)?(?:obj_det_model\.)?")
_TIMM = {"conv": "conv", "norm": "bn", "convolution": "conv", "normalization": "bn"}
_STEM_CONVOLUTIONS = ("conv1.0", "conv1.3", "conv1.6")
_STEM_NORMS = ("conv1.1", "conv1.4", "bn1")


def _stem(number: int, part: str) -> str:
    return f"backbone.model.{(_STEM_CONVOLUTIONS if _TIMM[part] == 'conv' else _STEM_NORMS)[number]}."


def _shortcut(stage: str, block: str, part: str) -> str:
    return f"backbone.model.layer{int(stage) + 1}.{block}.downsample.{1 if _TIMM[part] == 'conv' else 2}."


def _branch(stage: str, block: str, number: int, part: str) -> str:
    return f"backbone.model.layer{int(stage) + 1}.{block}.{_TIMM[part]}{number + 1}."


_OURS = r"transformer.encoder."
_ENCODER_LAYER = r"encoder\.(?:encoder|aifi)\.0\.layers\.(\d+)\."
_DECODER_LAYER = r"decoder\.(?:decoder\.)?layers\.(\d+)\."
_NUMBERED = {"0": "conv", "1": "norm", "conv": "conv", "norm": "norm"}
# The first match counts. The right side is a name of this library, or makes one of the match; None: a constant, which
# no model of this library stores.
_NAMES = [
    (r"backbone\.conv1\.conv1_(\d)\.(conv|norm)\.", lambda m: _stem(int(m[1]) - 1, m[2])),
    (r"backbone\.model\.embedder\.embedder\.(\d)\.(\w+)\.", lambda m: _stem(int(m[1]), m[2])),
    (
        r"backbone\.res_layers\.(\d)\.blocks\.(\d+)\.short\.(?:conv\.(?=conv|norm))?(conv|norm)\.",
        lambda m: _shortcut(m[1], m[2], m[3]),
    ),
    (
        r"backbone\.model\.encoder\.stages\.(\d)\.layers\.(\d+)\.shortcut\.(?:1\.)?(\w+)\.",
        lambda m: _shortcut(m[1], m[2], m[3]),
    ),
    (
        r"backbone\.res_layers\.(\d)\.blocks\.(\d+)\.branch2([abc])\.(conv|norm)\.",
        lambda m: _branch(m[1], m[2], "abc".index(m[3]), m[4]),
    ),
    (
        r"backbone\.model\.encoder\.stages\.(\d)\.layers\.(\d+)\.layer\.(\d)\.(\w+)\.",
        lambda m: _branch(m[1], m[2], int(m[3]), m[4]),
    ),
    (
        r"encoder(?:\.|_)input_proj\.(\d+)\.(0|1|conv|norm)\.",
        lambda m: f"{_OURS}input_proj.{m[1]}.{_NUMBERED[m[2]]}.",
    ),
    (_ENCODER_LAYER + r"(?:norm1|self_attn_layer_norm)\.", _OURS + r"layers.\1.self_attn_norm."),
    (_ENCODER_LAYER + r"(?:norm2|final_layer_norm)\.", _OURS + r"layers.\1.ffn_norm."),
    (_ENCODER_LAYER + r"(?:linear|(?:mlp\.)?fc)([12])\.", _OURS + r"layers.\1.linear\2."),
    (_ENCODER_LAYER + r"self_attn\.o(?:ut)?_proj\.", _OURS + r"layers.\1.self_attn.out_proj."),
    (_ENCODER_LAYER + r"self_attn\.(?=in_proj_|[qkv]_proj\.)", _OURS + r"layers.\1.self_attn."),
    (r"encoder\.(lateral|downsample)_convs\.(\d+)\.(conv|norm)\.", _OURS + r"\1_convs.\2.\3."),
    (
        r"encoder\.(fpn|pan)_blocks\.(\d+)\.bottlenecks\.(\d+)\.conv([12])\.(conv|norm)\.",
        lambda m: f"{_OURS}{_BLOCKS[m[1]]}.{m[2]}.blocks.{m[3]}.{('conv3x3', 'conv1x1')[int(m[4]) - 1]}.{m[5]}.",
    ),
    (
        r"encoder\.(fpn|pan)_blocks\.(\d+)\.(conv[123])\.(conv|norm)\.",
        lambda m: f"{_OURS}{_BLOCKS[m[1]]}.{m[2]}.{m[3]}.{m[4]}.",
    ),
    (
        r"decoder(?:\.|_)input_proj\.(\d+)\.(0|1|conv|norm)\.",
        lambda m: f"transformer.input_proj.{m[1]}.{_NUMBERED[m[2]]}.",
    ),
    (_DECODER_LAYER + r"(?:cross|encoder)_attn\.(?:num|n)_points_scale$", None),
    (_DECODER_LAYER + r"(?:cross|encoder)_attn\.", r"transformer.decoder.\1.cross_attn."),
    (_DECODER_LAYER + r"(?:norm1|self_attn_layer_norm)\.", r"transformer.decoder.\1.self_attn_norm."),
    (_DECODER_LAYER + r"(?:norm2|encoder_attn_layer_norm)\.", r"transformer.decoder.\1.cross_attn_norm."),
    (_DECODER_LAYER + r"(?:norm3|final_layer_norm)\.", r"transformer.decoder.\1.ffn_norm."),
    (_DECODER_LAYER + r"(?:linear|(?:mlp\.)?fc)([12])\.", r"transformer.decoder.\1.linear\2."),
    (_DECODER_LAYER + r"self_attn\.o(?:ut)?_proj\.", r"transformer.decoder.\1.self_attn.out_proj."),
    (_DECODER_LAYER + r"self_attn\.(?=in_proj_|[qkv]_proj\.)", r"transformer.decoder.\1.self_attn."),
    (r"decoder\.query_pos_head\.", r"transformer.position_mlp."),
    (r"(?:decoder\.)?enc_output\.(?:0|proj)\.", r"transformer.memory_proj."),
    (r"(?:decoder\.)?enc_output\.(?:1|norm)\.", r"transformer.memory_norm."),
    (r"(?:decoder\.)?enc_score_head\.", r"transformer.proposal_class_head."),
    (r"(?:decoder\.)?enc_bbox_head\.", r"transformer.proposal_box_head."),
    (r"(?:decoder\.)?(?:dec_score_head|class_embed)\.", r"transformer.class_heads."),
    (r"(?:decoder\.)?(?:dec_bbox_head|bbox_embed)\.", r"transformer.box_heads."),
    (r"(?:decoder\.)?denoising_class_embed\.", r"transformer.label_embed."),
    # They follow from the size of the images.
    (r"(?:decoder\.)?(?:anchors|valid_mask)$|encoder\.pos_embed\d+$", None),
]
_BLOCKS = {"fpn": "top_down_blocks", "pan": "bottom_up_blocks"}


def has_names(names: Iterable[str]) -> bool:
    """Tell whether names of weights are those of an RT-DETR."""
    return any("encoder.lateral_convs." in name for name in names)


def is_known(name: str) -> bool:
    """Tell whether a detector of this family has the name."""
    return any(re.match(pattern, PREFIX.sub("", name)) for pattern, _ in _NAMES)


def convert_detector(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Translate the weights of a detector, whose names must be known, to the names of this library.

    Query, key and value projections of self-attention are one tensor in some files, and three in others.

    Raises:
        WeightsError: copies of one weight differ, or a projection of three is missing.
    """
    converted: dict[str, Tensor] = {}
    holders: dict[str, str] = {}
    for name, value in weights.items():
        for ours, part in _translate(name, value):
            if ours not in converted:
                converted[ours], holders[ours] = part, name
            elif not torch.equal(part, converted[ours]):
                raise WeightsError(f"released weights: {name!r} should equal {holders[ours]!r} and does not")
    return _join_projections(converted)


def _translate(name: str, value: Tensor) -> list[tuple[str, Tensor]]:
    tail = PREFIX.sub("", name)
    pattern, ours = next((row for row in _NAMES if re.match(row[0], tail)), (None, None))
    if ours is None:
        return []
    new = re.sub(f"^(?:{pattern})", ours, tail)
    layer, found, kind = new.partition(".self_attn.in_proj_")
    if found and new.startswith("transformer.decoder."):
        return [
            (f"{layer}.self_attn.{which}_proj.{kind}", part)
            for which, part in zip("qkv", value.chunk(3), strict=True)
        ]
    return [(new, value)]


def _join_projections(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join the projections of the encoder's attention, which this library has as one tensor."""
    joined = {}
    for name, value in weights.items():
        match = re.match(r"(transformer\.encoder\.layers\.\d+\.self_attn\.)([qkv])_proj\.(\w+)$", name)
        if match is None:
            joined[name] = value
        elif match[2] == "q":
            parts = [weights.get(f"{match[1]}{which}_proj.{match[3]}") for which in "qkv"]
            if any(part is None for part in parts):
                raise WeightsError(f"released weights: {name!r} has no counterpart of key and value")
            joined[f"{match[1]}in_proj_{match[3]}"] = torch.cat(parts)
    return joined
