"""RT-DETR's encoder: attention within the coarsest map, convolutions between maps (Zhao et al., CVPR 2024)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egtr.layers import ConvNorm, grid_position_table
from egtr.layers.cpu.convolution import convolve
from egtr.layers.cpu.linear import apply_linear
from egtr.layers.folded_weights import Folded, fold_once
from egtr.layers.spatial_shapes import map_size
from egtr.structures import ConfigurationError

from .detr_transformer import DETREncoderLayer

POSITION_ORDERS = ("row_major", "column_major")


def silu(x: Tensor) -> Tensor:
    """Compute x * sigmoid(x) of a convolution's output, in its place where no gradient needs the output."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


class HybridEncoderLayer(DETREncoderLayer):
    """DETR's encoder layer with GELU in the feed-forward network."""

    def feed_forward(self, x: Tensor) -> Tensor:
        """Apply the feed-forward network with residual connection and norm, (B, S, d) to (B, S, d)."""
        return self.add(x, apply_linear(self.linear2, F.gelu(apply_linear(self.linear1, x))), self.ffn_norm)


class RepVGGBlock(nn.Module):
    """SiLU of the sum of a 3x3 and a 1x1 convolution, each with a norm (Ding et al., RepVGG, CVPR 2021).

    In evaluation mode both are one 3x3 convolution.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.conv3x3 = ConvNorm(dim, dim, 3)
        self.conv1x1 = ConvNorm(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, dim, H, W) to the same shape."""
        if self.training:
            return silu(self.conv3x3(x) + self.conv1x1(x))
        weight, bias = self.folded()
        return silu(convolve(x, weight, bias, (1, 1), (1, 1)))

    def folded(self) -> Folded:
        """Compute weight and bias of the 3x3 convolution that equals both branches in evaluation mode."""

        def fold() -> Folded:
            (weight, bias), (middle, middle_bias) = self.conv3x3.folded(), self.conv1x1.folded()
            return weight + F.pad(middle, (1, 1, 1, 1)), bias + middle_bias

        return fold_once(self, fold)


class CSPBlock(nn.Module):
    """Joins two maps: one branch through RepVGG blocks, one past them (Cross Stage Partial).

    Args:
        dim: width d of each of the two maps, and of the result.
        expansion: width of the branches as a share of d.
        num_blocks: RepVGG blocks.
    """

    def __init__(self, dim: int, expansion: float, num_blocks: int):
        super().__init__()
        hidden = int(dim * expansion)
        self.conv1 = ConvNorm(2 * dim, hidden, 1, activation=silu)
        self.conv2 = ConvNorm(2 * dim, hidden, 1, activation=silu)
        self.blocks = nn.Sequential(*(RepVGGBlock(hidden) for _ in range(num_blocks)))
        self.conv3 = ConvNorm(hidden, dim, 1, activation=silu) if hidden != dim else nn.Identity()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Join two maps (B, d, H, W) to one."""
        x = torch.cat([first, second], dim=1)
        return self.conv3(self.blocks(self.conv1(x)) + self.conv2(x))


class HybridEncoder(nn.Module):
    """Projects the backbone's maps to one width, and exchanges information within and between them.

    Args:
        channels: widths of the maps, finest first.
        dim: width d of the results.
        num_heads: attention heads; must divide ``dim``.
        num_layers: transformer layers on the coarsest map.
        ffn_dim: width of their feed-forward networks.
        dropout: probability of dropout in them.
        expansion, depth_mult: see :class:`CSPBlock`; each block has 3 * depth_mult RepVGG blocks, rounded.
        position_order: "row_major" or "column_major", see :func:`egtr.layers.grid_position_table`.

    Raises:
        ConfigurationError: a value is not possible.
    """

    def __init__(
        self,
        channels: list[int],
        dim: int,
        *,
        num_heads: int = 8,
        num_layers: int = 1,
        ffn_dim: int = 1024,
        dropout: float = 0.0,
        expansion: float = 1.0,
        depth_mult: float = 1.0,
        position_order: str = "row_major",
    ):
        super().__init__()
        key = "MODEL.EGTR.TRANSFORMER.HYBRID_ENCODER"
        if position_order not in POSITION_ORDERS:
            raise ConfigurationError(
                f"{key}.POSITION_ORDER is {position_order!r}, choose one of {', '.join(POSITION_ORDERS)}"
            )
        if dim % 4 or dim % num_heads:
            raise ConfigurationError(
                f"{key}.DIM {dim} must be a multiple of 4 (position embedding) and of NHEADS {num_heads}"
            )
        if int(dim * expansion) < 1 or depth_mult < 0:
            raise ConfigurationError(
                f"{key}: EXPANSION {expansion} must be positive, DEPTH_MULT {depth_mult} at least 0"
            )
        self.dim, self.position_order = dim, position_order
        self.input_proj = nn.ModuleList(ConvNorm(width, dim, 1) for width in channels)
        self.layers = nn.ModuleList(HybridEncoderLayer(dim, num_heads, ffn_dim, dropout) for _ in range(num_layers))

        def blocks():
            return nn.ModuleList(CSPBlock(dim, expansion, round(3 * depth_mult)) for _ in channels[1:])

        self.lateral_convs = nn.ModuleList(ConvNorm(dim, dim, 1, activation=silu) for _ in channels[1:])
        self.top_down_blocks = blocks()
        self.downsample_convs = nn.ModuleList(ConvNorm(dim, dim, 3, 2, silu) for _ in channels[1:])
        self.bottom_up_blocks = blocks()

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Encode maps (B, width, H, W), finest first, each half as large as the one before, to maps (B, d, H, W)."""
        maps = [project(x) for project, x in zip(self.input_proj, maps, strict=True)]
        maps[-1] = self._attend(maps[-1])
        # Top-down: every coarser map is kept as its lateral convolution left it.
        inner = [maps[-1]]
        for lateral, block, finer in zip(self.lateral_convs, self.top_down_blocks, maps[-2::-1], strict=True):
            inner[0] = lateral(inner[0])
            inner.insert(0, block(F.interpolate(inner[0], finer.shape[-2:], mode="nearest"), finer))
        outer = inner[:1]
        for downsample, block, coarser in zip(self.downsample_convs, self.bottom_up_blocks, inner[1:], strict=True):
            outer.append(block(downsample(outer[-1]), coarser))
        return outer

    def _attend(self, x: Tensor) -> Tensor:
        if not len(self.layers):
            return x
        height, width = map_size(x)
        table = grid_position_table(height, width, self.dim, self.position_order == "column_major", x.device)
        cells = x.flatten(2).transpose(1, 2)
        for layer in self.layers:
            cells = layer(cells, table.to(cells.dtype), None)
        return cells.transpose(1, 2).unflatten(2, (height, width))
