"""Two linear layers in chunks of rows, compared with the modules called one after the other."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from egtr.layers.cpu import feed_forward as module
from egtr.layers.feed_forward import feed_forward


@pytest.fixture(autouse=True)
def chunk(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 4)


def layers(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Linear(3, 5, dtype=dtype), nn.Linear(5, 2, dtype=dtype)


def calls_of(*modules):
    """Count calls of modules."""
    calls = []
    for each in modules:
        each.register_forward_hook(lambda *_: calls.append(None))
    return calls


# No row, less than a chunk, one chunk, one chunk and a row, several chunks; more axes than two.
@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (4, 3), (5, 3), (2, 7, 3), (3, 0, 3), (2, 3, 4, 3), (3,)], ids=str)
def test_equals_the_modules(shape):
    first, second = layers()
    weights = [*first.parameters(), *second.parameters()]
    found, expected = [], []
    for results, apply in (
        (found, lambda x: feed_forward(x, first, second)),
        (expected, lambda x: second(F.relu(first(x)))),
    ):
        x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
        out = apply(x)
        # Each element counts differently.
        total = (out * torch.arange(1.0, out.numel() + 1, dtype=out.dtype).view_as(out)).sum()
        results += [out.detach(), *torch.autograd.grad(total, [x, *weights])]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradients_are_right():
    first, second = layers()
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(module._FeedForward.apply, (x, *first.parameters(), *second.parameters()))


def test_views_and_expanded_rows():
    first, second = layers()
    rows = torch.randn(3, 9, dtype=torch.float64)
    for x in (rows.t(), rows[:, :1].t().expand(7, 3), rows.view(3, 3, 3).transpose(0, 1)):
        torch.testing.assert_close(feed_forward(x, first, second), second(F.relu(first(x))))


def test_nothing_of_the_hidden_layer_is_kept():
    """Only the input and weights are kept for the backward pass, and no tensor of width five."""
    first, second = layers()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(tuple(t.shape)) or t, lambda t: t):
        feed_forward(torch.randn(8, 3, dtype=torch.float64, requires_grad=True), first, second)
    assert sorted(kept) == [(2, 5), (5,), (5, 3), (8, 3)]


def test_backward_under_autocast_rounds_nothing():
    first, second = layers(torch.float32)
    x = torch.randn(8, 3, requires_grad=True)
    (exact,) = torch.autograd.grad(feed_forward(x, first, second).sum(), x)
    out = feed_forward(x, first, second).sum()
    with torch.autocast("cpu", torch.bfloat16):
        (found,) = torch.autograd.grad(out, x)
    assert torch.equal(found, exact)


def test_autocast_rounds_as_it_does_to_modules():
    first, second = layers(torch.float32)
    x = torch.randn(8, 3)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = feed_forward(x, first, second), second(F.relu(first(x)))
    assert found.dtype == torch.bfloat16 and torch.equal(found, expected)


def test_hooks_are_called():
    first, second = layers()
    calls = calls_of(first, second)
    feed_forward(torch.randn(8, 3, dtype=torch.float64), first, second)
    assert len(calls) == 2


class Adapter(nn.Module):
    """A module that libraries for adapters put in place of a layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x) + 1


@pytest.mark.parametrize("training", [False, True])
def test_replaced_layers_are_used(training):
    first, second = layers()
    x = torch.randn(8, 3, dtype=torch.float64, requires_grad=training)
    torch.testing.assert_close(feed_forward(x, Adapter(first), Adapter(second)), second(F.relu(first(x) + 1)) + 1)


def test_layers_without_bias():
    first, second = nn.Linear(3, 5, bias=False), nn.Linear(5, 2, bias=False)
    x = torch.randn(8, 3)
    torch.testing.assert_close(feed_forward(x, first, second), second(F.relu(first(x))))
