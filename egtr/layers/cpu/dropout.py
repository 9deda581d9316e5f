"""Dropout in a residual sum, with random bits instead of random floating-point numbers."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Probabilities are multiples of 1 / STEPS: 16 random bits decide about each number.
STEPS = 2**16


def add_dropped_by_bits(x: Tensor, added: Tensor, p: float) -> Tensor:
    """Compute ``x + dropout(added)`` and keep one byte for each number until the backward pass.

    On CPUs PyTorch draws one double after the other, one for each number, which takes a twentieth of a training step.
    Here 64 random bits make four decisions, so ``p`` is rounded to a multiple of 2**-16. Kept numbers are scaled by
    the rounded probability, so that the mean stays that of ``added``.

    Args:
        x, added: tensors of one shape on a CPU.
        p: share of numbers that become 0, 0 <= p < 1 after rounding.

    Returns:
        A tensor of the same shape in the promoted type of both.
    """
    steps = round(p * STEPS)
    return x + added if steps == 0 else _AddDropped.apply(x, added, steps)


class _AddDropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, added, steps):
        bits = torch.empty(-(-added.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        # 16-bit numbers start at -2**15.
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
