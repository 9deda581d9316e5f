"""A convolution with batch norm and activation, which is one convolution in inference."""

from collections.abc import Callable

from torch import Tensor, nn

from .cpu.convolution import convolve
from .norm_folding import fold_norm


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, and an activation if there is one.

    Args:
        in_channels, out_channels: widths.
        kernel_size: an odd number; the padding keeps the size of a map at stride 1.
        stride: step of the convolution.
        activation: applied to the result.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        activation: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride), rounded up."""
        if self.norm.training:
            x = self.conv(x)
            # On CPUs, the backward pass of batch norm (PyTorch 2.14) can misread the gradient of one image whose
            # channels come last.
            x = self.norm(x.contiguous() if len(x) == 1 else x)
        else:
            weight, bias = self.folded()
            x = convolve(x, weight, bias, self.conv.stride, self.conv.padding)
        return x if self.activation is None else self.activation(x)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Compute weight and bias of the one convolution that replaces both in evaluation mode.

        They are computed in each forward pass, so they are never stale, and gradients reach the parameters.
        """
        return fold_norm(self.conv, self.norm)
