"""Two linear layers with a ReLU between them, of which the hidden layer is never there as a whole."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .chunks import chunks

# Rows at a time, of which the hidden layer stays in a processor's cache until it is used.
CHUNK = 2048


def feed_forward(x: Tensor, linear1: nn.Linear, linear2: nn.Linear) -> Tensor:
    """linear2(relu(linear1(x))).

    On CPUs it goes through the rows in chunks, and the backward pass computes the hidden layer again rather than keep
    it: memory fresh from the system costs more than a product of matrices. Under autocast, where the hidden layer is
    half as large, on other devices, whose products want many rows, and with layers that are more than a weight and a
    bias (hooks, adapters), the layers are called one after the other.

    Args:
        x: (..., d).
        linear1: from d to h.
        linear2: from h.

    Returns:
        (..., width of ``linear2``).
    """
    if x.device.type != "cpu" or torch.is_autocast_enabled("cpu") or not (_is_plain(linear1) and _is_plain(linear2)):
        hidden = linear1(x)
        # In place on what is a view costs copies in the backward pass.
        return linear2(F.relu(hidden, inplace=not hidden.requires_grad))
    out = _FeedForward.apply(x.reshape(-1, x.shape[-1]), linear1.weight, linear1.bias, linear2.weight, linear2.bias)
    return out.view(*x.shape[:-1], linear2.out_features)


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody wants to hear when this module is called."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def _is_plain(linear: nn.Module) -> bool:
    return type(linear) is nn.Linear and linear.bias is not None and not has_hooks(linear)


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
