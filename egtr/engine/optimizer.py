"""AdamW with the paper's learning rates (EGTR, supplement: implementation details)."""

import logging
import math
from collections.abc import Iterable
from fnmatch import fnmatchcase

import torch
from detectron2 import solver
from detectron2.config import CfgNode
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from egtr.structures import ConfigurationError

logger = logging.getLogger(__name__)

# Parts of a parameter's name that give it the backbone's rate, as in Deformable DETR.
SLOW_PARAMETERS = ("reference_points", "sampling_offsets")


def parameter_group(name: str, new_parameters: frozenset[str] | set[str] = frozenset()) -> str:
    """Return the group of the parameter ``name``, which decides its rate: ``"new"``, ``"backbone"`` or ``"base"``.

    "new" takes precedence: a sampling offset with random initial values has to change as much as any new parameter.
    """
    if name in new_parameters:
        return "new"
    if name.startswith("backbone.") or any(part in name for part in SLOW_PARAMETERS):
        return "backbone"
    return "base"


def freeze_parameters(cfg: CfgNode, model: nn.Module) -> list[str]:
    """Switch off (in place) the gradients of parameters whose multiple in SOLVER.LR_MULTIPLIERS is 0.

    Returns:
        Names of the parameters that were frozen.

    Raises:
        ConfigurationError: SOLVER.LR_MULTIPLIERS does not consist of [pattern, multiple], or a pattern fits no
            parameter.
    """
    multipliers = _read_multipliers(cfg)
    parameters = dict(model.named_parameters())
    for pattern, _ in multipliers:
        if not any(fnmatchcase(name, pattern) for name in parameters):
            raise ConfigurationError(
                f"SOLVER.LR_MULTIPLIERS: no parameter fits the pattern {pattern!r}; one is called "
                f"{next(iter(parameters))!r}, and * stands for any text"
            )
    frozen = []
    for name, parameter in parameters.items():
        row = _find_row(name, multipliers)
        if row is not None and row[1] == 0 and parameter.requires_grad:
            parameter.requires_grad_(False)
            frozen.append(name)
    if frozen:
        logger.info("SOLVER.LR_MULTIPLIERS freezes %d parameters, %s the first", len(frozen), frozen[0])
    return frozen


def build_optimizer(cfg: CfgNode, model: nn.Module, new_parameters: Iterable[str] = ()) -> torch.optim.AdamW:
    """Build AdamW over the trainable parameters of ``model`` in these groups.

    =============  =====================================  =================================================
    group          rate                                   parameters
    =============  =====================================  =================================================
    ``<pattern>``  BASE_LR * its multiple                 a row of SOLVER.LR_MULTIPLIERS each
    ``new``        BASE_LR * SOLVER.NEW_MULTIPLIER        names in ``new_parameters``
    ``backbone``   BASE_LR * SOLVER.BACKBONE_MULTIPLIER   backbone, reference points, sampling offsets
    ``base``       BASE_LR                                the others
    =============  =====================================  =================================================

    All groups share SOLVER.WEIGHT_DECAY. Gradients are clipped by the training loop, not here.

    Args:
        new_parameters: names (as in ``model.named_parameters()``) that the initial checkpoint lacks, see
            :func:`egtr.checkpoint.find_new_parameters`; empty when training from scratch.

    Raises:
        ConfigurationError: SOLVER.OPTIMIZER is not "AdamW", SOLVER.LR_MULTIPLIERS is not usable, or nothing is left
            to train.
    """
    if cfg.SOLVER.OPTIMIZER != "AdamW":
        raise ConfigurationError(f"SOLVER.OPTIMIZER is {cfg.SOLVER.OPTIMIZER!r}; EGTR is trained with 'AdamW'")
    base_lr = cfg.SOLVER.BASE_LR
    rates = {
        "base": base_lr,
        "backbone": base_lr * cfg.SOLVER.BACKBONE_MULTIPLIER,
        "new": base_lr * cfg.SOLVER.NEW_MULTIPLIER,
    }
    multipliers = _read_multipliers(cfg)
    rates |= {pattern: base_lr * multiple for pattern, multiple in multipliers}
    new_parameters = frozenset(new_parameters)
    members: dict[str, list[nn.Parameter]] = {group: [] for group in rates}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            row = _find_row(name, multipliers)
            members[row[0] if row else parameter_group(name, new_parameters)].append(parameter)
    groups = [
        {"params": parameters, "lr": rates[group], "name": group}
        for group, parameters in members.items()
        if parameters
    ]
    if not groups:
        raise ConfigurationError(
            "The model has no trainable parameter. MODEL.EGTR.FREEZE_DETECTOR together with "
            "MODEL.EGTR.RELATION.ENABLED False freezes everything, as may multiples of 0 in SOLVER.LR_MULTIPLIERS: "
            "change one of them"
        )
    for group in groups:
        count = sum(p.numel() for p in group["params"])
        logger.info("Learning rate %.3g for %s parameters: %s", group["lr"], group["name"], f"{count:,}")
    # One kernel for all parameters: a plain loop over about 300 tensors takes several times as long on the CPU.
    return torch.optim.AdamW(groups, lr=base_lr, weight_decay=cfg.SOLVER.WEIGHT_DECAY, fused=True)


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """Build Detectron2's schedule of SOLVER.LR_SCHEDULER_NAME, warm-up included.

    Raises:
        ConfigurationError: there is no such schedule, or it does not fit SOLVER.STEPS, MAX_ITER or BASE_LR_END.
    """
    try:
        return solver.build_lr_scheduler(cfg, optimizer)
    except (ValueError, AssertionError) as error:
        keys = {key: cfg.SOLVER[key] for key in ("LR_SCHEDULER_NAME", "STEPS", "MAX_ITER", "BASE_LR", "BASE_LR_END")}
        raise ConfigurationError(
            f"SOLVER: {', '.join(f'{key} {value!r}' for key, value in keys.items())}: {error}. Take "
            "'WarmupMultiStepLR' with STEPS below MAX_ITER, or 'WarmupCosineLR' with BASE_LR_END from 0 to BASE_LR"
        ) from error


def _read_multipliers(cfg: CfgNode) -> list[tuple[str, float]]:
    rows = cfg.SOLVER.LR_MULTIPLIERS
    for row in rows:
        sound = isinstance(row, (list, tuple)) and len(row) == 2 and isinstance(row[0], str)
        number = sound and isinstance(row[1], (int, float)) and not isinstance(row[1], bool)
        if not number or not 0 <= row[1] < math.inf:
            raise ConfigurationError(
                f"SOLVER.LR_MULTIPLIERS: {row!r} is not [pattern, multiple], such as ['backbone.*', 0.1], with a "
                "multiple of 0 or more"
            )
    return [(pattern, multiple) for pattern, multiple in rows]


def _find_row(name: str, multipliers: list[tuple[str, float]]) -> tuple[str, float] | None:
    return next((row for row in multipliers if fnmatchcase(name, row[0])), None)
