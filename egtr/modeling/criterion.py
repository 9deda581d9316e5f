"""Losses of detector and relation part (paper, section 3.3: adaptive smoothing, connectivity, sampling)."""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egtr.layers import box_cxcywh_to_xyxy, generalized_box_iou
from egtr.structures import ConfigurationError

from .loss_normalizer import NORMALIZERS, loss_normalizer
from .matcher import HungarianMatcher
from .outputs import EGTROutput
from .relation.tasks import RelationTask
from .target import Match, Target

SAMPLINGS = ("hard", "random", "none")
RELATION_LOSSES = ("bce", "focal", "logit_adjusted")
# Earlier decoder layers have these losses with suffix "_0", "_1", ..., and two-stage proposals with this one.
DETECTION_LOSSES = ("loss_ce", "loss_bbox", "loss_giou")
PROPOSALS = "_enc"


def sigmoid_focal_loss(logits: Tensor, labels: Tensor, alpha: float, gamma: float) -> Tensor:
    """Compute the focal loss of each entry (Lin et al. 2017, eq. 5); ``labels`` are 0..1, shaped like ``logits``."""
    probability = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    miss = probability + labels - 2 * probability * labels  # 1 - p of the right answer
    weight = alpha * labels + (1 - alpha) * (1 - labels)
    return weight * miss**gamma * cross_entropy


class SetCriterion(nn.Module):
    """Matches queries to objects, then measures losses.

    Args:
        matcher: assigns queries to objects.
        weights: weight of "loss_ce", "loss_bbox", "loss_giou", "loss_rel" and "loss_connectivity".
        focal_alpha, focal_gamma: parameters of loss_ce, and of loss_rel if that is focal.
        smoothing_alpha: uncertainty of a perfect match; 0 switches adaptive smoothing off.
        k_neg, k_non: number of negatives per true triplet among matched pairs, and among pairs with an unmatched
            query; -1 takes all.
        neg_sampling, non_sampling: "hard" takes negatives of highest score, "random" draws them, "none" takes all.
        rel_loss: "bce", binary cross-entropy, mean over the entries (the paper); "focal", summed and divided by the
            number of true triplets, as loss_ce is by objects; "logit_adjusted", binary cross-entropy of logits +
            rel_loss_tau * log(predicate frequency), so that the logits themselves learn not to follow the frequency
            (Menon et al., ICLR 2021).
        rel_loss_tau: strength of that adjustment.
        normalizer: divisor of losses in distributed training, see
            :func:`~egtr.modeling.loss_normalizer.loss_normalizer`.
        aux_layers: number of earlier decoder layers that have detection losses, too.
        tasks: auxiliary tasks on pairs, name to entry of RELATION_TASK_REGISTRY; their losses are called
            "loss_<name>". The modules belong to the model, not to the criterion.

    Attributes:
        weights: weight of every loss by its full name.

    Raises:
        ConfigurationError: a sampling, loss or normaliser does not exist, or alpha lies outside 0..1.
    """

    def __init__(
        self,
        *,
        matcher: HungarianMatcher,
        weights: dict[str, float],
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
        smoothing_alpha: float = 1e-14,
        k_neg: int = 80,
        k_non: int = 80,
        neg_sampling: str = "hard",
        non_sampling: str = "hard",
        rel_loss: str = "bce",
        rel_loss_tau: float = 1.0,
        normalizer: str = "global",
        aux_layers: int = 0,
        tasks: Mapping[str, RelationTask] | None = None,
    ):
        super().__init__()
        for key, value, known in (
            ("NEG_SAMPLING", neg_sampling, SAMPLINGS),
            ("NON_SAMPLING", non_sampling, SAMPLINGS),
            ("REL_LOSS", rel_loss, RELATION_LOSSES),
            ("NORMALIZER", normalizer, NORMALIZERS),
        ):
            if value not in known:
                raise ConfigurationError(f"MODEL.EGTR.LOSS.{key} is {value!r}, choose one of {', '.join(known)}")
        if not 0 <= smoothing_alpha < 1:
            raise ConfigurationError(
                f"MODEL.EGTR.LOSS.SMOOTHING_ALPHA is {smoothing_alpha}, it must be at least 0, below 1"
            )
        self.matcher = matcher
        self.focal_alpha, self.focal_gamma = focal_alpha, focal_gamma
        self.smoothing_alpha = smoothing_alpha
        self.k_neg, self.k_non = k_neg, k_non
        self.neg_sampling, self.non_sampling = neg_sampling, non_sampling
        self.rel_loss, self.rel_loss_tau = rel_loss, rel_loss_tau
        self.normalizer = normalizer
        # A plain dict, since submodules would store their weights a second time.
        self.tasks = dict(tasks or {})
        self.weights = dict(weights) | {f"loss_{name}": task.weight for name, task in self.tasks.items()}
        for suffix in [*(f"_{layer}" for layer in range(aux_layers)), PROPOSALS]:
            self.weights.update({name + suffix: weights[name] for name in DETECTION_LOSSES})

    def forward(self, output: EGTROutput, targets: list[Target]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Compute the unweighted losses of a batch.

        In training mode loss_rel is the mean over sampled entries: every true triplet, and per true triplet k_neg
        others among matched pairs and k_non among pairs with an unmatched query: the highest-scoring ones, or random
        ones, as LOSS.NEG_SAMPLING and NON_SAMPLING say.
        In evaluation mode it is the mean over all entries.

        Args:
            output: dense output for B images, without logit adjustment.
            targets: B records.

        Returns:
            losses: "loss_ce", "loss_bbox", "loss_giou", "loss_rel", "loss_connectivity" and the losses of tasks, if
            the model has these parts; the first three with suffix "_0", "_1", ... for earlier decoder layers and
            "_enc" for two-stage proposals. logged: "uncertainty", "cardinality_error" (with the same suffixes) and
            "rel_gate_k", which are no part of the total.
        """
        num_objects = loss_normalizer(sum(len(t.classes) for t in targets), output.logits.device, self.normalizer)
        matches = self.matcher(output.logits, output.pred_boxes, targets)
        losses, logged = self._detection(output.logits, output.pred_boxes, targets, matches, num_objects)
        if output.relation_logits is not None:
            relation_losses, relation_logged = self._relation(output, targets, matches)
            losses.update(relation_losses)
            logged.update(relation_logged)
        for name, predicted in output.tasks.items():
            losses[f"loss_{name}"] = self.tasks[name].loss(predicted, targets, matches)

        others = [(f"_{layer}", *aux, targets) for layer, aux in enumerate(output.aux_outputs)]
        if output.proposals is not None:
            # Proposals have no classes: every object is of class 0.
            objects = [Target(torch.zeros_like(t.classes), t.boxes, t.relations) for t in targets]
            others.append((PROPOSALS, *output.proposals, objects))
        for suffix, logits, boxes, wanted in others:
            matches = self.matcher(logits, boxes, wanted)
            more_losses, more_logged = self._detection(logits, boxes, wanted, matches, num_objects)
            losses.update({name + suffix: value for name, value in more_losses.items()})
            logged.update({name + suffix: value for name, value in more_logged.items()})
        return losses, logged

    def weighted(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Multiply losses by their weights."""
        return {name: value * self.weights[name] for name, value in losses.items()}

    def _detection(self, logits, boxes, targets, matches, num_objects):
        """Compute class, L1 and GIoU loss of one set of predictions: logits (B, N, C), boxes (B, N, 4)."""
        labels = torch.zeros_like(logits)
        for index, (match, target) in enumerate(zip(matches, targets, strict=True)):
            labels[index, match.queries, target.classes[match.objects]] = 1.0
        found = torch.cat([boxes[index, match.queries] for index, match in enumerate(matches)])
        wanted = torch.cat([t.boxes[m.objects] for t, m in zip(targets, matches, strict=True)]).to(found)
        giou = generalized_box_iou(box_cxcywh_to_xyxy(found), box_cxcywh_to_xyxy(wanted))
        focal = sigmoid_focal_loss(logits, labels, self.focal_alpha, self.focal_gamma)
        losses = {
            "loss_ce": focal.sum() / num_objects,
            "loss_bbox": (found - wanted).abs().sum() / num_objects,
            "loss_giou": (1 - giou).sum() / num_objects,
        }
        predicted = (logits.detach().argmax(-1) != logits.shape[-1] - 1).sum(1)
        counts = torch.tensor([len(t.classes) for t in targets], device=logits.device)
        return losses, {"cardinality_error": (predicted - counts).abs().float().mean()}

    def uncertainty(self, costs: Tensor) -> Tensor:
        """Compute u of matched queries (M,), in 0..1: sigmoid(cost - least possible cost - log(1 / alpha - 1))."""
        if self.smoothing_alpha == 0:
            return torch.zeros_like(costs)
        return (costs - self.matcher.min_cost - math.log(1 / self.smoothing_alpha - 1)).sigmoid()

    def _true_entries(self, target: Target, match: Match) -> tuple[Tensor, Tensor, Tensor]:
        """Find the triplets whose objects are both matched.

        Returns:
            entries (T', 3) of (subject query, object query, predicate), each once, and the uncertainties (T',) of
            their subjects and objects.
        """
        device = match.queries.device
        row = torch.full((len(target.classes),), -1, dtype=torch.int64, device=device)
        row[match.objects] = torch.arange(len(match.objects), device=device)
        rows = torch.stack([row[target.relations[:, 0]], row[target.relations[:, 1]], target.relations[:, 2]], dim=1)
        rows = torch.unique(rows[(rows[:, :2] >= 0).all(1)], dim=0)
        uncertainty = self.uncertainty(match.costs)
        entries = torch.stack([match.queries[rows[:, 0]], match.queries[rows[:, 1]], rows[:, 2]], dim=1)
        return entries, uncertainty[rows[:, 0]], uncertainty[rows[:, 1]]

    def _relation(self, output, targets, matches):
        """Compute loss_rel, loss_connectivity and the quantities that are logged with them."""
        relation_logits, connectivity_logits = output.relation_logits, output.connectivity_logits
        learned = relation_logits
        if self.rel_loss == "logit_adjusted":
            learned = learned + self.rel_loss_tau * output.predicate_frequency.clamp(min=1e-12).log()
        chosen_logits, chosen_targets, pair_uncertainty, connectivity = [], [], [], []
        for index, (target, match) in enumerate(zip(targets, matches, strict=True)):
            entries, u_subject, u_object = self._true_entries(target, match)
            subjects, objects, predicates = entries.unbind(1)
            positives = (1 - u_subject) * (1 - u_object)
            pair_uncertainty.append(u_subject * u_object)
            scores = learned[index]
            if self.training:
                # Negatives are chosen by the model's own logits, even if the loss adjusts them.
                negatives = scores.flatten()[self._negatives(relation_logits[index], match.queries, entries)]
                chosen_logits += [scores[subjects, objects, predicates], negatives]
                chosen_targets += [positives, torch.zeros_like(negatives)]
            else:
                wanted = torch.zeros_like(scores)
                wanted[subjects, objects, predicates] = positives.to(wanted.dtype)
                chosen_logits.append(scores.flatten())
                chosen_targets.append(wanted.flatten())
            if connectivity_logits is not None:
                wanted = torch.zeros_like(connectivity_logits[index])
                wanted[subjects, objects] = 1.0
                connectivity.append(wanted)

        logits = torch.cat(chosen_logits)
        wanted = torch.cat(chosen_targets).to(logits.dtype)
        pair_uncertainty = torch.cat(pair_uncertainty)
        if self.rel_loss == "focal":
            total = sigmoid_focal_loss(logits, wanted, self.focal_alpha, self.focal_gamma).sum()
            count = len(pair_uncertainty)
        else:
            total = F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
            count = logits.numel()
        losses = {"loss_rel": total / loss_normalizer(count, logits.device, self.normalizer)}
        if connectivity_logits is not None:
            losses["loss_connectivity"] = F.binary_cross_entropy_with_logits(
                connectivity_logits, torch.stack(connectivity)
            )
        logged = {"uncertainty": pair_uncertainty.sum() / max(len(pair_uncertainty), 1)}
        if output.gates is not None:
            means = output.gates.detach().mean((0, 2, 3))
            logged.update({f"rel_gate_{source}": mean for source, mean in enumerate(means)})
        return losses, logged

    @torch.no_grad()
    def _negatives(self, scores: Tensor, queries: Tensor, entries: Tensor) -> Tensor:
        """Find the positions, in the flattened scores, of the sampled negatives of one image.

        Args:
            scores: (N, N, R) relation logits.
            queries: (M,) matched queries.
            entries: (T', 3) true (subject query, object query, predicate).
        """
        count = len(entries)
        if count == 0:
            return queries.new_zeros(0)
        subjects, objects, predicates = entries.unbind(1)
        is_matched = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
        is_matched[queries] = True
        both = is_matched[:, None] & is_matched[None, :]
        candidate = both[..., None].repeat(1, 1, scores.shape[-1])
        candidate[subjects, objects, predicates] = False
        among_matched = candidate.flatten().nonzero()[:, 0]
        others = (~both).flatten().nonzero()[:, 0]
        others = others[:, None] * scores.shape[-1] + torch.arange(scores.shape[-1], device=scores.device)
        flat = scores.flatten()
        return torch.cat(
            [
                self._sample(flat, among_matched, self.k_neg, count, self.neg_sampling),
                self._sample(flat, others.flatten(), self.k_non, count, self.non_sampling),
            ]
        )

    @staticmethod
    def _sample(flat: Tensor, candidates: Tensor, k: int, count: int, sampling: str) -> Tensor:
        """Sample at most ``k * count`` of the indices ``candidates`` of ``flat``."""
        wanted = len(candidates) if k < 0 or sampling == "none" else min(k * count, len(candidates))
        if wanted == len(candidates):
            return candidates
        if sampling == "hard":
            return candidates[flat[candidates].topk(wanted, sorted=False).indices]
        return candidates[torch.randperm(len(candidates), device=candidates.device)[:wanted]]
