"""Two auxiliary tasks on pairs, for the question of the paper which ones help beside connectivity.

    egtr sweep projects/EGTR/sweeps/tasks.yaml --extension projects/EGTR/auxiliary_tasks.py

Both look at pairs that a relation joins and whose objects are both matched, as BoxOffsetTask does.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from egtr.data.scenes import SCENES_FAMILIES
from egtr.layers import MLP
from egtr.modeling import RELATION_TASK_REGISTRY, PairFeatures, RelationTask, Target
from egtr.modeling.loss_normalizer import loss_normalizer
from egtr.modeling.names import get_names
from egtr.modeling.relation.heads import hidden_dim
from egtr.modeling.relation.tasks import related_pairs
from egtr.modeling.target import Match
from egtr.structures import ConfigurationError


@RELATION_TASK_REGISTRY.register()
class PredicateFamilyTask(RelationTask):
    """Predicts the kinds of predicates that join a pair: spatial, possessive, action.

    It is coarser than the predicate itself, so rare predicates learn from frequent ones of their family. The loss is
    binary cross-entropy, mean over related pairs and families, since predicates of several families may join a pair.

    Raises:
        ConfigurationError: the names of the model's predicates are not those of `scenes`.
    """

    name, weight = "predicate_family", 1.0

    def __init__(self, cfg, input_dim: int):
        super().__init__()
        self.normalizer = cfg.MODEL.EGTR.LOSS.NORMALIZER
        number_of = {name: number for number, names in enumerate(SCENES_FAMILIES.values()) for name in names}
        _, names = get_names(cfg)
        if names is None or not set(names) <= set(number_of):
            raise ConfigurationError(
                f"MODEL.EGTR.RELATION.TASKS: {type(self).__name__} knows only the predicates of `scenes`; "
                "leave it out with others"
            )
        self.register_buffer("families", torch.tensor([number_of[name] for name in names]), persistent=False)
        self.mlp = MLP(input_dim, hidden_dim(cfg), len(SCENES_FAMILIES))

    def forward(self, pairs: PairFeatures) -> Tensor:
        """Predict logits (B, N, N, F) of F families."""
        return pairs.apply(self.mlp.layers[0], self.mlp.after_first)

    def loss(self, predicted: Tensor, targets: list[Target], matches: list[Match]) -> Tensor:
        found, wanted = [], []
        for logits, target, match in zip(predicted, targets, matches, strict=True):
            queries, objects = related_pairs(target, match)
            count, (subjects, others, predicates) = len(target.classes), target.relations.T
            families = logits.new_zeros(count, count, logits.shape[-1])
            families[subjects, others, self.families[predicates]] = 1.0
            found.append(logits[queries[:, 0], queries[:, 1]])
            wanted.append(families[objects[:, 0], objects[:, 1]])
        total = F.binary_cross_entropy_with_logits(torch.cat(found), torch.cat(wanted), reduction="sum")
        entries = len(SCENES_FAMILIES) * sum(map(len, found))
        return total / loss_normalizer(entries, predicted.device, self.normalizer)


@RELATION_TASK_REGISTRY.register()
class DirectionTask(RelationTask):
    """Tells which object of a related pair is the subject.

    Nearly all pairs are unrelated, so connectivity is learned mostly from these, and hardly from who chases whom.
    Only pairs that are related in one direction and not in the other count here. The loss is binary cross-entropy of
    the difference of the logits of (subject, object) and (object, subject), mean over these pairs.
    """

    name, weight = "direction", 1.0

    def __init__(self, cfg, input_dim: int):
        super().__init__()
        self.normalizer = cfg.MODEL.EGTR.LOSS.NORMALIZER
        self.mlp = MLP(input_dim, hidden_dim(cfg), 1)

    def forward(self, pairs: PairFeatures) -> Tensor:
        """Predict logits (B, N, N), subject first."""
        return pairs.apply(self.mlp.layers[0], self.mlp.after_first).squeeze(-1)

    def loss(self, predicted: Tensor, targets: list[Target], matches: list[Match]) -> Tensor:
        differences = []
        for logits, target, match in zip(predicted, targets, matches, strict=True):
            queries, _ = related_pairs(target, match)
            related = torch.zeros_like(logits, dtype=torch.bool)
            related[queries[:, 0], queries[:, 1]] = True
            subjects, objects = (related & ~related.T).nonzero().T
            differences.append(logits[subjects, objects] - logits[objects, subjects])
        total = F.softplus(-torch.cat(differences)).sum()
        return total / loss_normalizer(sum(map(len, differences)), predicted.device, self.normalizer)
