"""Work on a limited number of rows at a time, whose intermediate results then stay in the processor's cache."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def chunks(count: int, size: int) -> Iterator[slice]:
    """Yield slices of ``size`` that cover 0..``count``. The last one may be shorter; for 0 there are none."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def in_chunks(function: Callable[..., Tensor], size: int, *tensors: Tensor) -> Tensor:
    """Apply a function to ``size`` rows at a time and join the results.

    Memory that one chunk has used serves the next, and fresh memory from the system often costs more than arithmetic.

    Args:
        function: maps parts (B, size, ...) of ``tensors`` to a part like that of the first tensor.
        size: rows of axis 1 in a chunk.
        tensors: (B, S, ...), or (1, S, ...) if the function broadcasts them.

    Returns:
        (B, S, ...) in the shape and type of the first tensor, without gradient.
    """
    out = torch.empty_like(tensors[0])
    for part in chunks(out.shape[1], size):
        out[:, part] = function(*(tensor[:, part] for tensor in tensors))
    return out
