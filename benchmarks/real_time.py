"""RT-DETR with relations, its detector part, and the RT-DETR of transformers, each on a ResNet-18 and a ResNet-50."""

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from .case import Case
from .measure import Contestant
from .transformers_detector import import_transformers

# Of each ResNet: decoder layers, width of the encoder's blocks as a share, and of transformers the kind, number and
# widths of the backbone's blocks.
SIZES = {
    "r18": (3, 0.5, "basic", [2, 2, 2, 2], [64, 128, 256, 512]),
    "r50": (6, 1.0, "bottleneck", [3, 4, 6, 3], [256, 512, 1024, 2048]),
}
# Side of the image of a first call, pixels: the least with as many cells as there are queries.
SMALL = 128


def build_real_time(case: Case, name: str, side: int) -> Contestant:
    """Build one of the contestants of :data:`benchmarks.choices.REAL_TIME`.

    Args:
        case: gives queries, classes, predicates, width and batch.
        name: for example "rtdetr_r18" (images to graphs), or with "_detector" or "_transformers" (normalised images
            to logits and boxes), each also with "_bf16".
        side: the images have this height and width, in pixels.
    """
    _, size, *rest = name.split("_")
    with_relations = "detector" not in rest and "transformers" not in rest
    case = replace(case.with_opts(*_options(case, size, with_relations)), height=side, width=side)
    model = case.build_model("TEST.AMP", "bf16" in rest).eval()
    inputs, small = case.images(), replace(case, height=SMALL, width=SMALL, batch=1).images()
    if with_relations:
        parts = {
            "backbone": (model.backbone, "forward"),
            "transformer": (model.transformer, "forward"),
            "decoder": (model.transformer, "_decode"),
        }
        return Contestant(model, inputs, small, parts)
    images, small_images = model.preprocess_image(inputs), model.preprocess_image(small)
    if "detector" in rest:
        return Contestant(torch.no_grad()(model.network), images, small_images)
    their = _build_transformers(case, size).eval().to(model.device)

    @torch.no_grad()
    def detect(pixels: torch.Tensor) -> Any:
        with torch.autocast(pixels.device.type, torch.bfloat16) if "bf16" in rest else nullcontext():
            return their(pixel_values=pixels)

    return Contestant(detect, images.tensor, small_images.tensor)


def _options(case: Case, size: str, with_relations: bool) -> list[Any]:
    layers, expansion, kind, *_ = SIZES[size]
    transformer = "MODEL.EGTR.TRANSFORMER"
    values = {
        "MODEL.PIXEL_MEAN": [0.0, 0.0, 0.0],
        "MODEL.PIXEL_STD": [255.0, 255.0, 255.0],
        "MODEL.EGTR.BACKBONE.NAME": f"resnet{size[1:]}d",
        "MODEL.EGTR.BACKBONE.STAGE1_PROJECTION": kind == "basic",
        "MODEL.EGTR.RELATION.ENABLED": with_relations,
        f"{transformer}.NAME": "RTDETRTransformer",
        f"{transformer}.ENC_LAYERS": 1,
        f"{transformer}.DEC_LAYERS": layers,
        f"{transformer}.DROPOUT": 0.0,
        f"{transformer}.HYBRID_ENCODER.EXPANSION": expansion,
    }
    return [entry for pair in values.items() for entry in pair]


def _build_transformers(case: Case, size: str) -> nn.Module:
    """Build an RTDetrForObjectDetection of the same shape, with random weights of its own."""
    transformers = import_transformers()
    egtr = case.cfg().MODEL.EGTR
    transformer = egtr.TRANSFORMER
    layers, expansion, kind, depths, widths = SIZES[size]
    if egtr.BACKBONE.CHANNELS:
        widths = [width * (4 if kind == "bottleneck" else 1) for width in egtr.BACKBONE.CHANNELS]
    width = transformer.HIDDEN_DIM
    backbone = transformers.RTDetrResNetConfig(
        layer_type=kind, depths=depths, hidden_sizes=widths, out_features=["stage2", "stage3", "stage4"]
    )
    torch.manual_seed(0)
    config = transformers.RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=widths[1:],
        encoder_hidden_dim=width,
        d_model=width,
        decoder_in_channels=[width] * 3,
        hidden_expansion=expansion,
        decoder_layers=layers,
        encoder_ffn_dim=transformer.ENC_FFN_DIM,
        decoder_ffn_dim=transformer.DEC_FFN_DIM,
        encoder_attention_heads=transformer.NHEADS,
        decoder_attention_heads=transformer.NHEADS,
        num_queries=egtr.NUM_QUERIES,
        num_labels=egtr.NUM_CLASSES,
    )
    return transformers.RTDetrForObjectDetection(config)
