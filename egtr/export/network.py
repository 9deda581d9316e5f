"""The part of a model that is exported: from pixels to everything that ranking needs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egtr.layers import cpu
from egtr.modeling import EGTR
from egtr.structures import ConfigurationError


class ExportedNetwork(nn.Module):
    """A model for one image, without what its host does: resizing before it, ranking after it.

    Args:
        model: the model; it is used as it is, not copied.

    Raises:
        ConfigurationError: the model has no relation part, or is a subclass with a network of its own.
    """

    def __init__(self, model: EGTR):
        super().__init__()
        if model.relation is None:
            raise ConfigurationError("MODEL.EGTR.RELATION.ENABLED is False: a detector has no graphs to export")
        if type(model).network is not EGTR.network:
            raise ConfigurationError(f"{type(model).__name__} has a network() of its own, which is not exported")
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute the dense output.

        Args:
            image: (1, 3, H, W) float32, 0..255, resized for the model, channels in its ``input_format``.

        Returns:
            logits (N, C); boxes (N, 4), cxcywh in 0..1 of the image; connectivity (N, N) and relation (N, N, R), both
            in 0..1, subject first; connectivity is 1 if the model has no head for it.
        """
        model, part = self.model, self.model.relation
        image = (image - model.pixel_mean) / model.pixel_std
        valid, multiple = None, model.size_divisibility
        if multiple > 1:
            height, width = image.shape[-2:]
            padding = (0, -width % multiple, 0, -height % multiple)
            valid = F.pad(torch.ones_like(image[:, 0]), padding).bool()
            image = F.pad(image, padding)
        detected = model.transformer(model.backbone(image), valid)
        pairs = part.source(detected.queries, detected.keys, detected.hidden_states[-1])
        logits = detected.logits[-1]
        relation = part.frequency_bias.adjust(part.relation_logits(pairs, logits)).sigmoid()
        if part.connectivity_head is None:
            connectivity = torch.ones_like(relation[..., 0])
        else:
            connectivity = part.connectivity_head(pairs).sigmoid()
        return logits[0], detected.pred_boxes[-1][0], connectivity[0], relation[0]


@contextmanager
def traceable(model: nn.Module) -> Iterator[None]:
    """Prepare a model for tracing while this is open: evaluation mode, plain operations, no gradients.

    PyTorch's exporter loses count of its inputs if a parameter needs a gradient.
    """
    training = {module: module.training for module in model.modules()}
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        with cpu.disabled(), torch.no_grad():
            yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)
        for module, mode in training.items():
            module.training = mode


@contextmanager
def rounded(model: nn.Module) -> Iterator[None]:
    """Round the weights that a smaller file holds as float16, those of 2 and of 4 dimensions, while this is open."""
    weights = [w for w in model.state_dict(keep_vars=True).values() if w.dtype == torch.float32 and w.ndim in (2, 4)]
    former = [weight.data for weight in weights]
    for weight in weights:
        weight.data = weight.data.half().float()
    try:
        yield
    finally:
        for weight, values in zip(weights, former, strict=True):
            weight.data = values
