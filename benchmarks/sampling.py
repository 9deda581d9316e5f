"""Deformable sampling by itself, in each of its implementations."""

from functools import partial
from itertools import accumulate, repeat

import torch
from torch import Tensor

from egtr.layers import multi_scale_deformable_attention
from egtr.layers.deformable_sampling import DEFORMABLE_ATTENTION_REGISTRY
from egtr.modeling.transformer.encoder import encoder_reference_points

from .case import Case
from .choices import SMALL
from .measure import Contestant, measure_time

# Stride of the first level; each further level halves the map before it.
STRIDE = 8


def build_sampling(case: Case, queries: str, training: bool) -> dict[str, Contestant]:
    """Build a contestant for each registered implementation and for "auto", on the shapes of encoder or decoder.

    Points lie as in an untrained layer: in rings around the reference, moved by up to half a cell.

    Args:
        case: the model, its images and their number.
        queries: "encoder": every cell is a query. "decoder": NUM_QUERIES anywhere in the image.
        training: compute gradients of values, locations and weights, too.
    """
    inputs = _draw(case, case.height, case.width, queries)
    small = _draw(case, SMALL, SMALL, queries)
    names = [*sorted(name for name, _ in DEFORMABLE_ATTENTION_REGISTRY), "auto"]
    return {name: Contestant(partial(_sample, name, training), inputs, small) for name in names}


def measure_sampling(case: Case, queries: str, training: bool, runs: int) -> dict[str, float]:
    """Measure the median seconds of each of :func:`build_sampling`."""
    timings = measure_time(build_sampling(case, queries, training), runs)
    return {name: timing.seconds for name, timing in timings.items()}


def _draw(case: Case, height: int, width: int, queries: str) -> tuple[Tensor, list[tuple[int, int]], Tensor, Tensor]:
    cfg = case.cfg()
    transformer = cfg.MODEL.EGTR.TRANSFORMER
    heads, dim, levels = transformer.NHEADS, transformer.HIDDEN_DIM, transformer.NUM_FEATURE_LEVELS
    generator = torch.Generator().manual_seed(0)
    strides = accumulate(repeat(2, levels - 1), int.__mul__, initial=STRIDE)
    shapes = [(-(-height // stride), -(-width // stride)) for stride in strides]
    ratios = torch.ones(case.batch, levels, 2)
    if queries == "encoder":
        points, reference = transformer.ENC_POINTS, encoder_reference_points(shapes, ratios)
    else:
        points = transformer.DEC_POINTS
        reference = torch.rand(case.batch, cfg.MODEL.EGTR.NUM_QUERIES, 1, 2, generator=generator).repeat(
            1, 1, levels, 1
        )
    angles = torch.arange(heads) * (2 * torch.pi / heads)
    ring = torch.stack([angles.cos(), angles.sin()], dim=-1)[:, None, None] * torch.arange(1, points + 1)[:, None]
    sizes = torch.tensor([(w, h) for h, w in shapes])[:, None]
    shape = (*reference.shape[:2], heads, levels, points)
    offsets = ring + torch.rand(*shape, 2, generator=generator) - 0.5
    locations = reference[:, :, None, :, None] + offsets / sizes
    weights = torch.rand(*shape[:3], levels * points, generator=generator).softmax(-1).view(shape)
    value = torch.randn(case.batch, sum(h * w for h, w in shapes), heads, dim // heads, generator=generator)
    device = cfg.MODEL.DEVICE
    return value.to(device), shapes, locations.to(device), weights.to(device)


def _sample(name: str, training: bool, inputs: tuple) -> None:
    value, shapes, locations, weights = inputs
    if not training:
        with torch.no_grad():
            multi_scale_deformable_attention(value, shapes, locations, weights, name)
        return
    leaves = [tensor.detach().requires_grad_() for tensor in (value, locations, weights)]
    multi_scale_deformable_attention(leaves[0], shapes, *leaves[1:], name).sum().backward()
