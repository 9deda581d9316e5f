"""Deformable attention, compared with its formula written out in loops."""

import math

import pytest
import torch

from egtr.layers import MultiScaleDeformableAttention, multi_scale_deformable_attention

SHAPES = [(3, 4), (2, 2)]
CELLS = sum(h * w for h, w in SHAPES)


def literal(value, shapes, locations, weights):
    """Sum of bilinear samples; cell (r, c) of an H x W map has its centre at ((c + 0.5) / W, (r + 0.5) / H)."""
    batch, _, heads, dim = value.shape
    queries = locations.shape[1]
    out = torch.zeros(batch, queries, heads, dim, dtype=value.dtype)
    for b in range(batch):
        for q in range(queries):
            for m in range(heads):
                start = 0
                for level, (height, width) in enumerate(shapes):
                    for point in range(locations.shape[4]):
                        x, y = locations[b, q, m, level, point].tolist()
                        x, y = x * width - 0.5, y * height - 0.5
                        for r in (math.floor(y), math.floor(y) + 1):
                            for c in (math.floor(x), math.floor(x) + 1):
                                if 0 <= r < height and 0 <= c < width:
                                    share = (1 - abs(y - r)) * (1 - abs(x - c)) * weights[b, q, m, level, point]
                                    out[b, q, m] += share * value[b, start + r * width + c, m]
                    start += height * width
    return out.flatten(2)


def random_inputs(seed, queries=5, heads=2, dim=3, points=2):
    g = torch.Generator().manual_seed(seed)
    value = torch.randn(2, CELLS, heads, dim, generator=g, dtype=torch.float64)
    # -0.3..1.3: some points lie outside, some on the border
    locations = torch.rand(2, queries, heads, len(SHAPES), points, 2, generator=g, dtype=torch.float64) * 1.6 - 0.3
    weights = torch.rand(2, queries, heads, len(SHAPES), points, generator=g, dtype=torch.float64)
    return value, locations, weights


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_formula(seed):
    value, locations, weights = random_inputs(seed)
    ours = multi_scale_deformable_attention(value, SHAPES, locations, weights)
    torch.testing.assert_close(ours, literal(value, SHAPES, locations, weights))


def test_gradients():
    value, locations, weights = (x.requires_grad_() for x in random_inputs(0, queries=2, dim=2, points=1))
    assert torch.autograd.gradcheck(
        lambda v, x, w: multi_scale_deformable_attention(v, SHAPES, x, w), (value, locations, weights)
    )


def test_padding_reads_as_zero():
    """Values of padded cells change nothing."""
    torch.manual_seed(0)
    attention = MultiScaleDeformableAttention(8, num_heads=2, num_levels=2, num_points=2)
    query, value = torch.randn(1, 4, 8), torch.randn(1, CELLS, 8)
    reference = torch.rand(1, 4, 2, 2)
    mask = torch.zeros(1, CELLS, dtype=torch.bool)
    mask[:, 5:8] = True
    before = attention(query, reference, value, SHAPES, mask)
    value[:, 5:8] = 100.0
    torch.testing.assert_close(attention(query, reference, value, SHAPES, mask), before)
    assert not torch.allclose(attention(query, reference, value, SHAPES), before)


def test_reference_box_scales_the_offsets():
    """A 4-d reference: centre + offset / points * size * 0.5. Offsets of one point are set to (1, 0)."""
    attention = MultiScaleDeformableAttention(4, num_heads=1, num_levels=1, num_points=2)
    with torch.no_grad():
        attention.sampling_offsets.bias.copy_(torch.tensor([1.0, 0.0, 1.0, 0.0]))
        for linear in (attention.value_proj, attention.output_proj):
            linear.weight.copy_(torch.eye(4))
    # Centre x 0.25, width 1: both points at x = 0.25 + 1 / 2 * 1 * 0.5 = 0.5, the border between the two cells.
    value = torch.tensor([[[1.0] * 4, [3.0] * 4]])
    out = attention(torch.zeros(1, 1, 4), torch.tensor([[[[0.25, 0.5, 1.0, 1.0]]]]), value, [(1, 2)])
    torch.testing.assert_close(out, torch.full((1, 1, 4), 2.0))


def test_initial_offsets_point_in_all_directions():
    """Four heads look right, down, left and up; point p lies p + 1 cells away."""
    attention = MultiScaleDeformableAttention(8, num_heads=4, num_levels=1, num_points=2)
    offsets = attention.sampling_offsets.bias.detach().view(4, 1, 2, 2)
    torch.testing.assert_close(
        offsets[:, 0, 1], torch.tensor([[2.0, 0.0], [0.0, 2.0], [-2.0, 0.0], [0.0, -2.0]]), atol=1e-5, rtol=0
    )


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="not divisible"):
        MultiScaleDeformableAttention(10, num_heads=4)
