"""Hungarian matching that also returns the cost of each match, for adaptive smoothing (paper, section 3.3)."""

import math

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from egtr.layers import box_cxcywh_to_xyxy, box_iou, generalized_box_iou

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

    def cost_matrix(self, logits: Tensor, boxes: Tensor, targets: list[Target]) -> Tensor:
        """Compute the cost of each object of a batch with every query of its image; see :meth:`costs_and_fits`."""
        return self.costs_and_fits(logits, boxes, targets)[0]

    @torch.no_grad()
    def costs_and_fits(self, logits: Tensor, boxes: Tensor, targets: list[Target]) -> tuple[Tensor, Tensor]:
        """Compute how well each object of a batch goes with every query of its image.

        Args:
            logits: (B, N, C).
            boxes: (B, N, 4) cxcywh in 0..1.
            targets: objects of the B images, G in all. A class of -1 is unknown, and costs 0.

        Returns:
            The cost, and the fit in 0..1: the probability of the object's class times the IoU of the boxes. Both are
            (G, N) float32; the objects of the first image come first.
        """
        counts = [len(target.classes) for target in targets]
        image = torch.tensor([index for index, count in enumerate(counts) for _ in range(count)], dtype=torch.int64)
        image = image.to(logits.device)
        classes = torch.cat([target.classes for target in targets])
        wanted = torch.cat([target.boxes for target in targets]).float()[:, None]
        probability = logits[image, :, classes].float().sigmoid()
        alpha, gamma = self.focal_alpha, self.focal_gamma
        yes = alpha * (1 - probability) ** gamma * -torch.log(probability + EPS)
        no = (1 - alpha) * probability**gamma * -torch.log(1 - probability + EPS)
        class_cost = (yes - no).masked_fill((classes < 0)[:, None], 0.0)
        boxes = boxes[image].float()
        distance = (boxes - wanted).abs().sum(-1)
        corners, wanted_corners = box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(wanted)
        giou = generalized_box_iou(corners, wanted_corners)
        costs = self.cost_class * class_cost + self.cost_bbox * distance - self.cost_giou * giou
        return costs, probability * box_iou(corners, wanted_corners)

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
        costs, fits = self.costs_and_fits(logits, boxes, targets)
        # NaN and infinity of a diverging model are matched last, and its losses show the problem. A process that
        # raised an error here would leave the others waiting for its gradients.
        finite = costs.nan_to_num(_NO_MATCH, _NO_MATCH, _NO_MATCH).cpu().numpy()
        # Indices go to the device together: a GPU waits at each transfer.
        queries, objects, rows, lengths, first = [], [], [], [], 0
        for target in targets:
            last = first + len(target.classes)
            matched_queries, matched_objects = linear_sum_assignment(finite[first:last].T)
            queries.append(matched_queries)
            objects.append(matched_objects)
            rows.append(matched_objects + first)
            lengths.append(len(matched_queries))
            first = last
        found = np.stack([np.concatenate(part) for part in (queries, objects, rows)]).astype(np.int64)
        queries, objects, rows = torch.as_tensor(found).to(costs.device)
        parts = (part.split(lengths) for part in (queries, objects, costs[rows, queries], fits[rows, queries]))
        return [Match(*match) for match in zip(*parts, strict=True)]
