"""A moving average of the weights, which is evaluated and kept in place of the weights."""

from typing import Any

import torch
from detectron2.engine import HookBase
from torch import nn
from torch.optim.swa_utils import AveragedModel

from egtr.structures import ConfigurationError


class EMAHook(HookBase):
    """Keeps an exponential moving average of all parameters, and the buffers of the last step.

    The average starts from the initial weights. In step t = 1, 2, ... it keeps the share
    min(decay, (1 + t) / (10 + t)) of itself, so that it soon forgets random initial weights.

    Args:
        model: without the wrapper of distributed training.
        decay: between 0 and 1.

    Raises:
        ConfigurationError: decay has another value.
    """

    def __init__(self, model: nn.Module, decay: float):
        if not 0 < decay < 1:
            raise ConfigurationError(
                f"SOLVER.EMA_DECAY is {decay}; it must be between 0 and 1, such as 0.9999, or 0 for none"
            )
        self._source = model
        self.decay = decay
        self._averaged: AveragedModel | None = None

    @property
    def model(self) -> nn.Module:
        """A model like the trained one, with averaged weights."""
        return self._get().module

    def before_train(self) -> None:
        self._get()

    def after_step(self) -> None:
        self._get().update_parameters(self._source)

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "steps": self._get().n_averaged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        averaged = self._get()
        averaged.module.load_state_dict(state_dict["model"])
        averaged.n_averaged.copy_(state_dict["steps"])

    def _get(self) -> AveragedModel:
        if self._averaged is None:
            self._averaged = AveragedModel(self._source, multi_avg_fn=self._update)
            # AveragedModel only copies in its first update; here the initial weights count, too.
            self._averaged.n_averaged.fill_(1)
        return self._averaged

    @torch.no_grad()
    def _update(self, averages: list[torch.Tensor], weights: list[torch.Tensor], steps: torch.Tensor) -> None:
        steps = int(steps)
        torch._foreach_lerp_(averages, weights, 1 - min(self.decay, (1 + steps) / (10 + steps)))
