"""Decoder self-attention that also returns what the relation heads read."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cpu.linear import apply_linear


class QueryKeySelfAttention(nn.Module):
    """Multi-head self-attention that also returns its projected queries and keys (paper, section 3.2).

    Args:
        dim: width d.
        num_heads: heads; must divide ``dim``.
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim {dim} is not divisible by num_heads {num_heads}")
        self.num_heads = num_heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        mask: Tensor | None = None,
        others: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Attend among the queries, and to others if there are any.

        Args:
            x: (B, N, d) hidden states.
            position: (B, N, d), added for queries and keys, but not for values.
            mask: bool, broadcasts to (B, heads, N, N + M), True where the row's query sees the column's; None: all
                do.
            others: x and position, (B, M, d) each, of M queries that are seen but see nothing; None: M is 0.

        Returns:
            output (B, N, d), queries (B, N, d) before they are scaled by 1/sqrt(d_head), and keys (B, N, d); heads
            are joined.
        """
        batch, length, dim = x.shape

        def heads(t: Tensor) -> Tensor:
            return t.view(batch, t.shape[1], self.num_heads, -1).transpose(1, 2)

        located = x + position
        queries = apply_linear(self.q_proj, located)
        if others is not None:
            other, other_position = others
            x, located = torch.cat([x, other], dim=1), torch.cat([located, other + other_position], dim=1)
        keys, values = apply_linear(self.k_proj, located), apply_linear(self.v_proj, x)
        out = F.scaled_dot_product_attention(heads(queries), heads(keys), heads(values), attn_mask=mask)
        out = apply_linear(self.out_proj, out.transpose(1, 2).reshape(batch, length, dim))
        return out, queries, keys[:, :length]
