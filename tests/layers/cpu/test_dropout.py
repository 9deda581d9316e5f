"""Dropout in a residual sum: the share of dropped numbers, the scale of the others, and gradients."""

import pytest
import torch

from egtr.layers.dropout import add_dropped


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_and_scale(p):
    """A share of 100,003 numbers, no multiple of four; four standard deviations of a binomial distribution."""
    count = 100_003
    found = add_dropped(torch.zeros(count), torch.ones(count), p, training=True)
    dropped = int((found == 0).sum())
    assert abs(dropped - count * p) < 4 * (count * p * (1 - p)) ** 0.5
    # p is rounded to a multiple of 2**-16.
    torch.testing.assert_close(found[found != 0], torch.full((count - dropped,), 1 / (1 - p)), rtol=2e-4, atol=0)


def test_neighbours_are_independent():
    """One draw makes four decisions: all 16 patterns are equally frequent, within five standard deviations."""
    groups = 50_000
    kept = add_dropped(torch.zeros(groups, 4), torch.ones(groups, 4), 0.5, training=True) > 0
    counts = (kept * torch.tensor([1, 2, 4, 8])).sum(1).bincount(minlength=16)
    assert (counts - groups / 16).abs().max() < 5 * (groups * 15 / 256) ** 0.5


def test_gradients():
    """Dropped numbers get no gradient, kept ones a scaled one, and the residual the whole gradient."""
    x, added = (torch.randn(3, 7, dtype=torch.float64, requires_grad=True) for _ in range(2))
    out = add_dropped(x, added, 0.5, training=True)
    grad = torch.randn_like(out)
    out.backward(grad)
    kept = (out - x).detach() != 0
    assert 0 < kept.sum() < 21
    torch.testing.assert_close(out, x + added * kept * 2)
    torch.testing.assert_close(x.grad, grad)
    torch.testing.assert_close(added.grad, grad * kept * 2)


def test_one_byte_a_number_is_kept():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append((t.dtype, t.shape)) or t, lambda t: t):
        add_dropped(torch.randn(5, 3), torch.randn(5, 3, requires_grad=True), 0.1, training=True)
    assert kept == [(torch.bool, (5, 3))]


@pytest.mark.parametrize(("p", "training"), [(0.3, False), (0.0, True), (1e-9, True)])
def test_nothing_is_dropped(p, training):
    x, added = torch.randn(2, 100, 10).unbind(0)
    assert torch.equal(add_dropped(x, added, p, training), x + added)


def test_everything_is_dropped():
    x, added = torch.randn(2, 5), torch.randn(2, 5, requires_grad=True)
    out = add_dropped(x, added, 1.0, training=True)
    out.sum().backward()
    assert torch.equal(out, x) and not added.grad.any()


def test_seed_decides():
    x, added = torch.randn(2, 1000).unbind(0)
    first = add_dropped(x, added, 0.5, training=True)
    other = add_dropped(x, added, 0.5, training=True)
    torch.manual_seed(0)
    torch.randn(2, 1000)
    assert torch.equal(add_dropped(x, added, 0.5, training=True), first) and not torch.equal(first, other)


def test_autocast():
    """A rounded branch joins an exact residual: the sum is exact, each gradient has the type of its tensor."""
    x = torch.randn(4, 6, requires_grad=True)
    added = torch.randn(4, 6).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = add_dropped(x, added, 0.5, training=True)
    out.sum().backward()
    assert out.dtype == x.grad.dtype == torch.float32 and added.grad.dtype == torch.bfloat16
    kept = added.grad != 0
    torch.testing.assert_close(out, x + added.float() * kept * 2)


def test_views_and_no_numbers():
    x = torch.zeros(4, 6)
    out = add_dropped(x.t(), torch.ones(4, 6).t(), 0.5, training=True)
    assert out.shape == (6, 4) and set(out.unique().tolist()) == {0.0, 2.0}
    assert add_dropped(torch.ones(0, 3), torch.ones(0, 3), 0.5, training=True).shape == (0, 3)
