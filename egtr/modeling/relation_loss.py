"""Losses of relations: smoothed targets, connectivity and sampling (paper, section 3.3)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egtr.structures import ConfigurationError

from .detection_loss import sigmoid_focal_loss
from .loss_normalizer import loss_normalizer
from .smoothing import Smoothing
from .target import JoinedMatches, JoinedTargets

SAMPLINGS = ("hard", "random", "none")
NEGATIVES_PER = ("triplet", "image")
RELATION_LOSSES = ("bce", "focal", "logit_adjusted")


class RelationLoss(nn.Module):
    """loss_rel and loss_connectivity.

    Args:
        smoothing: softens the targets of relations between badly found objects.
        focal_alpha, focal_gamma: parameters of loss_rel, if that is focal.
        k_neg, k_non, negatives_per, neg_sampling, non_sampling, rel_loss, rel_loss_tau: see
            :class:`~egtr.modeling.SetCriterion`.

    Raises:
        ConfigurationError: a sampling or loss does not exist.
    """

    def __init__(
        self,
        *,
        smoothing: Smoothing,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
        k_neg: int = 80,
        k_non: int = 80,
        negatives_per: str = "triplet",
        neg_sampling: str = "hard",
        non_sampling: str = "hard",
        rel_loss: str = "bce",
        rel_loss_tau: float = 1.0,
    ):
        super().__init__()
        for key, value, known in (
            ("NEGATIVES_PER", negatives_per, NEGATIVES_PER),
            ("NEG_SAMPLING", neg_sampling, SAMPLINGS),
            ("NON_SAMPLING", non_sampling, SAMPLINGS),
            ("REL_LOSS", rel_loss, RELATION_LOSSES),
        ):
            if value not in known:
                raise ConfigurationError(f"MODEL.EGTR.LOSS.{key} is {value!r}, choose one of {', '.join(known)}")
        self.smoothing = smoothing
        self.focal_alpha, self.focal_gamma = focal_alpha, focal_gamma
        self.k_neg, self.k_non = k_neg, k_non
        self.negatives_per = negatives_per
        self.neg_sampling, self.non_sampling = neg_sampling, non_sampling
        self.rel_loss, self.rel_loss_tau = rel_loss, rel_loss_tau

    def forward(
        self,
        relation_logits: Tensor,
        connectivity_logits: Tensor | None,
        matches: JoinedMatches,
        targets: JoinedTargets,
        normalizer: str,
        predicate_frequency: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Compute the losses, as the mode (training or evaluation) defines them.

        Args:
            relation_logits: (B, N, N, R).
            connectivity_logits: (B, N, N), or None.
            matches, targets: of the batch.
            normalizer: see :func:`~egtr.modeling.loss_normalizer.loss_normalizer`.
            predicate_frequency: (R,); only "logit_adjusted" needs it.
            valid: (B, N) bool, False at queries that stand for nothing, whose pairs count nowhere; None: all count.

        Returns:
            losses: "loss_rel" and, with connectivity, "loss_connectivity". logged: "uncertainty", the mean of
            u_subject * u_object over true triplets.
        """
        uncertainty = self.smoothing(matches.costs, matches.fits)
        true, smoothed, pair_uncertainty, weights = self._true_entries(
            relation_logits.shape, matches, targets, uncertainty
        )
        if valid is not None:
            valid = valid[:, :, None] & valid[:, None, :]
        if self.training:
            # Negatives are chosen by the model's own logits, even if the loss adjusts them.
            chosen = true | self._negatives(relation_logits, true, matches, targets.most_relations, valid)
        else:
            chosen = torch.ones_like(true) if valid is None else valid[..., None].expand_as(true)
        learned = relation_logits
        if self.rel_loss == "logit_adjusted":
            learned = learned + self.rel_loss_tau * predicate_frequency.clamp(min=1e-12).log()
        smoothed = smoothed.to(learned.dtype)
        if self.rel_loss == "focal":
            entries, count = sigmoid_focal_loss(learned, smoothed, self.focal_alpha, self.focal_gamma), true.sum()
        else:
            entries = F.binary_cross_entropy_with_logits(learned, smoothed, reduction="none")
            count = chosen.sum()
        if weights is not None:
            entries = entries * weights
        total = entries.masked_fill(~chosen, 0.0).sum()
        losses = {"loss_rel": total / loss_normalizer(count, total.device, normalizer)}
        if connectivity_logits is not None:
            joined = true.any(-1).to(connectivity_logits.dtype)
            losses["loss_connectivity"] = F.binary_cross_entropy_with_logits(
                connectivity_logits, joined, weight=valid
            )
            if valid is not None:
                losses["loss_connectivity"] = losses["loss_connectivity"] * (valid.numel() / valid.sum().clamp(min=1))
        return losses, {"uncertainty": pair_uncertainty.sum() / true.sum().clamp(min=1)}

    def _true_entries(
        self, shape: torch.Size, matches: JoinedMatches, targets: JoinedTargets, uncertainty: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Mark the triplets whose objects are both matched.

        Returns:
            Tensors of ``shape`` (B, N, N, R): true (bool), the smoothed target, u_subject * u_object, and the weight
            in the loss. Where ``true`` is False, the next two are 0 and the weight is 1. No weights: None.
        """
        _, num_queries, _, num_predicates = shape
        device = matches.queries.device
        row = torch.full((len(targets.classes),), -1, dtype=torch.int64, device=device)
        row[matches.objects] = torch.arange(len(matches.objects), device=device)
        subjects, objects = row[targets.relations[:, 0]], row[targets.relations[:, 1]]
        both = (subjects >= 0) & (objects >= 0)
        subjects, objects = subjects.clamp(min=0), objects.clamp(min=0)
        place = targets.relation_images * num_queries + matches.queries[subjects]
        place = (place * num_queries + matches.queries[objects]) * num_predicates + targets.relations[:, 2]
        # Triplets with an unmatched object go to a place after the last, so that nothing waits for their number. A
        # triplet that is annotated twice is written twice to the same place.
        size = shape.numel()
        place = torch.where(both, place, size)
        u_subject, u_object = uncertainty[subjects], uncertainty[objects]
        smoothed, weights = self.smoothing.targets(u_subject, u_object, both)

        def spread(value: Tensor, elsewhere: float = 0) -> Tensor:
            dense = torch.full((size + 1,), elsewhere, dtype=value.dtype, device=device)
            dense[place] = value
            return dense[:size].view(shape)

        true, product = spread(torch.ones_like(both)), spread(u_subject * u_object)
        return true, spread(smoothed), product, None if weights is None else spread(weights, 1)

    @torch.no_grad()
    def _negatives(
        self, scores: Tensor, true: Tensor, matches: JoinedMatches, most_relations: int, valid: Tensor | None = None
    ) -> Tensor:
        """Mark the sampled negatives.

        Args:
            scores: (B, N, N, R) relation logits.
            true: (B, N, N, R) bool.
            matches: of the batch.
            most_relations: no image has more true entries.
            valid: (B, N, N) bool, False at pairs that count nowhere.

        Returns:
            (B, N, N, R) bool.
        """
        is_matched = torch.zeros(scores.shape[:2], dtype=torch.bool, device=scores.device)
        is_matched[matches.images, matches.queries] = True
        both = is_matched[:, :, None] & is_matched[:, None, :]
        others = ~both if valid is None else ~both & valid
        counts = true.sum((1, 2, 3))
        if self.negatives_per == "image":
            counts, most_relations = torch.ones_like(counts), 1
        among_matched = self._sample(
            scores, both[..., None] & ~true, self.k_neg, counts, most_relations, self.neg_sampling
        )
        among_others = self._sample(
            scores, others[..., None].expand_as(true), self.k_non, counts, most_relations, self.non_sampling
        )
        return among_matched | among_others

    @staticmethod
    def _sample(
        scores: Tensor, candidates: Tensor, k: int, counts: Tensor, most_relations: int, sampling: str
    ) -> Tensor:
        """Mark at most ``k * counts`` of the candidates (B, N, N, R) of each image, by score; counts is (B,)."""
        if k < 0 or sampling == "none":
            return candidates & (counts > 0)[:, None, None, None]
        scores = torch.rand_like(scores) if sampling == "random" else scores
        scores = scores.masked_fill(~candidates, -math.inf).flatten(1)
        # The host does not know the counts of the images, so every image ranks as many as the largest may need.
        best = scores.topk(min(k * most_relations, scores.shape[1]), dim=1).indices
        wanted = torch.arange(best.shape[1], device=best.device) < k * counts[:, None]
        chosen = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, best, wanted)
        return chosen.view_as(candidates) & candidates
