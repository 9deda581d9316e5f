"""transformers' Deformable DETR, to compare the detector with."""

from types import ModuleType
from typing import Any

import torch
from torch import nn

from egtr.structures.errors import ConfigurationError

from .case import Case
from .measure import Contestant


def import_transformers() -> ModuleType:
    """Import transformers.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise ConfigurationError(
            "--contestants transformers: the package transformers is not installed; pip install transformers, or "
            "name only other contestants"
        ) from error
    return transformers


def build_transformers(case: Case) -> nn.Module:
    """Build a DeformableDetrForObjectDetection with the sizes of the case's model, and random weights of its own."""
    transformers = import_transformers()
    egtr = case.cfg().MODEL.EGTR
    transformer = egtr.TRANSFORMER
    torch.manual_seed(0)
    config = transformers.DeformableDetrConfig(
        backbone=egtr.BACKBONE.NAME,
        use_pretrained_backbone=False,
        d_model=transformer.HIDDEN_DIM,
        encoder_layers=transformer.ENC_LAYERS,
        decoder_layers=transformer.DEC_LAYERS,
        encoder_attention_heads=transformer.NHEADS,
        decoder_attention_heads=transformer.NHEADS,
        encoder_ffn_dim=transformer.ENC_FFN_DIM,
        decoder_ffn_dim=transformer.DEC_FFN_DIM,
        encoder_n_points=transformer.ENC_POINTS,
        decoder_n_points=transformer.DEC_POINTS,
        num_feature_levels=transformer.NUM_FEATURE_LEVELS,
        num_queries=egtr.NUM_QUERIES,
        two_stage_num_proposals=egtr.NUM_QUERIES,
        num_labels=egtr.NUM_CLASSES,
        with_box_refine=egtr.WITH_BOX_REFINE,
        two_stage=egtr.TWO_STAGE,
        dropout=transformer.DROPOUT,
        auxiliary_loss=egtr.AUX_LOSS,
    )
    return transformers.DeformableDetrForObjectDetection(config)


def infer_transformers(case: Case, model: nn.Module) -> Contestant:
    """Build the contestant that takes images, normalised by ``model``, to logits and boxes."""
    their = build_transformers(case).eval().to(model.device)

    def detect(batch: dict) -> Any:
        with torch.no_grad():
            return their(**batch)

    inputs, small = (_pixels(model, case.images(small)) for small in (False, True))
    return Contestant(detect, inputs, small)


def transformers_targets(model: nn.Module, images: list[dict]) -> dict[str, Any]:
    """Convert images to the input of transformers' detector in training, with the targets of ``model``."""
    targets = [{"class_labels": t.classes, "boxes": t.boxes} for t in model._targets(images)]
    return _pixels(model, images) | {"labels": targets}


def _pixels(model: nn.Module, images: list[dict]) -> dict[str, torch.Tensor]:
    pixels = model.preprocess_image(images).tensor
    return {"pixel_values": pixels, "pixel_mask": torch.ones_like(pixels[:, 0], dtype=torch.int64)}
