"""All losses of a model: those of its detector and of its relation part."""

from collections.abc import Mapping

import torch
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor, nn

from egtr.structures import ConfigurationError

from .detection_loss import DetectionLoss
from .loss_normalizer import NORMALIZERS, loss_normalizer
from .matcher import HungarianMatcher
from .outputs import EGTROutput
from .relation.tasks import RelationTask
from .relation_loss import RelationLoss
from .smoothing import CostSmoothing, Smoothing, build_smoothing
from .target import JoinedMatches, JoinedTargets, Match, Target, join_matches, join_targets

# Earlier decoder layers have these losses with suffix "_0", "_1", ..., encoder proposals and denoising queries with
# the suffixes below; relations of denoising queries have that suffix, too.
DETECTION_LOSSES = ("loss_ce", "loss_bbox", "loss_giou")
PROPOSALS = "_enc"
DENOISING = "_dn"


class SetCriterion(nn.Module):
    """Matches queries to objects, then measures losses.

    Args:
        matcher: assigns queries to objects.
        weights: weight of "loss_ce", "loss_bbox", "loss_giou", "loss_rel" and "loss_connectivity".
        class_loss: kind of loss_ce: "focal", or "varifocal", with which scores also tell how well the box fits.
        focal_alpha, focal_gamma: parameters of loss_ce and of loss_rel, where these are focal.
        varifocal_alpha, varifocal_gamma: parameters of loss_ce, if that is varifocal.
        smoothing: softens the targets of relations between badly found objects; None: the paper's rule.
        k_neg, k_non: number of negatives per true triplet among matched pairs, and among pairs with an unmatched
            query; -1 takes all.
        negatives_per: "triplet", or "image": k_neg and k_non are numbers for each image, with triplets or without.
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
        ConfigurationError: a sampling, loss or normaliser does not exist.
    """

    def __init__(
        self,
        *,
        matcher: HungarianMatcher,
        weights: dict[str, float],
        class_loss: str = "focal",
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
        varifocal_alpha: float = 0.75,
        varifocal_gamma: float = 2.0,
        smoothing: Smoothing | None = None,
        k_neg: int = 80,
        k_non: int = 80,
        negatives_per: str = "triplet",
        neg_sampling: str = "hard",
        non_sampling: str = "hard",
        rel_loss: str = "bce",
        rel_loss_tau: float = 1.0,
        normalizer: str = "global",
        aux_layers: int = 0,
        tasks: Mapping[str, RelationTask] | None = None,
    ):
        super().__init__()
        if normalizer not in NORMALIZERS:
            raise ConfigurationError(
                f"MODEL.EGTR.LOSS.NORMALIZER is {normalizer!r}, choose one of {', '.join(NORMALIZERS)}"
            )
        self.matcher = matcher
        self.detection_loss = DetectionLoss(
            class_loss=class_loss,
            focal_alpha=focal_alpha,
            focal_gamma=focal_gamma,
            varifocal_alpha=varifocal_alpha,
            varifocal_gamma=varifocal_gamma,
        )
        self.relation_loss = RelationLoss(
            smoothing=smoothing or CostSmoothing(min_cost=matcher.min_cost),
            focal_alpha=focal_alpha,
            focal_gamma=focal_gamma,
            k_neg=k_neg,
            k_non=k_non,
            negatives_per=negatives_per,
            neg_sampling=neg_sampling,
            non_sampling=non_sampling,
            rel_loss=rel_loss,
            rel_loss_tau=rel_loss_tau,
        )
        self.normalizer = normalizer
        # A plain dict, since submodules would store their weights a second time.
        self.tasks = dict(tasks or {})
        self.weights = dict(weights) | {f"loss_{name}": task.weight for name, task in self.tasks.items()}
        layers = [f"_{layer}" for layer in range(aux_layers)]
        for suffix in [*layers, PROPOSALS, DENOISING, *(DENOISING + layer for layer in layers)]:
            self.weights.update({name + suffix: weights[name] for name in DETECTION_LOSSES})
        for name in ("loss_rel", "loss_connectivity"):
            self.weights[name + DENOISING] = weights[name]

    def forward(self, output: EGTROutput, targets: list[Target]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Compute the unweighted losses of a batch.

        In training mode loss_rel is the mean over sampled entries: every true triplet, and per true triplet k_neg
        others among matched pairs and k_non among pairs with an unmatched query: the highest-scoring ones, or random
        ones, as LOSS.NEG_SAMPLING and NON_SAMPLING say (or as many per image, see ``negatives_per``).
        In evaluation mode it is the mean over all entries.

        Args:
            output: dense output for B images, without logit adjustment.
            targets: B records.

        Returns:
            losses: "loss_ce", "loss_bbox", "loss_giou", "loss_rel", "loss_connectivity" and the losses of tasks, if
            the model has these parts; the first three with suffix "_0", "_1", ... for earlier decoder layers and
            "_enc" for encoder proposals; with denoising the first five with suffix "_dn", and the first three with
            "_dn_0", "_dn_1", ... logged: "uncertainty", "cardinality_error" (with the same suffixes) and
            "rel_gate_k", which are no part of the total.
        """
        device = output.logits.device
        joined = join_targets(targets)
        num_objects = loss_normalizer(sum(joined.counts), device, self.normalizer)
        # All layers are matched together, because each call waits for the device.
        layers = [(output.logits, output.pred_boxes), *output.aux_outputs]
        logits, boxes = (torch.stack(parts) for parts in zip(*layers, strict=True))
        matches = self.matcher(logits.flatten(0, 1), boxes.flatten(0, 1), targets * len(layers))
        losses, logged = {}, {}

        def add_detection(suffixes, logits, boxes, matches, targets):
            sums = self.detection_loss(logits, boxes, join_matches(matches, targets.counts), targets)
            for name, values in sums.items():
                losses.update(zip([name + suffix for suffix in suffixes], values / num_objects, strict=True))
            errors = cardinality_errors(logits, targets.counts)
            logged.update(zip(["cardinality_error" + suffix for suffix in suffixes], errors, strict=True))

        aux_suffixes = [f"_{layer}" for layer in range(len(output.aux_outputs))]
        add_detection(["", *aux_suffixes], logits, boxes, matches, joined)
        matches = matches[: len(targets)]
        if output.relation_logits is not None:
            joined_matches = join_matches(matches, joined.counts)
            if self.training:
                self.observe(joined_matches)
            relation_losses, relation_logged = self.relation_loss(
                output.relation_logits,
                output.connectivity_logits,
                joined_matches,
                joined,
                self.normalizer,
                output.predicate_frequency,
            )
            losses.update(relation_losses)
            logged.update(relation_logged)
        if output.gates is not None:
            means = output.gates.detach().mean((0, 2, 3))
            logged.update({f"rel_gate_{source}": mean for source, mean in enumerate(means)})
        for name, predicted in output.tasks.items():
            losses[f"loss_{name}"] = self.tasks[name].loss(predicted, targets, matches)
        if output.denoising is not None:
            losses.update(self._denoising(output, targets, joined))
        if output.proposals is not None:
            logits, boxes = output.proposals
            if not output.proposal_classes:
                # Every object is of class 0.
                targets = [Target(torch.zeros_like(t.classes), t.boxes, t.relations) for t in targets]
                joined = joined._replace(classes=torch.zeros_like(joined.classes))
            add_detection([PROPOSALS], logits[None], boxes[None], self.matcher(logits, boxes, targets), joined)
        return losses, logged

    def uncertainty(self, match: Match) -> Tensor:
        """Compute the uncertainty (M,) of the matched queries of an image, see :class:`~egtr.modeling.Smoothing`."""
        return self.relation_loss.smoothing(match.costs, match.fits)

    def observe(self, matches: JoinedMatches) -> None:
        """Let smoothing see the matches of an iteration, and log the quantiles of their uncertainty."""
        smoothing = self.relation_loss.smoothing
        smoothing.observe(matches.costs, matches.fits)
        if has_event_storage() and len(matches.costs):
            levels = matches.costs.new_tensor([0.1, 0.5, 0.9])
            values = smoothing(matches.costs, matches.fits).quantile(levels).tolist()
            names = ("uncertainty_q10", "uncertainty_q50", "uncertainty_q90")
            get_event_storage().put_scalars(**dict(zip(names, values, strict=True)))

    def weighted(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Multiply losses by their weights."""
        return {name: value * self.weights[name] for name, value in losses.items()}

    def _denoising(self, output: EGTROutput, targets: list[Target], joined: JoinedTargets) -> dict[str, Tensor]:
        """Compute the losses of denoising queries, whose objects are known."""
        found, drawn = output.denoising, output.denoising.drawn
        layers, device = len(found.logits), output.logits.device
        num_objects = loss_normalizer(sum(joined.counts) * drawn.num_groups, device, self.normalizer)
        logits, boxes = torch.stack(found.logits), torch.stack(found.pred_boxes)
        positives = drawn.positives
        first = len(targets) * torch.arange(layers, device=device)[:, None]
        matches = JoinedMatches(
            images=(first + positives.images).flatten(),
            queries=positives.queries.repeat(layers),
            objects=positives.objects.repeat(layers),
            costs=positives.costs.repeat(layers),
            fits=positives.fits.repeat(layers),
        )
        sums = self.detection_loss(logits, boxes, matches, joined, drawn.queries.valid)
        suffixes = [*(f"{DENOISING}_{layer}" for layer in range(layers - 1)), DENOISING]
        losses = {
            name + suffix: value
            for name, values in sums.items()
            for suffix, value in zip(suffixes, values / num_objects, strict=True)
        }
        if found.relation_logits is not None:
            count, slots = sum(joined.counts), drawn.num_slots
            queries = positives.queries[:count]
            costs, fits = self.matcher.costs_and_fits(logits[-1, :, :slots], boxes[-1, :, :slots], targets)
            matches = JoinedMatches(
                images=positives.images[:count],
                queries=queries,
                objects=positives.objects[:count],
                costs=costs.gather(1, queries[:, None])[:, 0],
                fits=fits.gather(1, queries[:, None])[:, 0],
            )
            relation_losses, _ = self.relation_loss(
                found.relation_logits,
                found.connectivity_logits,
                matches,
                joined,
                self.normalizer,
                output.predicate_frequency,
                valid=drawn.queries.valid[:, :slots],
            )
            losses.update({name + DENOISING: value for name, value in relation_losses.items()})
        return losses


def cardinality_errors(logits: Tensor, counts: list[int]) -> Tensor:
    """Compute how far the number of queries whose best class is not the last one lies from the number of objects.

    Args:
        logits: (L, B, N, C), L sets of predictions.
        counts: objects of each of the B images.

    Returns:
        (L,) means over images.
    """
    predicted = (logits.detach().argmax(-1) != logits.shape[-1] - 1).sum(-1)
    wanted = torch.tensor(counts).to(logits.device, non_blocking=True)
    return (predicted - wanted).abs().float().mean(1)


def build_criterion(cfg, tasks: nn.ModuleDict | None) -> SetCriterion:
    """Build the losses that the configuration describes; ``tasks`` are those of the relation part, or None."""
    loss, cost = cfg.MODEL.EGTR.LOSS, cfg.MODEL.EGTR.MATCHER
    focal = {"focal_alpha": loss.FOCAL_ALPHA, "focal_gamma": loss.FOCAL_GAMMA}
    matcher = HungarianMatcher(
        cost_class=cost.COST_CLASS, cost_bbox=cost.COST_BBOX, cost_giou=cost.COST_GIOU, **focal
    )
    return SetCriterion(
        matcher=matcher,
        weights={
            "loss_ce": loss.CE_WEIGHT,
            "loss_bbox": loss.BBOX_WEIGHT,
            "loss_giou": loss.GIOU_WEIGHT,
            "loss_rel": loss.REL_WEIGHT,
            "loss_connectivity": loss.CONNECTIVITY_WEIGHT,
        },
        class_loss=loss.CLASS_LOSS,
        varifocal_alpha=loss.VARIFOCAL_ALPHA,
        varifocal_gamma=loss.VARIFOCAL_GAMMA,
        smoothing=build_smoothing(cfg, matcher),
        k_neg=loss.K_NEG,
        k_non=loss.K_NON,
        negatives_per=loss.NEGATIVES_PER,
        neg_sampling=loss.NEG_SAMPLING,
        non_sampling=loss.NON_SAMPLING,
        rel_loss=loss.REL_LOSS,
        rel_loss_tau=loss.REL_LOSS_TAU,
        normalizer=loss.NORMALIZER,
        aux_layers=cfg.MODEL.EGTR.TRANSFORMER.DEC_LAYERS - 1,
        tasks=tasks,
        **focal,
    )
