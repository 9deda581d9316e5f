"""The paper's relation and connectivity heads (section 3.2)."""

from torch import Tensor, nn

from egtr.layers import MLP

from .build import CONNECTIVITY_HEAD_REGISTRY, RELATION_HEAD_REGISTRY
from .pair_features import PairFeatures


def hidden_dim(cfg) -> int:
    """Read the hidden width of the heads from a configuration."""
    return cfg.MODEL.EGTR.RELATION.MLP_DIM or cfg.MODEL.EGTR.TRANSFORMER.HIDDEN_DIM


@RELATION_HEAD_REGISTRY.register(pairwise=True)
class MLPRelationHead(nn.Module):
    """Perceptron of three layers from a pair feature to predicate logits."""

    def __init__(self, cfg, input_dim: int):
        super().__init__()
        self.mlp = MLP(input_dim, hidden_dim(cfg), cfg.MODEL.EGTR.NUM_PREDICATES)

    def forward(self, pairs: PairFeatures) -> Tensor:
        """Compute relation logits (B, N, N, R)."""
        return pairs.apply(self.mlp.layers[0], self.mlp.after_first)


@CONNECTIVITY_HEAD_REGISTRY.register()
class MLPConnectivityHead(nn.Module):
    """Perceptron of three layers from a pair feature to one logit."""

    def __init__(self, cfg, input_dim: int):
        super().__init__()
        self.mlp = MLP(input_dim, hidden_dim(cfg), 1)

    def forward(self, pairs: PairFeatures) -> Tensor:
        """Compute connectivity logits (B, N, N)."""
        return pairs.apply(self.mlp.layers[0], self.mlp.after_first).squeeze(-1)
