"""The perceptron of DETR's heads."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cpu.linear import apply_linear
from .feed_forward import feed_forward


class MLP(nn.Module):
    """Two or more linear layers with ReLU between them: input_dim -> hidden_dim -> ... -> output_dim."""

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int = 3):
        super().__init__()
        widths = [input_dim] + [hidden_dim] * (num_layers - 1) + [output_dim]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., input_dim) to (..., output_dim)."""
        if len(self.layers) == 2:
            return feed_forward(x, *self.layers)
        return self.after_first(apply_linear(self.layers[0], x))

    def after_first(self, x: Tensor) -> Tensor:
        """Apply the rest of a perceptron of three or more layers to the first layer's output (..., hidden_dim).

        Pair features never exist as one tensor (see :class:`egtr.modeling.relation.PairFeatures`): their first
        linear map is computed from the two halves, and this method continues from there.
        """
        *middle, first, second = self.layers[1:]
        for layer in middle:
            x = apply_linear(layer, _relu(x))
        return feed_forward(_relu(x), first, second)


def _relu(x: Tensor) -> Tensor:
    # In place: these are outputs of linear layers, whose negative numbers have no other use.
    return F.relu(x, inplace=not torch.is_grad_enabled())
