"""The part of a model that is exported: from pixels to everything that ranking needs."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egtr.data.resizing import detr_resize_shape
from egtr.layers import MultiScaleDeformableAttention, cpu
from egtr.lite.session import OUTPUTS
from egtr.modeling import EGTR
from egtr.structures import ConfigurationError, WriteError
from egtr.structures.model_info import ModelInfo

# Largest differences to PyTorch that an export in float32 may have.
TOLERANCES = {"logits": 1e-4, "boxes": 1e-5, "connectivity": 1e-4, "relation": 1e-4}
# Height to width of the images that an export is checked with.
_ASPECTS = ((3, 4), (4, 3), (1, 1), (1, 2), (9, 16))


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

    PyTorch's exporter loses count of its inputs if a parameter needs a gradient. Deformable attention samples by
    grid_sample, whatever the configuration names: the runtimes have an operation for it, and take longer for others.
    """
    attention = [module for module in model.modules() if isinstance(module, MultiScaleDeformableAttention)]
    implementations = [module.implementation for module in attention]
    training = {module: module.training for module in model.modules()}
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in learned:
        parameter.requires_grad_(False)
    for module in attention:
        module.implementation = "grid_sample"
    try:
        with cpu.disabled(), torch.no_grad():
            yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)
        for module, mode in training.items():
            module.training = mode
        for module, implementation in zip(attention, implementations, strict=True):
            module.implementation = implementation


def sample_images(info: ModelInfo, size: tuple[int, int] | None, device: torch.device) -> list[Tensor]:
    """Draw the images that an export is checked with, (1, 3, H, W) each.

    They are smooth blobs, which excite a network as a photograph does rather than as noise.

    Args:
        info: the record of the model; ``preprocessing`` tells ``min_size`` and ``max_size``.
        size: height and width of a single image; None: several sizes that the model meets.
        device: device of the model.

    Raises:
        ConfigurationError: the record lacks the sizes.
    """
    images = []
    for seed, shape in enumerate(_sample_sizes(info) if size is None else [size]):
        coarse = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed)) * 255
        images.append(F.interpolate(coarse, shape, mode="bicubic").clamp(0, 255).to(device))
    return images


def _sample_sizes(info: ModelInfo) -> list[tuple[int, int]]:
    preprocessing = info.preprocessing or {}
    short, longest = preprocessing.get("min_size"), preprocessing.get("max_size", 0)
    if not short:
        raise ConfigurationError(
            "the record of the model lacks preprocessing.min_size, so its image sizes are unknown"
        )
    shapes = [detr_resize_shape(120 * height, 120 * width, short, longest) for height, width in _ASPECTS]
    return list(dict.fromkeys(shapes))


def check_outputs(
    run: Callable[[np.ndarray], Sequence[np.ndarray]],
    images: Sequence[Tensor],
    wanted: Sequence[Sequence[Tensor]],
    output: str | os.PathLike[str],
) -> dict[str, float]:
    """Compare an exported network with the model.

    Args:
        run: the exported network; see :class:`egtr.lite.session.Session`.
        images: as of :func:`sample_images`.
        wanted: the four outputs of the model for each.
        output: the file, for the message.

    Returns:
        The largest difference of each output.

    Raises:
        WriteError: one is larger than TOLERANCES.
    """
    differences = dict.fromkeys(OUTPUTS, 0.0)
    for image, tensors in zip(images, wanted, strict=True):
        expected = [tensor.cpu().numpy() for tensor in tensors]
        for name, ours, theirs in zip(OUTPUTS, expected, in_order(expected, run(image.cpu().numpy())), strict=True):
            # NaN must not pass as small.
            difference = float(np.abs(ours - theirs).max())
            differences[name] = max(differences[name], np.inf if np.isnan(difference) else difference)
    for name, difference in differences.items():
        if difference > TOLERANCES[name]:
            raise WriteError(
                f"{output}: not written, since {name} differs from PyTorch by {difference:.2g}, more than "
                f"{TOLERANCES[name]:g}. Please report the model and the versions of torch and onnxscript"
            )
    return differences


def in_order(wanted: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Put the queries of an output into the order that another output has.

    Where a detector chooses its queries by score, rounding decides the order of two whose scores are nearly equal.

    Args:
        wanted, found: the arrays of OUTPUTS.

    Returns:
        The arrays found, as they are if their queries are not those wanted in another order.
    """
    rows = [torch.from_numpy(np.concatenate([logits, boxes], axis=1)) for logits, boxes, *_ in (wanted, found)]
    # Products of matrices, which cdist may use, are too inexact for nearly equal rows.
    order = torch.cdist(*rows, compute_mode="donot_use_mm_for_euclid_dist").argmin(1).numpy()
    if not np.array_equal(np.sort(order), np.arange(len(order))):
        return list(found)
    logits, boxes, connectivity, relation = found
    return [logits[order], boxes[order], connectivity[order][:, order], relation[order][:, order]]


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
