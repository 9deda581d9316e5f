"""What all encoder and decoder layers share."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from egtr.layers.dropout import add_dropped
from egtr.layers.feed_forward import feed_forward


class PostNormLayer(nn.Module):
    """A feed-forward network behind whatever attention a layer has; a norm after each step (post-norm).

    Args:
        dim: width d.
        ffn_dim: width inside the feed-forward network.
        dropout: of what attention and feed-forward network add.

    Attributes:
        recompute: save memory in training: the backward pass runs the layer again, so that nothing but its inputs has
            to be kept until then.
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
        """Residual connection and norm, (B, S, d)."""
        return norm(add_dropped(x, attended, self.dropout.p, self.training))

    def feed_forward(self, x: Tensor) -> Tensor:
        """(B, S, d) to (B, S, d), residual connection and norm included."""
        return self.add(x, feed_forward(x, self.linear1, self.linear2), self.ffn_norm)
