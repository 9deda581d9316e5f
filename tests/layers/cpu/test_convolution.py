"""Convolutions of one thread: equal to PyTorch's own, and by oneDNN only in inference."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from egtr.layers import ConvNorm, cpu
from egtr.layers.cpu import convolution
from egtr.layers.norm_folding import fold_batch_norms
from egtr.modeling.transformer.hybrid_encoder import RepVGGBlock


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def called(monkeypatch, one_thread):
    """Shapes of the weights that were given to oneDNN directly."""
    called = []
    # Maps of tests are small.
    monkeypatch.setattr(convolution, "SMALL", 0)
    function = torch.mkldnn_convolution
    monkeypatch.setattr(
        torch, "mkldnn_convolution", lambda x, w, *more: called.append(w.shape) or function(x, w, *more)
    )
    return called


# Width in and out, side of the kernel, stride, padding, dilation, groups.
@pytest.mark.parametrize(
    "case",
    [
        (8, 6, 1, 1, 0, 1, 1),
        (8, 6, 1, 2, 0, 1, 1),
        (3, 8, 7, 2, 3, 1, 1),
        (8, 8, 3, 1, 2, 2, 1),
        (8, 8, 3, 2, 1, 1, 4),
    ],
    ids=["1x1", "1x1 stride 2", "7x7", "dilated", "groups"],
)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["last", "first"])
@torch.no_grad()
def test_equals_pytorch(called, case, batch, layout):
    wide, narrow, side, *steps, groups = case
    steps = [(step, step) for step in steps]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, wide, 19, 30, generator=generator).contiguous(memory_format=layout)
    weight = torch.randn(narrow, wide // groups, side, side, generator=generator) / side
    for bias in (None, torch.randn(narrow, generator=generator)):
        found = convolution.convolve(x, weight, bias, *steps, groups)
        expected = F.conv2d(x, weight, bias, *steps, groups)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        assert found.is_contiguous(memory_format=layout)
    assert len(called) == 2


@torch.no_grad()
def test_folded_convolutions_take_it(called):
    x = torch.randn(1, 8, 5, 7)
    folded = nn.Sequential(nn.Conv2d(8, 4, 1, bias=False), nn.BatchNorm2d(4)).eval()
    fold_batch_norms(folded)
    for module, number in ((folded, 1), (ConvNorm(8, 8, 3).eval(), 1), (RepVGGBlock(8).eval(), 1)):
        fast = module(x)
        assert len(called) == number
        with cpu.disabled():
            torch.testing.assert_close(fast, module(x), rtol=0, atol=1e-5)
        assert len(called) == number
        called.clear()


@torch.no_grad()
def test_small_maps_with_channels_first_are_pytorchs(called, monkeypatch):
    """Small 1x1 convolutions leave oneDNN; other layouts and kernels take it."""
    monkeypatch.setattr(convolution, "SMALL", 8 * 6 * 30)
    first, last = torch.randn(1, 8, 5, 6), torch.randn(1, 8, 5, 6).contiguous(memory_format=torch.channels_last)
    for x, shape, number in (
        (first, (5, 8, 1, 1), 0),
        (first, (6, 8, 1, 1), 1),
        (first, (5, 8, 3, 3), 1),
        (last, (5, 8, 1, 1), 1),
    ):
        convolution.convolve(x, torch.randn(shape), None, (1, 1), (0, 0))
        assert len(called) == number
        called.clear()


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:FutureWarning")
def test_other_cases_are_pytorchs(called, monkeypatch):
    module, x = ConvNorm(8, 4, 1).eval(), torch.randn(1, 8, 5, 7)
    module(x).sum().backward()
    assert module.conv.weight.grad is not None
    with torch.no_grad():
        module.double()(x.double())
        module.float()(x[:0])
        with torch.autocast("cpu", torch.bfloat16):
            module(x)
        with monkeypatch.context() as patch:
            patch.setattr(torch.backends.mkldnn, "enabled", False)
            module(x)
        torch.jit.trace(module, x, check_trace=False)
        torch.export.export(module, (x,))
        torch.set_num_threads(2)
        module(x)
    assert called == []


@torch.no_grad()
def test_paddings_without_numbers_are_pytorchs(called):
    for options in ({"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}):
        model = nn.Sequential(nn.Conv2d(4, 4, 3, bias=False, **options), nn.BatchNorm2d(4)).eval()
        x = torch.randn(1, 4, 6, 7)
        expected = model(x)
        assert fold_batch_norms(model) == 1
        torch.testing.assert_close(model(x), expected)
    assert called == []
