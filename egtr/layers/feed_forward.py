"""Two linear layers with a ReLU between them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import cpu
from .cpu.feed_forward import chunked_feed_forward
from .cpu.linear import is_plain_linear


def feed_forward(x: Tensor, linear1: nn.Linear, linear2: nn.Linear) -> Tensor:
    """Compute linear2(relu(linear1(x))).

    Args:
        x: (..., d).
        linear1: from d to h.
        linear2: from h to any width.

    Returns:
        (..., width of ``linear2``).
    """
    # Under autocast the hidden layer is half as large, and chunks no longer pay.
    is_fast = cpu.is_used(x.device) and not torch.is_autocast_enabled("cpu")
    if is_fast and is_plain_linear(linear1) and is_plain_linear(linear2):
        return chunked_feed_forward(x, linear1, linear2)
    hidden = linear1(x)
    # In place on a view would cost copies in the backward pass.
    return linear2(F.relu(hidden, inplace=not hidden.requires_grad))
