"""Linear layers by oneDNN: equal to the modules, taken only in inference and only where they win clearly."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from egtr.layers import MLP, MultiScaleDeformableAttention, QueryKeySelfAttention, cpu
from egtr.layers.cpu import linear as module
from egtr.layers.feed_forward import feed_forward

# Seconds that a timed call takes, in the order of the calls: F.linear, oneDNN, F.linear, ...
WINS = [1.0, 0.79] * module.ROUNDS
LOSES = [1.0, 0.81] * module.ROUNDS
# Something else took the processor in all rounds but one, of both.
DISTURBED = [1.0, 5.0] + [5.0, 5.0] * (module.ROUNDS - 2) + [5.0, 0.79]


@pytest.fixture
def called(monkeypatch):
    """Activations of the calls of oneDNN. It wins every comparison, and no product is too small."""
    called = []
    function = module.onednn_linear

    def watched(*args):
        called.append((*args, "none")[3])
        return function(*args)

    monkeypatch.setattr(module, "onednn_linear", watched)
    monkeypatch.setattr("egtr.layers.cpu.feed_forward.onednn_linear", watched)
    monkeypatch.setattr(module, "_is_onednn_faster", lambda *_: True)
    monkeypatch.setattr(module, "_choices", {})
    monkeypatch.setattr(module, "LEAST_WORK", 0)
    return called


def test_equals_the_module_after_its_weights_change(called):
    layer = nn.Linear(5, 3)
    for x in (torch.randn(2, 7, 5), torch.randn(5), torch.randn(0, 5)):
        with torch.no_grad():
            layer.weight.add_(1)
            torch.testing.assert_close(module.apply_linear(layer, x), layer(x))
    assert called == ["none"] * 3


@torch.no_grad()
def test_every_layer_that_costs_time_takes_it(called):
    x = torch.randn(1, 6, 8)
    attention, deformable = QueryKeySelfAttention(8, 2), MultiScaleDeformableAttention(8, 2, 1, 2)
    first, second = nn.Linear(8, 16), nn.Linear(16, 8)
    for apply, expected in (
        (lambda: attention(x, x)[0], ["none"] * 4),
        (lambda: deformable(x, torch.rand(1, 6, 1, 2, generator=torch.manual_seed(0)), x, [(2, 3)]), ["none"] * 4),
        (lambda: feed_forward(x, first, second), ["relu", "none"]),
        (lambda: MLP(8, 8, 4)(x), ["none", "relu", "none"]),
    ):
        torch.manual_seed(0)
        fast = apply()
        assert called == expected
        torch.manual_seed(0)
        with cpu.disabled():
            torch.testing.assert_close(fast, apply())
        assert called == expected
        called.clear()


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:FutureWarning")
def test_only_in_inference(called):
    layer, x = nn.Linear(5, 3), torch.randn(2, 5)
    module.apply_linear(layer, x).sum().backward()
    feed_forward(x, layer, nn.Linear(3, 2)).sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad():
        torch.jit.trace(Applied(layer), x, check_trace=False)
        torch.export.export(Applied(layer), (x,))
        with torch.autocast("cpu", torch.bfloat16):
            assert module.apply_linear(layer, x).dtype == torch.bfloat16
        assert called == []
        module.apply_linear(layer, x)
    assert called == ["none"]


class Applied(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return module.apply_linear(self.layer, x)


class Adapter(nn.Linear):
    def forward(self, x):
        return super().forward(x) + 1


@torch.no_grad()
def test_hooks_and_adapters_are_called(called):
    x, layer = torch.randn(2, 5), nn.Linear(5, 3)
    layer.register_forward_hook(lambda _, inputs, output: output + 1)
    expected = F.linear(x, layer.weight, layer.bias) + 1
    torch.testing.assert_close(module.apply_linear(layer, x), expected)
    adapter = Adapter(5, 3)
    torch.testing.assert_close(module.apply_linear(adapter, x), F.linear(x, adapter.weight, adapter.bias) + 1)
    assert called == []


@torch.no_grad()
def test_what_does_not_suit_it(called, monkeypatch):
    layer, x = nn.Linear(6, 4), torch.randn(3, 6)
    weight, bias = layer.weight, layer.bias
    assert module.takes_onednn(x, weight, bias)
    assert not module.takes_onednn(x[:, :3].contiguous(), weight.chunk(2, 1)[0], bias)
    assert not module.takes_onednn(torch.randn(6, 3).t(), weight, bias)
    assert not module.takes_onednn(x.double(), weight.double(), bias.double())
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends.mkldnn, "enabled", False)
        assert not module.takes_onednn(x, weight, bias)
    with monkeypatch.context() as patch:
        patch.setattr(module, "enabled", False)
        assert not module.takes_onednn(x, weight, bias)
    torch.use_deterministic_algorithms(True)
    try:
        assert not module.takes_onednn(x, weight, bias)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("seconds", "taken"), [(WINS, True), (LOSES, False), (DISTURBED, True)], ids=["wins", "loses", "disturbed"]
)
def test_it_must_win_clearly(monkeypatch, seconds, taken):
    """Best times differ by at least a fifth; the choice then stays, and serves up to twice as many rows."""
    times = iter(seconds)
    monkeypatch.setattr(module, "_seconds", lambda *_: next(times))
    monkeypatch.setattr(module, "_choices", {})
    weight, bias = torch.randn(64, 64), torch.randn(64)
    for rows in (300, 300, 511, 256):
        # The iterator has numbers for one comparison only.
        assert module.takes_onednn(torch.randn(rows, 64), weight, bias) == taken
    assert len(module._choices) == 1


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, TypeError])
def test_the_operation_may_vanish_or_change(monkeypatch, error):
    def raise_error(*_):
        raise error("no such operation")

    monkeypatch.setattr(module, "onednn_linear", raise_error)
    monkeypatch.setattr(module, "_choices", {})
    layer, x = nn.Linear(64, 64), torch.randn(300, 64)
    with torch.no_grad():
        assert torch.equal(module.apply_linear(layer, x), layer(x))
    assert list(module._choices.values()) == [False]
