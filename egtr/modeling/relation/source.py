"""The source of relations: by-products of decoder self-attention (paper, section 3.2)."""

import torch
from torch import Tensor, nn

from egtr.structures import ConfigurationError

from .build import PAIR_FUNCTION_REGISTRY, get_entry
from .pair_features import PairFeatures


class RelationSource(nn.Module):
    """Projects queries and keys of chosen layers, and the last hidden state, to pair features.

    Args:
        dim: width d of the decoder.
        num_layers: decoder layers L.
        layers: 0-based layers to use; [-1] for all, [] for none.
        last_hidden_state: add the last hidden state Z as the last source.
        pair_function: entry of PAIR_FUNCTION_REGISTRY.
        gate: learn a gate for each source and pair.

    Raises:
        ConfigurationError: no source is left, or a layer does not exist.
    """

    def __init__(
        self,
        dim: int,
        num_layers: int,
        *,
        layers=(-1,),
        last_hidden_state: bool = True,
        pair_function: str = "ConcatPairs",
        gate: bool = True,
    ):
        super().__init__()
        layers = list(range(num_layers)) if list(layers) == [-1] else sorted(set(layers))
        key = "MODEL.EGTR.RELATION.SOURCE"
        if any(not 0 <= layer < num_layers for layer in layers):
            raise ConfigurationError(
                f"{key}.LAYERS {layers}: the decoder has layers 0..{num_layers - 1}; [-1] means all"
            )
        if not layers and not last_hidden_state:
            raise ConfigurationError(f"{key}: LAYERS is empty and LAST_HIDDEN_STATE is False, so no source is left")
        self.layers, self.last_hidden_state = layers, last_hidden_state
        self.pairs = get_entry(PAIR_FUNCTION_REGISTRY, pair_function, f"{key}.PAIR_FUNCTION")
        self.query_proj = nn.ModuleList(nn.Linear(dim, dim) for _ in layers)
        self.key_proj = nn.ModuleList(nn.Linear(dim, dim) for _ in layers)
        if last_hidden_state:
            self.subject_proj = nn.Linear(dim, dim)
            self.object_proj = nn.Linear(dim, dim)
        self.output_dim = self.pairs.width(dim)
        self.gate = nn.Linear(self.output_dim, 1) if gate else None

    def forward(self, queries: list[Tensor], keys: list[Tensor], hidden_state: Tensor) -> PairFeatures:
        """Make the features of all pairs.

        Args:
            queries, keys: for each decoder layer (B, N, d); queries are not scaled by 1/sqrt(d_head). A detector that
                stops early in evaluation gives those of the layers that ran, and later layers are no sources then.
            hidden_state: (B, N, d), Z.

        Raises:
            ConfigurationError: no source is left.
        """
        ran = [layer for layer in self.layers if layer < len(queries)]
        if not ran and not self.last_hidden_state:
            raise ConfigurationError(
                f"MODEL.EGTR.RELATION.SOURCE.LAYERS {self.layers}: in evaluation only {len(queries)} layers run "
                "(MODEL.EGTR.TRANSFORMER.EVAL_IDX), so no source is left"
            )
        subjects = [project(queries[layer]) for project, layer in zip(self.query_proj, ran, strict=False)]
        objects = [project(keys[layer]) for project, layer in zip(self.key_proj, ran, strict=False)]
        if self.last_hidden_state:
            subjects.append(self.subject_proj(hidden_state))
            objects.append(self.object_proj(hidden_state))
        return self.pairs(torch.stack(subjects, dim=1), torch.stack(objects, dim=1), self.gate)
