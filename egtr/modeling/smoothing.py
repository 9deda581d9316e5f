"""Adaptive smoothing: true relations count less while the objects are not yet found well (paper, section 3.3)."""

import math
from abc import ABC, abstractmethod

import torch
from detectron2.config import configurable
from detectron2.utils import comm
from detectron2.utils.registry import Registry
from torch import Tensor, nn

from egtr.structures import ConfigurationError

from .matcher import HungarianMatcher
from .relation.build import get_entry

SMOOTHING_REGISTRY = Registry("SMOOTHING")
SMOOTHING_REGISTRY.__doc__ = """
Rules by which badly found objects soften the targets of their relations (MODEL.EGTR.LOSS.SMOOTHING).

An entry is a subclass of :class:`egtr.modeling.Smoothing` that is called as ``smoothing(cfg, matcher)``; ``matcher``
is the :class:`~egtr.modeling.HungarianMatcher` whose costs it reads.
"""


class Smoothing(nn.Module, ABC):
    """Tells the uncertainty of matches, and what it does to the targets of relations.

    Nothing here carries gradient. In training mode an entry may keep statistics; it stores them in buffers, and all
    processes of distributed training must keep the same ones.
    """

    @abstractmethod
    def forward(self, costs: Tensor, fits: Tensor) -> Tensor:
        """Compute the uncertainty u of M matches.

        Args:
            costs: (M,) matching costs.
            fits: (M,) in 0..1, probability of the object's class times IoU of the boxes.

        Returns:
            (M,) in 0..1; 0: certain.
        """

    def observe(self, costs: Tensor, fits: Tensor) -> None:
        """Update statistics with the matches of one iteration of training; all processes call it together."""

    def targets(self, subjects: Tensor, objects: Tensor, matched: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compute the targets of annotated triplets, and their weights in loss_rel.

        Args:
            subjects, objects: (T,) uncertainty of the subject and of the object of each triplet.
            matched: (T,) bool, False where one of them has no query; results there count nowhere.

        Returns:
            targets: (T,) in 0..1. weights: (T,), at least 0, or None if all weigh 1.
        """
        return (1 - subjects) * (1 - objects), None


@SMOOTHING_REGISTRY.register()
class CostSmoothing(Smoothing):
    """The paper's rule: u = sigmoid(cost - least possible cost - log(1 / alpha - 1)).

    Args:
        min_cost: matching cost of a perfect match.
        alpha: uncertainty of a perfect match; 0 switches smoothing off. It also says which cost is uncertain by one
            half, min_cost + log(1 / alpha - 1): 2.6 at the paper's 1e-14, -6.6 at 1e-10, below the cost of real
            matches.

    Raises:
        ConfigurationError: alpha lies outside 0..1.
    """

    @configurable
    def __init__(self, *, min_cost: float, alpha: float = 1e-14):
        super().__init__()
        if not 0 <= alpha < 1:
            raise ConfigurationError(f"MODEL.EGTR.LOSS.SMOOTHING_ALPHA is {alpha}, it must be at least 0, below 1")
        self.min_cost, self.alpha = min_cost, alpha

    @classmethod
    def from_config(cls, cfg, matcher: HungarianMatcher):
        return {"min_cost": matcher.min_cost, "alpha": cfg.MODEL.EGTR.LOSS.SMOOTHING_ALPHA}

    def forward(self, costs: Tensor, fits: Tensor) -> Tensor:
        """Compute u from costs only; see :class:`Smoothing`."""
        if self.alpha == 0:
            return torch.zeros_like(costs)
        return (costs - self.min_cost - math.log(1 / self.alpha - 1)).sigmoid()


@SMOOTHING_REGISTRY.register()
class FitSmoothing(Smoothing):
    """A rule without scale: u = 1 - p * IoU, with the probability p of the object's class."""

    @configurable
    def __init__(self):
        super().__init__()

    @classmethod
    def from_config(cls, cfg, matcher: HungarianMatcher):
        return {}

    def forward(self, costs: Tensor, fits: Tensor) -> Tensor:
        """Compute u from fits only; see :class:`Smoothing`."""
        return 1 - fits.clamp(0, 1)


@SMOOTHING_REGISTRY.register()
class QuantileSmoothing(Smoothing):
    """The paper's form with centre and width from the costs that training sees, so that their scale does not matter.

    u = sigmoid(log(9) * (cost - high) / (high - low)): u is 0.1 at the quantile ``low`` of recent costs, and 0.5 at
    the quantile ``high``. Both are means over iterations that forget slowly. They live in the buffer ``quantiles``,
    which checkpoints hold; before the first iteration of training the matches at hand give them.

    Args:
        low, high: shares of the matches that cost less, 0 <= low < high <= 1.
        momentum: weight of the past in each iteration.

    Raises:
        ConfigurationError: the shares are not in order.
    """

    @configurable
    def __init__(self, *, low: float = 0.5, high: float = 0.9, momentum: float = 0.99):
        super().__init__()
        if not 0 <= low < high <= 1:
            raise ConfigurationError(
                f"MODEL.EGTR.LOSS.SMOOTHING_QUANTILES is {[low, high]}, it must be two shares from 0 to 1, "
                "the lower one first"
            )
        self.momentum = momentum
        self.register_buffer("levels", torch.tensor([low, high]), persistent=False)
        self.register_buffer("quantiles", torch.full((2,), math.nan))

    @classmethod
    def from_config(cls, cfg, matcher: HungarianMatcher):
        low, high = cfg.MODEL.EGTR.LOSS.SMOOTHING_QUANTILES
        return {"low": low, "high": high}

    def forward(self, costs: Tensor, fits: Tensor) -> Tensor:
        """Compute u from costs only; see :class:`Smoothing`."""
        if not len(costs):
            return torch.zeros_like(costs)
        low, high = torch.where(self.quantiles.isnan(), costs.quantile(self.levels), self.quantiles)
        return (math.log(9) * (costs - high) / (high - low).clamp(min=1e-6)).sigmoid()

    def observe(self, costs: Tensor, fits: Tensor) -> None:
        """Move the quantiles towards those of these costs: a mean over processes, weighted by their matches."""
        found = costs.quantile(self.levels) if len(costs) else costs.new_zeros(2)
        sums = torch.cat([found * len(costs), costs.new_full((1,), len(costs))])
        if comm.get_world_size() > 1:
            torch.distributed.all_reduce(sums)
        # Not a number without any match; the past then stays, and a past that is not a number is replaced.
        found = sums[:2] / sums[2]
        moved = self.momentum * self.quantiles + (1 - self.momentum) * found
        moved = torch.where(self.quantiles.isnan(), found, moved)
        self.quantiles.copy_(torch.where(found.isfinite(), moved, self.quantiles))


def build_smoothing(cfg, matcher: HungarianMatcher) -> Smoothing:
    """Build the rule that the configuration names."""
    key = "MODEL.EGTR.LOSS.SMOOTHING"
    return get_entry(SMOOTHING_REGISTRY, cfg.MODEL.EGTR.LOSS.SMOOTHING, key)(cfg, matcher)
