"""Compares each implementation with grid_sample, in double precision, and tests what only one can get wrong."""

import copy
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from egtr.config.defaults import get_egtr_cfg
from egtr.layers import (
    DEFORMABLE_ATTENTION_REGISTRY,
    MultiScaleDeformableAttention,
    multi_scale_deformable_attention,
    spatial_shapes,
)
from egtr.layers.cpu import bilinear_rows, row_sampling
from egtr.structures import ConfigurationError

SHAPES = [(3, 4), (1, 1), (2, 1), (1, 5)]
NAMES = ["gather", "embedding_bag"]


def random_inputs(shapes=SHAPES, batch=2, queries=3, heads=2, dim=3, points=2, seed=0, dtype=torch.float64):
    """Draw values, locations in -0.4..1.4 and weights. With probability one no point lies on a border."""
    generator = torch.Generator().manual_seed(seed)
    cells = sum(h * w for h, w in shapes)
    value = torch.randn(batch, cells, heads, dim, generator=generator, dtype=dtype)
    locations = torch.rand(batch, queries, heads, len(shapes), points, 2, generator=generator, dtype=dtype)
    weights = torch.rand(batch, queries, heads, len(shapes), points, generator=generator, dtype=dtype)
    return value, locations * 1.8 - 0.4, weights


def output_and_gradients(name, shapes, *inputs):
    value, locations, weights = (tensor.clone().requires_grad_() for tensor in inputs)
    out = multi_scale_deformable_attention(value, shapes, locations, weights, name)
    # Each element counts differently, so that none can be mistaken for another.
    (out * torch.linspace(1, 2, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
    return out.detach(), value.grad, locations.grad, weights.grad


def assert_same(name, shapes, *inputs):
    ours = output_and_gradients(name, shapes, *inputs)
    for found, expected in zip(ours, output_and_gradients("grid_sample", shapes, *inputs), strict=True):
        torch.testing.assert_close(found, expected)


sides = st.integers(1, 6)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30)
@given(
    shapes=st.lists(st.tuples(sides, sides), min_size=1, max_size=4),
    sizes=st.fixed_dictionaries({key: st.integers(1, 3) for key in ["batch", "queries", "heads", "dim", "points"]}),
    seed=st.integers(0, 100),
)
def test_equals_grid_sample(name, shapes, sizes, seed):
    assert_same(name, shapes, *random_inputs(shapes, seed=seed, **sizes))


@pytest.mark.parametrize("name", NAMES)
def test_equals_grid_sample_in_a_batch(name):
    assert_same(name, SHAPES, *random_inputs())


@pytest.mark.parametrize("name", NAMES)
def test_equals_grid_sample_on_centres_and_borders(name):
    """Every multiple of 1/16 from -0.5 to 1.5 is sampled.

    Sides are powers of two, so that all numbers are exact. At a kink both
    gradients are those from the right.
    """
    shapes = [(4, 2), (1, 8), (1, 1)]
    side = torch.arange(-8, 25, dtype=torch.float64) / 16
    grid = torch.stack(torch.meshgrid(side, side, indexing="xy"), dim=-1).view(1, -1, 1, 1, 1, 2)
    value, _, _ = random_inputs(shapes, batch=1, heads=1)
    locations = grid.expand(-1, -1, -1, len(shapes), -1, -1).contiguous()
    assert_same(name, shapes, value, locations, torch.ones(locations.shape[:-1], dtype=torch.float64))


@pytest.mark.parametrize("name", [*NAMES, "grid_sample", "auto"])
def test_gradcheck(name):
    inputs = [tensor.requires_grad_() for tensor in random_inputs(batch=1, queries=2, heads=1, dim=2, points=1)]
    assert torch.autograd.gradcheck(
        lambda value, *samples: multi_scale_deformable_attention(value, SHAPES, *samples, name), inputs
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chunk", [1, 4, 7])
def test_chunks_change_nothing(name, chunk, monkeypatch):
    """Chunks of less than the heads, of two queries, of three and a half; in queries: one, four of five, all."""
    monkeypatch.setattr(row_sampling, "CHUNK", chunk)
    monkeypatch.setattr(row_sampling, "QUERIES", chunk)
    assert_same(name, SHAPES, *random_inputs(queries=5))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [False, True])
def test_sums_may_be_changed_in_place(name, training):
    """An operation after the sampling may be in place, as after grid_sample."""
    value, locations, weights = random_inputs()
    value.requires_grad_(training)
    sums = multi_scale_deformable_attention(value, SHAPES, locations, weights, name)
    expected = sums.detach() + 1
    assert torch.equal(sums.add_(1), expected)


@pytest.mark.parametrize("name", NAMES)
def test_no_images(name):
    assert_same(name, SHAPES, *random_inputs(batch=0))


@pytest.mark.parametrize("name", NAMES)
def test_only_what_needs_a_gradient_gets_one(name):
    """If the value is frozen, the other gradients stay the same."""
    value, locations, weights = random_inputs()
    _, _, *expected = output_and_gradients(name, SHAPES, value, locations, weights)
    locations.requires_grad_()
    weights.requires_grad_()
    out = multi_scale_deformable_attention(value, SHAPES, locations, weights, name)
    (out * torch.linspace(1, 2, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
    assert value.grad is None
    torch.testing.assert_close([locations.grad, weights.grad], expected)


@pytest.mark.parametrize("name", [*NAMES, "grid_sample"])
def test_no_queries(name):
    value, locations, weights = (tensor.requires_grad_() for tensor in random_inputs(queries=0))
    out = multi_scale_deformable_attention(value, SHAPES, locations, weights, name)
    assert out.shape == (2, 0, 6)
    out.sum().backward()
    assert value.grad is not None and not value.grad.any()
    with torch.no_grad():
        assert multi_scale_deformable_attention(value, SHAPES, locations, weights, name).shape == (2, 0, 6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, 1e30, -1e30])
def test_positions_that_are_no_positions(name, odd):
    """NaN of a diverging run causes no read out of bounds, and other queries stay right."""
    inputs = random_inputs(dtype=torch.float32)
    expected = output_and_gradients(name, SHAPES, *inputs)[0]
    inputs[1][0, 0] = odd
    found = output_and_gradients(name, SHAPES, *inputs)[0]
    torch.testing.assert_close(found[0, 1:], expected[0, 1:])
    torch.testing.assert_close(found[1], expected[1])
    assert not math.isfinite(odd) or not found[0, 0].any(), "what is far outside reads zero"


@pytest.mark.parametrize("name", NAMES)
def test_second_derivatives_are_refused(name):
    value, locations, weights = (tensor.requires_grad_() for tensor in random_inputs())
    out = multi_scale_deformable_attention(value, SHAPES, locations, weights, name)
    (gradient,) = torch.autograd.grad(out.square().sum(), locations, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()


@pytest.mark.parametrize("name", [*NAMES, "grid_sample"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_are_exact_whatever_the_values_are(name, dtype):
    """Values in half precision, as under autocast, are read exactly; the result has the type of the positions."""
    value, locations, weights = random_inputs()
    value = value.to(dtype)
    expected = multi_scale_deformable_attention(value.double(), SHAPES, locations, weights, "grid_sample")
    found = multi_scale_deformable_attention(value, SHAPES, locations.float(), weights.float(), name)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_backward_under_autocast_is_exact(name):
    inputs = random_inputs(dtype=torch.float32)
    expected = output_and_gradients(name, SHAPES, *inputs)
    with torch.autocast("cpu", torch.bfloat16):
        found = output_and_gradients(name, SHAPES, *inputs)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_inference_mode_before_training(name):
    """Training must be able to use the tables that inference keeps for images of a size."""
    bilinear_rows._level_table.cache_clear()
    spatial_shapes._level_sizes.cache_clear()
    attention = MultiScaleDeformableAttention(
        8, num_heads=2, num_levels=len(SHAPES), num_points=2, implementation=name
    )
    cells = sum(h * w for h, w in SHAPES)
    inputs = torch.randn(2, 3, 8), torch.rand(2, 3, len(SHAPES), 2), torch.randn(2, cells, 8)
    with torch.inference_mode():
        expected = attention(*inputs, SHAPES)
    out = attention(*inputs, SHAPES)
    torch.testing.assert_close(out, expected.clone())
    out.sum().backward()
    assert all(parameter.grad is not None for parameter in attention.parameters())
    torch.testing.assert_close(copy.deepcopy(attention)(*inputs, SHAPES), out)


def test_threads():
    """Eight threads and four sizes, as in DataParallel or a server."""

    def run(seed):
        shapes = [(2 + seed % 4, 3)]
        inputs = random_inputs(shapes, seed=seed)
        return [output_and_gradients(name, shapes, *inputs)[1] for name in ("embedding_bag", "grid_sample")]

    with ThreadPoolExecutor(8) as pool:
        for found, expected in pool.map(run, range(16)):
            torch.testing.assert_close(found, expected)


def test_cells_that_the_levels_do_not_have():
    value, locations, weights = random_inputs()
    with pytest.raises(ValueError, match="21 cells, but the levels .* have 20"):
        multi_scale_deformable_attention(torch.cat([value, value[:, :1]], dim=1), SHAPES, locations, weights)


def test_unknown_names_and_own_entries():
    message = "DEFORMABLE_ATTENTION: 'cuda' is not registered. Known: auto, embedding_bag, gather, grid_sample"
    with pytest.raises(ConfigurationError, match=message):
        MultiScaleDeformableAttention(8, implementation="cuda")
    with pytest.raises(ConfigurationError, match=message):
        value, locations, weights = random_inputs()
        multi_scale_deformable_attention(value, SHAPES, locations, weights, "cuda")
    assert get_egtr_cfg().MODEL.EGTR.TRANSFORMER.DEFORMABLE_ATTENTION == "auto"
    assert [name for name, _ in DEFORMABLE_ATTENTION_REGISTRY] == ["grid_sample", *NAMES]
