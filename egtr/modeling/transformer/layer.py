"""The base of all encoder and decoder layers."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from egtr.layers.dropout import add_dropped
from egtr.layers.feed_forward import feed_forward


class PostNormLayer(nn.Module):
    """A layer that ends with a feed-forward network and has a norm after each step (post-norm).

    Subclasses add their attention before it.

    Args:
        dim: width d.
        ffn_dim: width inside the feed-forward network.
        dropout: probability of dropout of the outputs of attention and feed-forward network.

    Attributes:
        recompute: save memory in training: keep only the inputs of the layer, and run it again in the backward pass.
    """

    recompute = False

    def __init__(self, dim: int, ffn_dim: int, dropout: float):
        super().__init__()
        self.linear1 = nn.Linear(dim, ffn_dim)
        self.linear2 = nn.Linear(ffn_dim, dim)
        self.ffn_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def __call__(self, *inputs):
        if self.recompute and self.training and torch.is_grad_enabled():
            return checkpoint(super().__call__, *inputs, use_reentrant=False)
        return super().__call__(*inputs)

    def add(self, x: Tensor, attended: Tensor, norm: nn.LayerNorm) -> Tensor:
        """Apply dropout, residual connection and norm, (B, S, d)."""
        return norm(add_dropped(x, attended, self.dropout.p, self.training))

    def feed_forward(self, x: Tensor) -> Tensor:
        """Apply the feed-forward network with residual connection and norm, (B, S, d) to (B, S, d)."""
        return self.add(x, feed_forward(x, self.linear1, self.linear2), self.ffn_norm)
