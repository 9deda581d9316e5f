"""The registry of detectors after the backbone, and the record that they return."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import torch
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry
from torch import Tensor, nn

from egtr.layers.spatial_shapes import SpatialShapes
from egtr.structures import ConfigurationError

from .box_queries import BoxQueries
from .geometry import MapGeometry

TRANSFORMER_REGISTRY = Registry("TRANSFORMER")
TRANSFORMER_REGISTRY.__doc__ = """
Detectors, from the backbone's maps to classes and boxes (MODEL.EGTR.TRANSFORMER.NAME).

An entry is an ``nn.Module`` class that is called as ``transformer(cfg, input_shape)``; input_shape is the backbone's
``{name: ShapeSpec}``, finest map first. Its forward takes the maps and ``valid`` and returns
:class:`TransformerOutput`. ``valid`` is (B, H, W) bool, True inside the images of the padded batch, or None if there
is no padding. With MODEL.EGTR.DENOISING forward also gets ``box_queries``, see
:mod:`egtr.modeling.transformer.box_queries`, and ``label_embed``, an ``nn.Embedding``, is their table of labels. An
attribute ``size_divisibility`` says of what number the sides of the padded batch must be multiples. A subclass of
:class:`EncoderDecoder` can decode an image again, for other boxes, without encoding it again.

Relations are read from five fields of the output: ``queries`` and ``keys`` of the decoder's self-attention, the last
of ``hidden_states``, and the last of ``logits`` and ``pred_boxes``. The self-attention must be an ordinary one among
the queries of an image. In evaluation fewer than L layers may run; an attribute ``num_eval_layers`` says how many.
docs/method.md has a worked example.
"""


@dataclass
class TransformerOutput:
    """Output of a detector. B images, N queries, C classes, S encoder cells, d width, L decoder layers.

    Attributes:
        logits: tensors (B, N, C): of the last decoder layer, or of all layers with MODEL.EGTR.AUX_LOSS. The last
            tensor is the prediction.
        pred_boxes: tensors (B, N, 4) of the same layers, cxcywh in 0..1 of the valid image.
        hidden_states: L tensors (B, N, d).
        queries, keys: L tensors (B, N, d), by-products of decoder self-attention; queries are not scaled yet.
        memory: (B, S, d) encoder output.
        proposal_logits, proposal_boxes: (B, S, C) and (B, S, 4) of encoder proposals, else None.
        proposal_classes: their logits tell classes; False: only class 0, "object", is used.

    With P box queries, N stands for P + N, and box queries come first, until :meth:`split`.
    """

    logits: list[Tensor]
    pred_boxes: list[Tensor]
    hidden_states: list[Tensor]
    queries: list[Tensor]
    keys: list[Tensor]
    memory: Tensor
    proposal_logits: Tensor | None = None
    proposal_boxes: Tensor | None = None
    proposal_classes: bool = False

    def split(self, count: int) -> tuple["TransformerOutput", "TransformerOutput"]:
        """Separate the first ``count`` queries from the others; both results have the same memory and proposals."""
        first, others = {}, {}
        for name in ("logits", "pred_boxes", "hidden_states", "queries", "keys"):
            layers = getattr(self, name)
            first[name] = [layer[:, :count] for layer in layers]
            others[name] = [layer[:, count:] for layer in layers]
        return replace(self, **first), replace(self, **others)

    def float(self) -> "TransformerOutput":
        """Convert all tensors to float32."""

        def single(value):
            if isinstance(value, list):
                return [v.float() for v in value]
            return value.float() if isinstance(value, Tensor) else value

        return TransformerOutput(**{name: single(value) for name, value in vars(self).items()})


@dataclass
class EncodedImages:
    """The input of the decoder for a batch of B images.

    Attributes:
        memory: (B, S, d) encoder output.
        spatial_shapes: (height, width) of the L levels.
        valid: (B, H, W) bool over the padded batch, True inside images; None if there is no padding.
        geometry: positions of the S cells, if the encoder has computed them.
        start: what the decoder's own queries start from, if the decoder has chosen it among the cells before.
        entered: x and position of the own queries, (B, N, d) each, as they entered each layer of the decoder, if it
            has decoded them in evaluation mode before.
    """

    memory: Tensor
    spatial_shapes: SpatialShapes
    valid: Tensor | None
    geometry: MapGeometry | None = None
    start: tuple[Tensor, ...] | None = None
    entered: list[tuple[Tensor, Tensor]] | None = None


class EncoderDecoder(nn.Module, ABC):
    """A transformer in two steps. Its decoder can look at encoded images as often as there are other box queries."""

    def forward(
        self, features: dict[str, Tensor], valid: Tensor | None, box_queries: BoxQueries | None = None
    ) -> TransformerOutput:
        """Detect objects.

        Args:
            features: the backbone's maps, finest first.
            valid: (B, H, W) bool over the padded batch, True inside images; None if there is no padding.
            box_queries: further queries; in all results they come before the N queries of the detector.
        """
        return self.decode(self.encode(features, valid), box_queries)

    def encode(self, features: dict[str, Tensor], valid: Tensor | None) -> EncodedImages:
        """Run the encoder; arguments are those of :meth:`forward`."""
        encoded = self._encode(features, valid)
        if not self.training:
            encoded.memory = encoded.memory.to(torch.promote_types(encoded.memory.dtype, torch.float32))
        return encoded

    def decode(self, encoded: EncodedImages, box_queries: BoxQueries | None = None) -> TransformerOutput:
        """Run the decoder; in evaluation mode in float32 or higher precision.

        It costs little and decides the scores: in bfloat16 it would change the order of the best triplets.
        """
        if self.training:
            return self._decode(encoded, box_queries)
        with torch.autocast(encoded.memory.device.type, enabled=False):
            return self._decode(encoded, box_queries)

    def decode_boxes(self, encoded: EncodedImages, box_queries: BoxQueries) -> TransformerOutput:
        """Decode only box queries, in evaluation mode, after :meth:`decode` has decoded the own queries.

        Box queries see the own ones, which do not see them. So these stay as they are, and are not computed again.

        Returns:
            The part of the result of :meth:`decode` that belongs to the box queries.

        Raises:
            RuntimeError: the own queries have not been decoded.
        """
        if encoded.entered is None:
            raise RuntimeError("decode_boxes() before decode() of the same encoded images in evaluation mode")
        with torch.autocast(encoded.memory.device.type, enabled=False):
            return self._decode(encoded, box_queries, only_boxes=True)

    @abstractmethod
    def _encode(self, features: dict[str, Tensor], valid: Tensor | None) -> EncodedImages: ...

    @abstractmethod
    def _decode(
        self, encoded: EncodedImages, box_queries: BoxQueries | None, only_boxes: bool = False
    ) -> TransformerOutput:
        """Decode all queries, or only the box queries, and without these fill ``encoded.entered``."""


def shared_arguments(cfg, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
    """Read the arguments that every transformer of this library takes from a configuration."""
    egtr, transformer = cfg.MODEL.EGTR, cfg.MODEL.EGTR.TRANSFORMER
    return {
        "input_shape": input_shape,
        "num_classes": egtr.NUM_CLASSES,
        "num_queries": egtr.NUM_QUERIES,
        "hidden_dim": transformer.HIDDEN_DIM,
        "num_heads": transformer.NHEADS,
        "enc_layers": transformer.ENC_LAYERS,
        "dec_layers": transformer.DEC_LAYERS,
        "enc_ffn_dim": transformer.ENC_FFN_DIM,
        "dec_ffn_dim": transformer.DEC_FFN_DIM,
        "dropout": transformer.DROPOUT,
        "aux_loss": egtr.AUX_LOSS,
    }


def build_transformer(cfg, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """Build the transformer that the configuration names.

    Raises:
        ConfigurationError: it is not registered, or cannot be built from these settings.
    """
    name = cfg.MODEL.EGTR.TRANSFORMER.NAME
    if name not in TRANSFORMER_REGISTRY:
        known = ", ".join(sorted(name for name, _ in TRANSFORMER_REGISTRY))
        raise ConfigurationError(f"MODEL.EGTR.TRANSFORMER.NAME: {name!r} is not registered. Known: {known}")
    return TRANSFORMER_REGISTRY.get(name)(cfg, input_shape)
