"""The relation part: from by-products of self-attention to relation logits.

- ``part``            the whole of it, as a module
- ``source``          queries and keys of all decoder layers, and the gate (paper, section 3.2)
- ``pair_features``   features of all pairs, without the tensor of all pairs
- ``heads``           the relation and connectivity heads; ``tasks`` auxiliary ones
- ``frequency_bias``  statistics of the training set, added to the logits
- ``pruning``         relations of promising pairs only
- ``build``           the registries, each with its contract
"""

from .build import (
    CONNECTIVITY_HEAD_REGISTRY,
    PAIR_FUNCTION_REGISTRY,
    RELATION_HEAD_REGISTRY,
    RELATION_TASK_REGISTRY,
    build_connectivity_head,
    build_relation_head,
    build_relation_tasks,
)
from .frequency_bias import FrequencyBias
from .heads import MLPConnectivityHead, MLPRelationHead
from .pair_features import ConcatPairs, DotProductPairs, HadamardPairs, PairFeatures, SeparablePairs, SumPairs
from .part import RelationPart, build_relation_part
from .pruning import search_best_pairs
from .source import RelationSource
from .tasks import BoxOffsetTask, RelationTask

__all__ = [
    "CONNECTIVITY_HEAD_REGISTRY",
    "PAIR_FUNCTION_REGISTRY",
    "RELATION_HEAD_REGISTRY",
    "RELATION_TASK_REGISTRY",
    "BoxOffsetTask",
    "ConcatPairs",
    "DotProductPairs",
    "FrequencyBias",
    "HadamardPairs",
    "MLPConnectivityHead",
    "MLPRelationHead",
    "PairFeatures",
    "RelationPart",
    "RelationSource",
    "RelationTask",
    "SeparablePairs",
    "SumPairs",
    "build_connectivity_head",
    "build_relation_head",
    "build_relation_part",
    "build_relation_tasks",
    "search_best_pairs",
]
