"""Dropout after attention and feed-forward networks."""

import torch.nn.functional as F
from torch import Tensor

from . import cpu
from .cpu.dropout import STEPS, add_dropped_by_bits


def add_dropped(x: Tensor, added: Tensor, p: float, training: bool) -> Tensor:
    """Compute ``x + dropout(added)``.

    Args:
        x, added: tensors of one shape.
        p: share of numbers that become 0, from 0 to 1. The fast way on CPUs rounds it to a multiple of 2**-16.
        training: False leaves dropout out.

    Returns:
        A tensor of the same shape in the promoted type of both.
    """
    if not training or p == 0:
        return x + added
    if cpu.is_used(added.device) and round(p * STEPS) < STEPS:
        return add_dropped_by_bits(x, added, p)
    return x + F.dropout(added, p)
