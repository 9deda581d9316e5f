"""Convolutions of one thread, by oneDNN wherever several threads would use it, too."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from . import is_plain_inference

# Multiplications of a 1x1 convolution below which a map is small.
SMALL = 2**22


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """Compute ``F.conv2d``.

    In a process of one thread, PyTorch gives most 1x1 convolutions, and convolutions of small maps, to a plain loop
    that multiplies matrices, although oneDNN is faster there too. In inference, this function asks for oneDNN.

    Args:
        x: (B, in_channels, H, W), channels first or last.
        weight, bias, stride, padding, dilation, groups: as for ``F.conv2d``, one number an axis.

    Returns:
        (B, out_channels, ...), with channels last if those of ``x`` are.
    """
    if is_plain_inference(x) and torch.get_num_threads() == 1 and _suits_onednn(x, weight):
        return torch.mkldnn_convolution(x, weight, bias, padding, stride, dilation, groups)
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


def _suits_onednn(x: Tensor, weight: Tensor) -> bool:
    # The number of threads does not matter for other types. The switch is that of torch.backends.mkldnn.flags.
    is_on = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
    if not is_on or x.dtype != torch.float32 or weight.dtype != torch.float32 or x.ndim != 4 or not x.numel():
        return False
    # With channels first, oneDNN reorders numbers before and after, which takes longer than a product of small maps.
    is_pointwise = weight.shape[2:] == (1, 1)
    is_small = x.numel() * len(weight) < SMALL
    return not (is_pointwise and is_small and not x.is_contiguous(memory_format=torch.channels_last))
