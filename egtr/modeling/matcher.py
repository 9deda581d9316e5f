"""Hungarian matching that also returns the cost of each match, for adaptive smoothing (paper, section 3.3)."""

import math

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from egtr.layers import box_cxcywh_to_xyxy, generalized_box_iou

from .target import Match, Target

# Added inside the logarithms of the class cost. It bounds the cost from below, which smoothing needs.
EPS = 1e-8
# Higher than any cost of finite predictions.
_NO_MATCH = 1e9


class HungarianMatcher(nn.Module):
    """One-to-one assignment of queries to objects with the least total cost.

    cost = cost_class * (focal cost of "yes" - focal cost of "no" at the object's class)
    + cost_bbox * L1 of cxcywh - cost_giou * GIoU.
    """

    def __init__(
        self,
        *,
        cost_class: float = 2.0,
        cost_bbox: float = 5.0,
        cost_giou: float = 2.0,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
    ):
        super().__init__()
        self.cost_class, self.cost_bbox, self.cost_giou = cost_class, cost_bbox, cost_giou
        self.focal_alpha, self.focal_gamma = focal_alpha, focal_gamma

    @property
    def min_cost(self) -> float:
        """Cost of a perfect match: probability 1, the same box."""
        return self.cost_class * (1 - self.focal_alpha) * math.log(EPS) - self.cost_giou

    @torch.no_grad()
    def cost_matrix(self, logits: Tensor, boxes: Tensor, target: Target) -> Tensor:
        """Compute the costs of one image.

        Args:
            logits: (N, C).
            boxes: (N, 4) cxcywh in 0..1.
            target: ground truth with G objects.

        Returns:
            (N, G) float32.
        """
        probability = logits.float()[:, target.classes].sigmoid()
        alpha, gamma = self.focal_alpha, self.focal_gamma
        yes = alpha * (1 - probability) ** gamma * -torch.log(probability + EPS)
        no = (1 - alpha) * probability**gamma * -torch.log(1 - probability + EPS)
        boxes, wanted = boxes.float(), target.boxes.float()
        distance = torch.cdist(boxes, wanted, p=1)
        giou = generalized_box_iou(box_cxcywh_to_xyxy(boxes)[:, None], box_cxcywh_to_xyxy(wanted))
        return self.cost_class * (yes - no) + self.cost_bbox * distance - self.cost_giou * giou

    @torch.no_grad()
    def forward(self, logits: Tensor, boxes: Tensor, targets: list[Target]) -> list[Match]:
        """Match each image of a batch.

        Args:
            logits: (B, N, C).
            boxes: (B, N, 4) cxcywh in 0..1.
            targets: B records.

        Returns:
            One match per image.
        """
        matches = []
        for index, target in enumerate(targets):
            cost = self.cost_matrix(logits[index], boxes[index], target)
            # NaN and infinity of a diverging model are matched last, and its losses show the problem. A process that
            # raised an error here would leave the others waiting for its gradients.
            finite = cost.nan_to_num(_NO_MATCH, _NO_MATCH, _NO_MATCH)
            queries, objects = linear_sum_assignment(finite.cpu().numpy())
            queries = torch.as_tensor(queries, device=cost.device)
            objects = torch.as_tensor(objects, device=cost.device)
            matches.append(Match(queries, objects, cost[queries, objects]))
        return matches
