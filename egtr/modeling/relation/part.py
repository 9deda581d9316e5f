"""The relation part: everything that EGTR adds to a detector."""

from torch import Tensor, nn

from .build import (
    PAIR_FUNCTION_REGISTRY,
    RELATION_HEAD_REGISTRY,
    build_connectivity_head,
    build_relation_head,
    build_relation_tasks,
)
from .frequency_bias import FrequencyBias
from .pair_features import PairFeatures, SeparablePairs
from .source import RelationSource


class RelationPart(nn.Module):
    """Source of pair features, heads and frequency bias.

    Args:
        source: makes pair features.
        relation_head, connectivity_head: read pair features; the latter may be None.
        frequency_bias: is added to the relation logits.
        tasks: auxiliary tasks on pair features, name to entry of RELATION_TASK_REGISTRY.
    """

    def __init__(
        self,
        source: RelationSource,
        relation_head: nn.Module,
        connectivity_head: nn.Module | None,
        frequency_bias: FrequencyBias,
        tasks: nn.ModuleDict,
    ):
        super().__init__()
        self.source = source
        self.relation_head = relation_head
        self.connectivity_head = connectivity_head
        self.frequency_bias = frequency_bias
        self.tasks = tasks

    @property
    def scores_single_pairs(self) -> bool:
        """True if pair function and relation head can score single pairs without computing all pairs."""
        pairs, head = self.source.pairs, type(self.relation_head)
        is_pairwise = PAIR_FUNCTION_REGISTRY.is_pairwise(pairs) and RELATION_HEAD_REGISTRY.is_pairwise(head)
        return is_pairwise and issubclass(pairs, SeparablePairs)

    def relation_logits(self, pairs: PairFeatures, logits: Tensor) -> Tensor:
        """Compute relation logits (B, N, N, R) with frequency bias; ``logits`` (B, N, C) are those of classes."""
        return self.frequency_bias(self.relation_head(pairs), logits)

    def relation_scores(self, pairs: PairFeatures, classes: Tensor, subjects: Tensor, objects: Tensor) -> Tensor:
        """Compute predicate probabilities of chosen pairs in inference, with logit adjustment if it is on.

        Args:
            pairs: pair features of one image, as a batch of one; ``scores_single_pairs`` must be True.
            classes: (N,) int64 classes of the queries.
            subjects, objects: (P,) int64 queries.

        Returns:
            (P, R) float32 in 0..1.
        """
        bias = self.frequency_bias
        logits = bias.add(self.relation_head(pairs.select(subjects, objects)), classes[subjects], classes[objects])
        return bias.adjust(logits).float().sigmoid()


def build_relation_part(cfg) -> RelationPart:
    """Build the relation part that the configuration describes, linear layers drawn from normal(0, 0.02)."""
    egtr, relation = cfg.MODEL.EGTR, cfg.MODEL.EGTR.RELATION
    source = RelationSource(
        egtr.TRANSFORMER.HIDDEN_DIM,
        egtr.TRANSFORMER.DEC_LAYERS,
        layers=relation.SOURCE.LAYERS,
        last_hidden_state=relation.SOURCE.LAST_HIDDEN_STATE,
        pair_function=relation.SOURCE.PAIR_FUNCTION,
        gate=relation.SOURCE.GATE,
    )
    adjustment = relation.LOGIT_ADJUSTMENT
    part = RelationPart(
        source,
        build_relation_head(cfg, source.output_dim),
        build_connectivity_head(cfg, source.output_dim),
        FrequencyBias(
            egtr.NUM_CLASSES,
            egtr.NUM_PREDICATES,
            kind=relation.FREQUENCY_BIAS,
            eps=relation.FREQUENCY_BIAS_EPS,
            tau=adjustment.TAU if adjustment.ENABLED else 0.0,
        ),
        build_relation_tasks(cfg, source.output_dim),
    )
    for module in part.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    return part
