"""What all encoder and decoder layers share."""

import torch.nn.functional as F
from torch import Tensor, nn


class PostNormLayer(nn.Module):
    """A feed-forward network behind whatever attention a layer has; a norm after each step (post-norm).

    Args:
        dim: width d.
        ffn_dim: width inside the feed-forward network.
        dropout: of what attention and feed-forward network add.
    """

    def __init__(self, dim: int, ffn_dim: int, dropout: float):
        super().__init__()
        self.linear1 = nn.Linear(dim, ffn_dim)
        self.linear2 = nn.Linear(ffn_dim, dim)
        self.ffn_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def add(self, x: Tensor, attended: Tensor, norm: nn.LayerNorm) -> Tensor:
        """Residual connection and norm, (B, S, d)."""
        return norm(x + self.dropout(attended))

    def feed_forward(self, x: Tensor) -> Tensor:
        """(B, S, d) to (B, S, d), residual connection and norm included."""
        return self.add(x, self.linear2(F.relu(self.linear1(x))), self.ffn_norm)
