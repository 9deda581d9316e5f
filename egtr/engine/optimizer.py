"""AdamW with the paper's learning rates (EGTR, supplement: implementation details)."""

import logging
from collections.abc import Iterable

import torch
from detectron2.config import CfgNode
from torch import nn

from egtr.structures import EGTRError

logger = logging.getLogger(__name__)

# Parts of a parameter's name that give it the backbone's rate, as in Deformable DETR.
SLOW_PARAMETERS = ("reference_points", "sampling_offsets")


def parameter_group(name: str, new_parameters: frozenset[str] | set[str] = frozenset()) -> str:
    """Which rate the parameter ``name`` learns at: ``"new"``, ``"backbone"`` or ``"base"``.

    "new" wins: a sampling offset that starts at random has to travel as far as any other new parameter.
    """
    if name in new_parameters:
        return "new"
    if name.startswith("backbone.") or any(part in name for part in SLOW_PARAMETERS):
        return "backbone"
    return "base"


def build_optimizer(cfg: CfgNode, model: nn.Module, new_parameters: Iterable[str] = ()) -> torch.optim.AdamW:
    """AdamW over the trainable parameters of ``model`` in up to three groups.

    =============  =====================================  =================================================
    group          rate                                   parameters
    =============  =====================================  =================================================
    ``new``        BASE_LR * SOLVER.NEW_MULTIPLIER        those in ``new_parameters``
    ``backbone``   BASE_LR * SOLVER.BACKBONE_MULTIPLIER   backbone, reference points, sampling offsets
    ``base``       BASE_LR                                the others
    =============  =====================================  =================================================

    All groups share SOLVER.WEIGHT_DECAY. Gradients are clipped by the training loop, not here.

    Args:
        new_parameters: names (as in ``model.named_parameters()``) that the initial checkpoint lacks, see
            :func:`egtr.engine.find_new_parameters`; empty when training from scratch.

    Raises:
        EGTRError: SOLVER.OPTIMIZER is not "AdamW", or nothing is left to train.
    """
    if cfg.SOLVER.OPTIMIZER != "AdamW":
        raise EGTRError(f"SOLVER.OPTIMIZER is {cfg.SOLVER.OPTIMIZER!r}; EGTR is trained with 'AdamW'")
    base_lr = cfg.SOLVER.BASE_LR
    rates = {
        "base": base_lr,
        "backbone": base_lr * cfg.SOLVER.BACKBONE_MULTIPLIER,
        "new": base_lr * cfg.SOLVER.NEW_MULTIPLIER,
    }
    new_parameters = frozenset(new_parameters)
    members: dict[str, list[nn.Parameter]] = {group: [] for group in rates}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            members[parameter_group(name, new_parameters)].append(parameter)
    groups = [
        {"params": parameters, "lr": rates[group], "name": group}
        for group, parameters in members.items()
        if parameters
    ]
    if not groups:
        raise EGTRError(
            "The model has no trainable parameter. MODEL.EGTR.FREEZE_DETECTOR together with "
            "MODEL.EGTR.RELATION.ENABLED False freezes everything: change one of them"
        )
    for group in groups:
        count = sum(p.numel() for p in group["params"])
        logger.info("Learning rate %.3g for %s parameters: %s", group["lr"], group["name"], f"{count:,}")
    options = {"lr": base_lr, "weight_decay": cfg.SOLVER.WEIGHT_DECAY}
    try:
        # One kernel for all parameters: the CPU's plain loop over some 300 tensors costs several times more.
        return torch.optim.AdamW(groups, fused=True, **options)
    except RuntimeError:
        return torch.optim.AdamW(groups, **options)
