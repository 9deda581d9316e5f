"""Two linear layers with a ReLU between them, whose hidden layer never exists as a whole."""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from . import is_plain_inference
from .chunks import chunks
from .linear import linear_relu, onednn_linear, takes_onednn

# Rows in a chunk: their hidden layer stays in the processor's cache until it is used.
CHUNK = 2048


def chunked_feed_forward(x: Tensor, linear1: nn.Linear, linear2: nn.Linear) -> Tensor:
    """Compute linear2(relu(linear1(x))) in chunks of rows; see :func:`egtr.layers.feed_forward.feed_forward`.

    The backward pass computes the hidden layer again instead of keeping it: fresh memory from the system costs more
    than a matrix product. Both layers need a bias, and their hooks are not called.
    """
    # Without gradients, autograd's part would only take time: as long as the layers themselves for few rows.
    compute = _infer if is_plain_inference(x) else _FeedForward.apply
    out = compute(x.reshape(-1, x.shape[-1]), linear1.weight, linear1.bias, linear2.weight, linear2.bias)
    return out.view(*x.shape[:-1], linear2.out_features)


def _infer(x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> Tensor:
    out = x.new_empty(len(x), len(weight2))
    for part in chunks(len(x), CHUNK):
        hidden = linear_relu(x[part], weight1, bias1)
        if takes_onednn(hidden, weight2, bias2):
            out[part] = onednn_linear(hidden, weight2, bias2)
        else:
            torch.addmm(bias2, hidden, weight2.t(), out=out[part])
    return out


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight1, bias1, weight2, bias2):
        ctx.save_for_backward(x, weight1, bias1, weight2)
        out = x.new_empty(len(x), len(weight2))
        for part in chunks(len(x), CHUNK):
            torch.addmm(bias2, _hidden(x[part], weight1, bias1), weight2.t(), out=out[part])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight1, bias1, weight2 = ctx.saved_tensors
        d_x = torch.empty_like(x)
        d_weight1, d_bias1, d_weight2 = (torch.zeros_like(t) for t in (weight1, bias1, weight2))
        # The backward pass may run under autocast, which would round the factors of all products.
        with torch.autocast("cpu", enabled=False):
            for part in chunks(len(x), CHUNK):
                hidden = _hidden(x[part], weight1, bias1)
                d_weight2.addmm_(grad[part].t(), hidden)
                d_hidden = torch.ops.aten.threshold_backward(torch.mm(grad[part], weight2), hidden, 0)
                d_bias1 += d_hidden.sum(0)
                d_weight1.addmm_(d_hidden.t(), x[part])
                torch.mm(d_hidden, weight1, out=d_x[part])
        return d_x, d_weight1, d_bias1, d_weight2, grad.sum(0)


def _hidden(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.addmm(bias, x, weight.t()).relu_()
