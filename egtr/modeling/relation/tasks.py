"""Auxiliary tasks on pairs of objects, which may improve pair features."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egtr.layers import MLP

from ..loss_normalizer import loss_normalizer
from ..target import Match, Target
from .build import RELATION_TASK_REGISTRY
from .heads import hidden_dim
from .pair_features import PairFeatures


class RelationTask(nn.Module, ABC):
    """An auxiliary task on pair features, with a head and a loss of its own.

    Attributes:
        name: name of the task; its loss is logged as "loss_<name>".
        weight: weight of its loss in the total.
        normalizer: "global" or "process", see :func:`~egtr.modeling.loss_normalizer.loss_normalizer`.
    """

    name: str
    weight: float
    normalizer: str = "global"

    @abstractmethod
    def forward(self, pairs: PairFeatures) -> Tensor:
        """Predict something for each pair of N queries: (B, N, N, ...), subject first."""

    @abstractmethod
    def loss(self, predicted: Tensor, targets: list[Target], matches: list[Match]) -> Tensor:
        """Compute the loss, a scalar.

        Args:
            predicted: result of ``forward``, in float32.
            targets: ground truth of the B images.
            matches: the query matched to each annotated object, one record per image.
        """


def related_pairs(target: Target, match: Match) -> tuple[Tensor, Tensor]:
    """List the pairs of an image that any relation joins and whose objects are both matched, each pair once.

    Returns:
        queries (P, 2) and objects (P, 2), both (subject, object); objects index ``target``.
    """
    query_of = torch.full((len(target.classes),), -1, dtype=torch.int64, device=match.queries.device)
    query_of[match.objects] = match.queries
    objects = torch.unique(target.relations[:, :2], dim=0)
    queries = query_of[objects]
    found = (queries >= 0).all(1) & (objects[:, 0] != objects[:, 1])
    return queries[found], objects[found]


def box_offsets(subjects: Tensor, objects: Tensor) -> Tensor:
    """Compute where objects lie relative to their subjects.

    Args:
        subjects, objects: (P, 4) cxcywh, sides positive.

    Returns:
        (P, 4): the step from centre to centre in units of the subject's sides, and the logarithms of the ratios of
        widths and heights. Region proposal networks call these numbers deltas.
    """
    centre = (objects[:, :2] - subjects[:, :2]) / subjects[:, 2:]
    return torch.cat([centre, (objects[:, 2:] / subjects[:, 2:]).log()], dim=1)


@RELATION_TASK_REGISTRY.register()
class BoxOffsetTask(RelationTask):
    """Predicts where the object lies relative to the subject, for pairs that a relation joins.

    Predicates such as "above" are geometry, and this task makes pair features contain it. The loss is smooth L1
    between predicted and annotated :func:`box_offsets`, mean over related pairs and the four numbers.
    """

    name = "box_offset"

    def __init__(self, cfg, input_dim: int):
        super().__init__()
        self.weight = cfg.MODEL.EGTR.LOSS.BOX_OFFSET_WEIGHT
        self.normalizer = cfg.MODEL.EGTR.LOSS.NORMALIZER
        self.mlp = MLP(input_dim, hidden_dim(cfg), 4)

    def forward(self, pairs: PairFeatures) -> Tensor:
        """Predict the offsets (B, N, N, 4)."""
        return pairs.apply(self.mlp.layers[0], self.mlp.after_first)

    def loss(self, predicted: Tensor, targets: list[Target], matches: list[Match]) -> Tensor:
        found, wanted = [], []
        for offsets, target, match in zip(predicted, targets, matches, strict=True):
            queries, objects = related_pairs(target, match)
            found.append(offsets[queries[:, 0], queries[:, 1]])
            wanted.append(box_offsets(target.boxes[objects[:, 0]], target.boxes[objects[:, 1]]))
        total = F.smooth_l1_loss(torch.cat(found), torch.cat(wanted), reduction="sum")
        return total / loss_normalizer(4 * sum(map(len, found)), predicted.device, self.normalizer)
