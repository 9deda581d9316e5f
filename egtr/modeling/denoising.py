"""Contrastive denoising: true boxes and classes with noise as additional queries in training (DINO, ICLR 2023).

Each group of queries holds every object of an image twice, first with little noise (positive), then with more
(negative):

    corners' = corners + s * u * b * (w, h, w, h) / 2,   s random sign, b BOX_NOISE,
                                                         u uniform in 0..1 (positive) or 1..2 (negative)
    class'   = a random class with probability LABEL_NOISE / 2, then, for positive queries, "unknown" with probability
               UNKNOWN_LABEL

A positive query has to find its object again, a negative one has to say that there is none. Matching is not needed.

With probability EXACT_SHARE an image's first group, whose relations RELATIONS trains, is what prediction makes of
given boxes: its positive queries have the true boxes and classes, but for UNKNOWN_LABEL, and it has no negative ones.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from egtr.layers import box_cxcywh_to_xyxy, box_xyxy_to_cxcywh
from egtr.structures import ConfigurationError

from .target import JoinedMatches, Target, object_starts, to_device
from .transformer.box_queries import BoxQueries


@dataclass
class DenoisingQueries:
    """Noised queries of a batch. B images, K groups of 2 * G queries, G the largest number of objects of an image.

    Attributes:
        queries: the 2 * G * K queries; of each group first the positive ones.
        num_groups: K.
        num_slots: G.
        positives: the object of each positive query; costs and fits are 0.
    """

    queries: BoxQueries
    num_groups: int
    num_slots: int
    positives: JoinedMatches


class Denoising:
    """Draws the queries of a batch.

    Args:
        num_classes: C; label C is "unknown".
        num_queries: positive queries of an image, which are spread over as many groups as fit, at least one.
        label_noise, box_noise, unknown_label: see the module.
        relations: apply the losses of relations to the positive queries of the first group, too.
        exact_share: share of the images whose first group has neither noise nor negative queries. 0 draws no number,
            so that seeded runs stay as they were before there was such a share.

    Raises:
        ConfigurationError: a value lies outside its range.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        num_queries: int = 100,
        label_noise: float = 0.5,
        box_noise: float = 1.0,
        unknown_label: float = 0.0,
        relations: bool = False,
        exact_share: float = 0.0,
    ):
        for key, value, low, high in (
            ("NUM_QUERIES", num_queries, 1, float("inf")),
            ("LABEL_NOISE", label_noise, 0, 1),
            ("BOX_NOISE", box_noise, 0, float("inf")),
            ("UNKNOWN_LABEL", unknown_label, 0, 1),
            ("EXACT_SHARE", exact_share, 0, 1),
        ):
            if not low <= value <= high:
                raise ConfigurationError(f"MODEL.EGTR.DENOISING.{key} is {value}, it must be from {low} to {high}")
        self.num_classes, self.num_queries = num_classes, num_queries
        self.label_noise, self.box_noise, self.unknown_label = label_noise, box_noise, unknown_label
        self.relations, self.exact_share = relations, exact_share

    @torch.no_grad()
    def __call__(self, targets: list[Target]) -> DenoisingQueries:
        """Draw queries for the objects of a batch; an image without objects has only padding."""
        counts = [len(target.classes) for target in targets]
        # One slot stays even if there are no objects, so that all processes train the same parameters.
        slots = max(1, *counts)
        groups = max(1, self.num_queries // slots)
        num_images, num_objects = len(targets), sum(counts)
        image = np.repeat(np.arange(num_images), counts)
        slot = np.arange(num_objects) - object_starts(counts)[image]
        query = slot[None] + np.arange(groups)[:, None] * (2 * slots)
        rows = [np.tile(image, groups), query.reshape(-1), np.tile(np.arange(num_objects), groups)]

        boxes = torch.cat([target.boxes for target in targets]).float()
        classes = torch.cat([target.classes for target in targets])
        images, queries, objects = to_device(np.stack(rows), boxes.device)
        first = images[:num_objects], queries[:num_objects]  # the first group's query is the slot
        slot_boxes = boxes.new_full((num_images, slots, 4), 0.5)
        slot_boxes[first] = boxes
        slot_classes = classes.new_full((num_images, slots), self.num_classes)
        slot_classes[first] = classes
        slot_valid = torch.zeros_like(slot_classes, dtype=torch.bool)
        slot_valid[first] = True

        is_negative = (torch.arange(2 * slots * groups, device=boxes.device) // slots) % 2 == 1
        valid = slot_valid.repeat(1, 2 * groups)
        all_boxes, labels = slot_boxes.repeat(1, 2 * groups, 1), slot_classes.repeat(1, 2 * groups)
        noised_boxes, noised_labels = self._noised_boxes(all_boxes, is_negative), self._noised_labels(labels, valid)
        if self.exact_share:
            chosen = torch.rand(num_images, device=boxes.device) < self.exact_share
            exact = chosen[:, None] & (torch.arange(len(is_negative), device=boxes.device) < 2 * slots)
            noised_boxes = torch.where(exact[..., None], all_boxes, noised_boxes)
            noised_labels = torch.where(exact, labels, noised_labels)
            valid = valid & ~(exact & is_negative)
        return DenoisingQueries(
            queries=BoxQueries(
                boxes=noised_boxes,
                labels=self._hidden_labels(noised_labels, is_negative),
                valid=valid,
                groups=torch.arange(groups, device=boxes.device).repeat_interleave(2 * slots),
            ),
            num_groups=groups,
            num_slots=slots,
            positives=JoinedMatches(images, queries, objects, *boxes.new_zeros(2, len(images))),
        )

    def _noised_boxes(self, boxes: Tensor, is_negative: Tensor) -> Tensor:
        """Move the corners of boxes (B, P, 4); ``is_negative`` is (P,) bool."""
        sign = torch.where(torch.rand_like(boxes) < 0.5, -1.0, 1.0)
        share = torch.rand_like(boxes) + is_negative[:, None]
        half = (boxes[..., 2:] / 2).repeat(1, 1, 2)
        corners = (box_cxcywh_to_xyxy(boxes) + sign * share * half * self.box_noise).clamp(0, 1)
        # Corners of a negative box may have passed each other: its side is then 0.
        return box_xyxy_to_cxcywh(corners).clamp(min=0)

    def _noised_labels(self, labels: Tensor, valid: Tensor) -> Tensor:
        """Exchange labels (B, P) for random ones; padding keeps its label."""
        random = torch.randint_like(labels, self.num_classes)
        changed = (torch.rand(labels.shape, device=labels.device) < self.label_noise / 2) & valid
        return torch.where(changed, random, labels)

    def _hidden_labels(self, labels: Tensor, is_negative: Tensor) -> Tensor:
        """Make labels (B, P) of positive queries unknown."""
        hidden = (torch.rand(labels.shape, device=labels.device) < self.unknown_label) & ~is_negative
        return labels.masked_fill(hidden, self.num_classes)


def build_denoising(cfg) -> Denoising:
    """Build the drawing of queries that MODEL.EGTR.DENOISING describes."""
    denoising = cfg.MODEL.EGTR.DENOISING
    return Denoising(
        cfg.MODEL.EGTR.NUM_CLASSES,
        num_queries=denoising.NUM_QUERIES,
        label_noise=denoising.LABEL_NOISE,
        box_noise=denoising.BOX_NOISE,
        unknown_label=denoising.UNKNOWN_LABEL,
        relations=denoising.RELATIONS,
        exact_share=denoising.EXACT_SHARE,
    )
