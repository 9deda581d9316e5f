"""Losses of classes and boxes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egtr.layers import box_cxcywh_to_xyxy, box_iou, generalized_box_iou
from egtr.structures import ConfigurationError

from .target import JoinedMatches, JoinedTargets

CLASS_LOSSES = ("focal", "varifocal")


def sigmoid_focal_loss(logits: Tensor, labels: Tensor, alpha: float, gamma: float) -> Tensor:
    """Compute the focal loss of each entry (Lin et al. 2017, eq. 5); ``labels`` are 0..1, shaped like ``logits``."""
    probability = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    miss = probability + labels - 2 * probability * labels  # 1 - p of the right answer
    weight = alpha * labels + (1 - alpha) * (1 - labels)
    return weight * miss**gamma * cross_entropy


def varifocal_loss(logits: Tensor, labels: Tensor, quality: Tensor, alpha: float, gamma: float) -> Tensor:
    """Compute the varifocal loss of each entry (Zhang et al. 2021, eq. 2).

    Args:
        logits: (..., C).
        labels: like ``logits``, 1 where the class is the object's, else 0.
        quality: like ``logits``, IoU of predicted and true box where the label is 1, else 0.
        alpha, gamma: a false label has the weight alpha * p^gamma; a true one has that of its quality.
    """
    weight = alpha * logits.detach().sigmoid() ** gamma * (1 - labels) + quality
    return F.binary_cross_entropy_with_logits(logits, quality, weight=weight, reduction="none")


class DetectionLoss(nn.Module):
    """Class, L1 and GIoU loss of one or more sets of predictions of a batch.

    Args:
        class_loss: "focal" or "varifocal".
        focal_alpha, focal_gamma, varifocal_alpha, varifocal_gamma: their parameters.

    Raises:
        ConfigurationError: there is no such class loss.
    """

    def __init__(
        self,
        *,
        class_loss: str = "focal",
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
        varifocal_alpha: float = 0.75,
        varifocal_gamma: float = 2.0,
    ):
        super().__init__()
        if class_loss not in CLASS_LOSSES:
            raise ConfigurationError(
                f"MODEL.EGTR.LOSS.CLASS_LOSS is {class_loss!r}, choose one of {', '.join(CLASS_LOSSES)}"
            )
        self.class_loss = class_loss
        self.focal_alpha, self.focal_gamma = focal_alpha, focal_gamma
        self.varifocal_alpha, self.varifocal_gamma = varifocal_alpha, varifocal_gamma

    def forward(
        self,
        logits: Tensor,
        boxes: Tensor,
        matches: JoinedMatches,
        targets: JoinedTargets,
        valid: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Sum the losses of each set of predictions.

        Args:
            logits: (L, B, N, C), L sets of predictions of the same images.
            boxes: (L, B, N, 4) cxcywh in 0..1.
            matches: M pairs, as many in each set; ``images`` counts from 0 to L * B - 1.
            targets: ground truth of the B images.
            valid: (B, N) bool, False at queries that have no class loss; None: all have one.

        Returns:
            "loss_ce", "loss_bbox" and "loss_giou", each (L,), not divided by any number.
        """
        sets = len(logits)
        flat_logits, flat_boxes = logits.flatten(0, 1), boxes.flatten(0, 1)
        found = flat_boxes[matches.images, matches.queries]
        wanted = targets.boxes[matches.objects].to(found)
        corners, wanted_corners = box_cxcywh_to_xyxy(found), box_cxcywh_to_xyxy(wanted)
        labels = torch.zeros_like(flat_logits)
        at = matches.images, matches.queries, targets.classes[matches.objects]
        labels[at] = 1.0
        if self.class_loss == "focal":
            class_loss = sigmoid_focal_loss(flat_logits, labels, self.focal_alpha, self.focal_gamma)
        else:
            quality = torch.zeros_like(flat_logits)
            quality[at] = box_iou(corners.detach(), wanted_corners)
            class_loss = varifocal_loss(flat_logits, labels, quality, self.varifocal_alpha, self.varifocal_gamma)
        class_loss = class_loss.view_as(logits)
        if valid is not None:
            class_loss = class_loss * valid[..., None]
        return {
            "loss_ce": class_loss.sum((1, 2, 3)),
            "loss_bbox": (found - wanted).abs().sum(-1).view(sets, len(found) // sets).sum(1),
            "loss_giou": (1 - generalized_box_iou(corners, wanted_corners)).view(sets, len(found) // sets).sum(1),
        }
