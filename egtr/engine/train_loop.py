"""One optimizer step: micro-batches, mixed precision, clipping by the global norm, metrics."""

import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from egtr.structures import ConfigurationError, TrainingError

logger = logging.getLogger(__name__)

# Number of images that the message about a bad step names.
_NUM_NAMED = 20


class AccumulatingTrainer(SimpleTrainer):
    """Detectron2's ``SimpleTrainer`` with the additions that EGTR's recipe needs.

    - The gradient of a step is the mean over ``accumulate_steps`` micro-batches.
    - It is clipped by its norm over all trainable parameters together.
    - ``amp_dtype`` runs the forward pass in mixed precision, on the CPU as well; float16 scales the losses.
    - If a loss or the gradient of a step is NaN or infinite, the step changes no weight and no running statistics
      of norms. It ends the run, or is skipped.

    Weighted losses, ``total_loss``, ``grad_norm`` (before clipping) and ``data_time`` go to the event
    storage. They reach the host in one transfer per step; losses are means over micro-batches and processes.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: torch.optim.Optimizer,
        *,
        accumulate_steps: int = 1,
        max_grad_norm: float | None = None,
        norm_type: float = 2.0,
        amp_dtype: torch.dtype | None = None,
        skip_non_finite: int = 0,
    ):
        """Set up the loop.

        Args:
            model: returns a dict of weighted losses for a batch, whose sum is minimised. May be wrapped in DDP.
            data_loader: endless; each item is a batch.
            accumulate_steps: micro-batches per optimizer step, at least 1.
            max_grad_norm: clip the global norm to this value; None does not clip.
            norm_type: p of the norm.
            amp_dtype: torch.bfloat16, torch.float16 or None for full precision.
            skip_non_finite: number of consecutive steps that may be skipped because a loss or the gradient is not
                finite.

        Raises:
            ConfigurationError: accumulate_steps below 1, or skip_non_finite below 0.
        """
        super().__init__(model, data_loader, optimizer)
        if accumulate_steps < 1:
            raise ConfigurationError(f"SOLVER.ACCUMULATE_STEPS is {accumulate_steps}; it must be at least 1")
        if skip_non_finite < 0:
            raise ConfigurationError(
                f"SOLVER.SKIP_NON_FINITE is {skip_non_finite}; give a number of steps, or 0 to skip none"
            )
        self.accumulate_steps = accumulate_steps
        self.skip_non_finite = skip_non_finite
        self.skipped = 0
        self.max_grad_norm = max_grad_norm
        self.norm_type = norm_type
        self.amp_dtype = amp_dtype
        self.device_type = next(model.parameters()).device.type
        self.grad_scaler = None
        if amp_dtype == torch.float16:
            self.grad_scaler = torch.amp.GradScaler(self.device_type)

    def start_loader(self) -> None:
        """Start the loader, with its workers, before the first step does it."""
        self._data_loader_iter_obj = iter(self.data_loader)

    def run_step(self) -> None:
        """Make one optimizer step.

        Raises:
            TrainingError: a loss or the gradient is not finite, and no more steps may be skipped. Weights are as they
                were before the step.
        """
        assert self.model.training, "the model was left in evaluation mode"
        self.optimizer.zero_grad(set_to_none=True)
        statistics = [(buffer, buffer.clone()) for buffer in self._running_statistics()]
        parts: list[tuple[Any, dict[str, torch.Tensor]]] = []
        data_time = 0.0
        for micro_step in range(self.accumulate_steps):
            start = time.perf_counter()
            batch = next(self._data_loader_iter)
            data_time += time.perf_counter() - start
            parts.append((batch, self._backward(batch, synchronise=micro_step == self.accumulate_steps - 1)))
        self.after_backward()
        metrics = self._average([losses for _, losses in parts], self._clip_gradients())
        # float16 overflows now and then: the scaler then skips the step by itself and lowers the scale.
        overflow = self.grad_scaler is not None and not math.isfinite(metrics["grad_norm"])
        bad = [name for name, value in metrics.items() if not math.isfinite(value)]
        if bad and not (overflow and bad == ["grad_norm"]):
            for buffer, before in statistics:
                buffer.copy_(before)
            self._refuse_step(bad, parts)
            # Without gradients this changes nothing, but the schedule counts a step.
            self.optimizer.zero_grad(set_to_none=True)
            self.optimizer.step()
        else:
            self.skipped = 0
            total_loss = sum(value for name, value in metrics.items() if name != "grad_norm")
            get_event_storage().put_scalars(total_loss=total_loss, data_time=data_time, **metrics)
            if self.grad_scaler is None:
                self.optimizer.step()
            else:
                self.grad_scaler.step(self.optimizer)
        if self.grad_scaler is not None:
            self.grad_scaler.update()

    def _running_statistics(self) -> list[torch.Tensor]:
        """Return the buffers that a forward pass changes before its losses are known to be finite."""
        norms = [m for m in self.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
        return [buffer for norm in norms for buffer in norm.buffers()]

    def _backward(self, batch: Any, synchronise: bool) -> dict[str, torch.Tensor]:
        """Add the batch's share to the gradients; returns its losses, detached."""
        with ExitStack() as stack:
            if not synchronise and isinstance(self.model, DistributedDataParallel):
                # Processes exchange the finished sum once, in the last backward pass.
                stack.enter_context(self.model.no_sync())
            with torch.autocast(self.device_type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None):
                losses: Mapping[str, torch.Tensor] = self.model(batch)
                total = sum(losses.values()) / self.accumulate_steps
            if self.grad_scaler is not None:
                total = self.grad_scaler.scale(total)
            total.backward()
        return {name: value.detach() for name, value in losses.items()}

    def _clip_gradients(self) -> torch.Tensor:
        """Clip in place; returns the norm before clipping, a scalar tensor."""
        if self.grad_scaler is not None:
            self.grad_scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        limit = math.inf if self.max_grad_norm is None else self.max_grad_norm
        return nn.utils.clip_grad_norm_(parameters, limit, norm_type=self.norm_type)

    def _average(self, parts: Sequence[Mapping[str, torch.Tensor]], grad_norm: torch.Tensor) -> dict[str, float]:
        """Average the losses over micro-batches and processes; add "grad_norm". All processes get the same."""
        means = {name: sum(losses[name] for losses in parts) / len(parts) for name in parts[0]}
        values = torch.stack([v.float() for v in (*means.values(), grad_norm.to(self._device))])
        if comm.get_world_size() > 1:
            # A value that is not finite in one process is not finite in the sum, so all processes see it.
            dist.all_reduce(values)
            values /= comm.get_world_size()
        return dict(zip([*means, "grad_norm"], values.tolist(), strict=True))

    def _refuse_step(self, bad: Sequence[str], parts: Sequence[tuple[Any, Mapping[str, torch.Tensor]]]) -> None:
        """Log the values that are not finite, and their images; raise an error if no more steps may be skipped.

        Args:
            bad: names of losses, or "grad_norm".
            parts: batch and losses of this process's micro-batches.
        """
        losses = [name for name in bad if name != "grad_norm"]
        own = [
            image_id
            for batch, found in parts
            if not losses or not all(bool(torch.isfinite(found[name])) for name in losses)
            for image_id in _image_ids(batch)
        ]
        image_ids = [image_id for ids in comm.all_gather(own) for image_id in ids]
        named = ", ".join(map(str, image_ids[:_NUM_NAMED])) + (", ..." if len(image_ids) > _NUM_NAMED else "")
        message = (
            f"Iteration {self.iter}: {', '.join(losses) or 'the gradient'} of the batch with image ids "
            f"{named or '?'} is not finite (NaN or infinite); no weight was changed"
        )
        self.skipped += 1
        if self.skipped > self.skip_non_finite:
            raise TrainingError(
                f"{message}. Check these images and their boxes, lower SOLVER.BASE_LR, lengthen "
                "SOLVER.WARMUP_ITERS or switch SOLVER.AMP.ENABLED off; SOLVER.SKIP_NON_FINITE skips single "
                "steps. --resume continues from the last checkpoint"
            )
        logger.warning("%s. Step skipped, %d of %d in succession", message, self.skipped, self.skip_non_finite)

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict() | {"skipped": self.skipped}
        if self.grad_scaler is not None:
            state["grad_scaler"] = self.grad_scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.skipped = state_dict.get("skipped", 0)
        # A run that changes its precision on resume starts with a fresh scale.
        if self.grad_scaler is not None and "grad_scaler" in state_dict:
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])


def _image_ids(batch: Any) -> list[Any]:
    """Find the image ids in a batch of Detectron2's loaders; other batches have none."""
    records = batch if isinstance(batch, list | tuple) else ()
    return [record.get("image_id") for record in records if isinstance(record, Mapping)]


def build_train_loop(
    cfg: CfgNode, model: nn.Module, data_loader: Iterable[Any], optimizer: torch.optim.Optimizer
) -> AccumulatingTrainer:
    """Build the training loop from SOLVER.ACCUMULATE_STEPS, CLIP_GRADIENTS, AMP and SKIP_NON_FINITE.

    Raises:
        ConfigurationError: a value of these keys is not supported.
    """
    return AccumulatingTrainer(
        model,
        data_loader,
        optimizer,
        accumulate_steps=cfg.SOLVER.ACCUMULATE_STEPS,
        max_grad_norm=_max_grad_norm(cfg),
        norm_type=cfg.SOLVER.CLIP_GRADIENTS.NORM_TYPE,
        amp_dtype=_amp_dtype(cfg),
        skip_non_finite=cfg.SOLVER.SKIP_NON_FINITE,
    )


def _max_grad_norm(cfg: CfgNode) -> float | None:
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if not clip.ENABLED:
        return None
    if clip.CLIP_TYPE != "full_model":
        raise ConfigurationError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE is {clip.CLIP_TYPE!r}, but EGTR clips the norm over all "
            "parameters together: set it to 'full_model' (Detectron2's 'norm' clips each parameter by itself)"
        )
    if clip.CLIP_VALUE <= 0:
        raise ConfigurationError(f"SOLVER.CLIP_GRADIENTS.CLIP_VALUE is {clip.CLIP_VALUE}; it must be above 0")
    return clip.CLIP_VALUE


def _amp_dtype(cfg: CfgNode) -> torch.dtype | None:
    if not cfg.SOLVER.AMP.ENABLED:
        return None
    name = cfg.SOLVER.AMP.DTYPE
    on_cuda = torch.device(cfg.MODEL.DEVICE).type == "cuda"
    if name == "auto":
        return torch.float16 if on_cuda and not torch.cuda.is_bf16_supported() else torch.bfloat16
    dtypes = {"bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in dtypes:
        raise ConfigurationError(f"SOLVER.AMP.DTYPE is {name!r}; choose 'auto', 'bfloat16' or 'float16'")
    if name == "float16" and not on_cuda:
        # It is possible, but slower than full precision, and some kernels are missing.
        raise ConfigurationError("SOLVER.AMP.DTYPE is 'float16', which is for CUDA; use 'bfloat16' on the CPU")
    return dtypes[name]
