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


@pytest.mark.parametrize("width", [2, 4], ids=["points", "boxes"])
def test_levels_with_different_numbers_of_points(width):
    """Points are stored level by level. The sum, sample by sample, with the plainest implementation."""
    torch.manual_seed(0)
    shapes, points, heads = [(3, 4), (2, 2)], [3, 1], 2
    attention = MultiScaleDeformableAttention(8, heads, 2, points)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    query, value = torch.randn(1, 5, 8), torch.randn(1, 16, 8)
    reference = torch.rand(1, 5, 1, width).expand(-1, -1, 2, -1)
    offsets = attention.sampling_offsets(query)[0].view(5, heads, 4, 2)
    weights = attention.attention_weights(query)[0].view(5, heads, 4).softmax(-1)
    maps = attention.value_proj(value)[0].split([12, 4])
    wanted = torch.zeros(5, heads, 4)
    for q in range(5):
        for head in range(heads):
            for sample, level in enumerate([0, 0, 0, 1]):
                height, length = shapes[level]
                centre, offset = reference[0, q, level, :2], offsets[q, head, sample]
                if width == 2:
                    place = centre + offset / torch.tensor([length, height])
                else:
                    place = centre + offset / points[level] * reference[0, q, level, 2:] * 0.5
                cells = maps[level].view(height, length, heads, 4)[:, :, head].permute(2, 0, 1)[None]
                read = torch.nn.functional.grid_sample(cells, (2 * place - 1).view(1, 1, 1, 2), align_corners=False)
                wanted[q, head] += weights[q, head, sample] * read.flatten()
    out = attention(query, reference, value, shapes)
    torch.testing.assert_close(out[0], attention.output_proj(wanted.flatten(1)))


def test_a_list_of_equal_numbers_is_the_number():
    """The same parameters, and the same first offsets."""
    one, each = (MultiScaleDeformableAttention(8, 2, 2, points) for points in (3, [3, 3]))
    assert torch.equal(one.sampling_offsets.bias, each.sampling_offsets.bias)
    unequal = MultiScaleDeformableAttention(8, 4, 2, [2, 1]).sampling_offsets.bias.detach().view(4, 3, 2)
    torch.testing.assert_close(unequal[0], torch.tensor([[1.0, 0.0], [2.0, 0.0], [1.0, 0.0]]))


@pytest.mark.parametrize("points", [[4], [4, 4, 4], [4, 0]])
def test_each_level_needs_points(points):
    with pytest.raises(ValueError, match="one positive number for each of 2 levels"):
        MultiScaleDeformableAttention(8, num_heads=2, num_levels=2, num_points=points)
