"""RT-DETR's encoder: attention on the coarsest map, convolutions between the maps (Zhao et al., CVPR 2024, 4.2)."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egtr.layers.spatial_shapes import map_size
from egtr.structures import ConfigurationError

POSITION_ORDERS = ("row", "column")


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, and SiLU unless ``act`` is False; sides stay, divided by ``stride``."""

    def __init__(self, in_dim: int, out_dim: int, kernel: int, stride: int = 1, act: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(in_dim, out_dim, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_dim)
        self.act = nn.SiLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return self.act(self.norm(self.conv(x)))
        return self.act(self.conv._conv_forward(x, *self.folded()))

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the convolution that does the norm's work as well."""
        norm = self.norm
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        return self.conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


class RepVGGBlock(nn.Module):
    """SiLU(norm(conv3x3(x)) + norm(conv1x1(x))); in evaluation mode one convolution does the work of both branches."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv1 = ConvNorm(dim, dim, 3, act=False)
        self.conv2 = ConvNorm(dim, dim, 1, act=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return F.silu(self.conv1(x) + self.conv2(x))
        (weight3, bias3), (weight1, bias1) = self.conv1.folded(), self.conv2.folded()
        weight = weight3 + F.pad(weight1, (1, 1, 1, 1))
        return F.silu(self.conv1.conv._conv_forward(x, weight, bias3 + bias1))


class CSPBlock(nn.Module):
    """conv3(bottlenecks(conv1(x)) + conv2(x)).

    Args:
        in_dim, out_dim: channels.
        num_blocks: RepVGG blocks.
        expansion: share of ``out_dim`` that the inside has; conv3 is left out where it changes no width.
    """

    def __init__(self, in_dim: int, out_dim: int, num_blocks: int, expansion: float):
        super().__init__()
        hidden = int(out_dim * expansion)
        self.conv1 = ConvNorm(in_dim, hidden, 1)
        self.conv2 = ConvNorm(in_dim, hidden, 1)
        self.bottlenecks = nn.Sequential(*(RepVGGBlock(hidden) for _ in range(num_blocks)))
        self.conv3 = ConvNorm(hidden, out_dim, 1) if hidden != out_dim else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.bottlenecks(self.conv1(x)) + self.conv2(x))


class GlobalEncoderLayer(nn.Module):
    """One ordinary transformer encoder layer, post-norm, with exact GELU."""

    def __init__(self, dim: int, num_heads: int, ffn_dim: int, dropout: float):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, num_heads, dropout, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(dim, ffn_dim), nn.Linear(ffn_dim, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """Map cells (B, S, d); ``position`` (S, d) is added to queries and keys only."""
        located = x + position
        x = self.norm1(x + self.dropout(self.self_attn(located, located, x, need_weights=False)[0]))
        hidden = self.dropout(F.gelu(self.linear1(x)))
        return self.norm2(x + self.dropout(self.linear2(hidden)))


class HybridEncoder(nn.Module):
    """Attention among the cells of the coarsest map, then fusion top-down and bottom-up.

    Args:
        in_dims: channels of the L maps, finest first; each has half the sides of the one before it.
        dim: width d.
        num_heads, ffn_dim, num_layers, dropout: of the attention.
        expansion, depth: of the CSP blocks; they have round(3 * depth) RepVGG blocks.
        position_order: "row" or "column", see :func:`position_table`.

    Raises:
        ConfigurationError: the order is unknown.
    """

    def __init__(
        self,
        in_dims: list[int],
        dim: int,
        *,
        num_heads: int = 8,
        ffn_dim: int = 1024,
        num_layers: int = 1,
        dropout: float = 0.0,
        expansion: float = 1.0,
        depth: float = 1.0,
        position_order: str = "row",
    ):
        super().__init__()
        if position_order not in POSITION_ORDERS:
            raise ConfigurationError(
                f"MODEL.EGTR.TRANSFORMER.POSITION_ORDER is {position_order!r}, choose one of "
                f"{', '.join(POSITION_ORDERS)}"
            )
        self.dim, self.position_order = dim, position_order
        blocks = round(3 * depth)
        fusions = range(len(in_dims) - 1)
        self.input_proj = nn.ModuleList(ConvNorm(width, dim, 1, act=False) for width in in_dims)
        self.layers = nn.ModuleList(GlobalEncoderLayer(dim, num_heads, ffn_dim, dropout) for _ in range(num_layers))
        self.lateral_convs = nn.ModuleList(ConvNorm(dim, dim, 1) for _ in fusions)
        self.fpn_blocks = nn.ModuleList(CSPBlock(2 * dim, dim, blocks, expansion) for _ in fusions)
        self.downsample_convs = nn.ModuleList(ConvNorm(dim, dim, 3, stride=2) for _ in fusions)
        self.pan_blocks = nn.ModuleList(CSPBlock(2 * dim, dim, blocks, expansion) for _ in fusions)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Map the backbone's maps to maps (B, d, H_l, W_l) of the same sides, finest first."""
        maps = [project(x) for project, x in zip(self.input_proj, maps, strict=True)]
        coarse = maps[-1]
        height, width = map_size(coarse)
        cells = coarse.flatten(2).transpose(1, 2)
        position = position_table(height, width, self.dim, self.position_order, coarse.device)
        for layer in self.layers:
            cells = layer(cells, position)
        inner = [cells.transpose(1, 2).reshape(coarse.shape)]
        for finer, lateral, block in zip(maps[-2::-1], self.lateral_convs, self.fpn_blocks, strict=True):
            inner[0] = lateral(inner[0])
            upsampled = F.interpolate(inner[0], scale_factor=2.0, mode="nearest")
            inner.insert(0, block(torch.cat([upsampled, finer], dim=1)))
        out = [inner[0]]
        for coarser, downsample, block in zip(inner[1:], self.downsample_convs, self.pan_blocks, strict=True):
            out.append(block(torch.cat([downsample(out[-1]), coarser], dim=1)))
        return out


def position_table(height: int, width: int, dim: int, order: str, device: torch.device) -> Tensor:
    """Embed the positions of the cells of a map, (height * width, dim) float32.

    Row n belongs to the cell x = n mod W, y = n div W. It has dim / 4 sines, then cosines, of x, and the same of y;
    the frequencies are 1 / 10000^(k / (dim / 4)).

    Args:
        height, width: sides of the map.
        dim: a multiple of 4.
        order: "row": as said. "column": row n holds the embedding of x = n div H, y = n mod H, as in the released
            weights of RT-DETR and FROSS, whose table is built column by column for a map that is read row by row.
        device: where the table lies.
    """
    if torch.compiler.is_compiling():
        return _position_table.__wrapped__(height, width, dim, order, device)
    return _position_table(height, width, dim, order, device)


@lru_cache(maxsize=8)
def _position_table(height: int, width: int, dim: int, order: str, device: torch.device) -> Tensor:
    # Inference may ask first, and training must still be able to use the tensor.
    with torch.inference_mode(False), torch.no_grad():
        frequency = 10000.0 ** -(torch.arange(dim // 4, dtype=torch.float32, device=device) / (dim // 4))
        x = torch.arange(width, dtype=torch.float32, device=device)
        y = torch.arange(height, dtype=torch.float32, device=device)
        if order == "row":
            y, x = torch.meshgrid(y, x, indexing="ij")
        else:
            x, y = torch.meshgrid(x, y, indexing="ij")
        parts = [axis.flatten()[:, None] * frequency for axis in (x, y)]
        return torch.cat([part for angles in parts for part in (angles.sin(), angles.cos())], dim=1)
