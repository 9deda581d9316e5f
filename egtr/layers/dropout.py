"""Dropout behind attention and feed-forward networks."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Steps in which a probability is drawn.
STEPS = 2**16


def add_dropped(x: Tensor, added: Tensor, p: float, training: bool) -> Tensor:
    """``x + dropout(added)``, which keeps one byte for each number until the backward pass.

    PyTorch draws a double for each number on a CPU, one after the other, which is a twentieth of a training step.
    Here 64 random bits make four decisions, so that there ``p`` is rounded to a multiple of 2**-16. What is kept is
    scaled by the rounded probability, and the mean is that of ``added``.

    Args:
        x, added: tensors of one shape.
        p: share of numbers that become 0, from 0 to 1.
        training: False leaves out dropout.

    Returns:
        A tensor of the same shape in the promoted type of both.
    """
    steps = round(p * STEPS)
    if not training or steps == 0:
        return x + added
    if added.device.type != "cpu" or steps == STEPS:
        return x + F.dropout(added, p)
    return _AddDropped.apply(x, added, steps)


class _AddDropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, added, steps):
        bits = torch.empty(-(-added.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        # Numbers of 16 bits from -2**15 on.
        dropped = (bits.view(torch.int16)[: added.numel()] < steps - STEPS // 2).view(added.shape)
        ctx.save_for_backward(dropped)
        ctx.scale, ctx.types = STEPS / (STEPS - steps), (x.dtype, added.dtype)
        return x.add(_without(added, dropped), alpha=ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (dropped,) = ctx.saved_tensors
        d_added = _without(grad, dropped).mul_(ctx.scale) if ctx.needs_input_grad[1] else None
        to_x, to_added = ctx.types
        return grad.to(to_x), None if d_added is None else d_added.to(to_added), None


def _without(x: Tensor, dropped: Tensor) -> Tensor:
    # Faster than masked_fill.
    return torch.where(dropped, x.new_zeros(()), x)
