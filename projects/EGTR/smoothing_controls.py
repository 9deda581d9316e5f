"""Controls for adaptive smoothing: rules with the targets of FitSmoothing, but without the part that is under test.

    egtr sweep projects/EGTR/sweeps/joint.yaml --extension projects/EGTR/smoothing_controls.py

They separate what smoothing claims (badly found objects teach relations less) from what comes with it: lower targets
on average, targets that differ from each other, and less weight for relations early in training.
"""

import torch
from torch import Tensor

from egtr.modeling import SMOOTHING_REGISTRY
from egtr.modeling.smoothing import FitSmoothing


@SMOOTHING_REGISTRY.register()
class ShuffledSmoothing(FitSmoothing):
    """The targets of FitSmoothing, shuffled over the true triplets of the batch: same values, wrong places."""

    def targets(self, subjects: Tensor, objects: Tensor, matched: Tensor) -> tuple[Tensor, None]:
        """Shuffle the targets of triplets whose objects are both matched; see :class:`~egtr.modeling.Smoothing`."""
        targets, _ = super().targets(subjects, objects, matched)
        found = matched.nonzero()[:, 0]
        shuffled = targets.clone()
        shuffled[found] = targets[found[torch.randperm(len(found), device=found.device)]]
        return shuffled, None


@SMOOTHING_REGISTRY.register()
class MeanSmoothing(FitSmoothing):
    """One target for all true triplets of the batch: the mean of those of FitSmoothing."""

    def targets(self, subjects: Tensor, objects: Tensor, matched: Tensor) -> tuple[Tensor, None]:
        """Average the targets of triplets whose objects are both matched; see :class:`~egtr.modeling.Smoothing`."""
        targets, _ = super().targets(subjects, objects, matched)
        mean = (targets * matched).sum() / matched.sum().clamp(min=1)
        return mean.expand_as(targets), None


@SMOOTHING_REGISTRY.register()
class DownWeighting(FitSmoothing):
    """Targets of 1 whose loss has the target of FitSmoothing as its weight."""

    def targets(self, subjects: Tensor, objects: Tensor, matched: Tensor) -> tuple[Tensor, Tensor]:
        """Return ones, and the smoothed targets as weights; see :class:`~egtr.modeling.Smoothing`."""
        weights, _ = super().targets(subjects, objects, matched)
        return torch.ones_like(weights), weights
