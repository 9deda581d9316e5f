"""Checks of a run that is resumed: its checkpoint must fit, and settings without effect are named."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from egtr.structures import WeightsError

logger = logging.getLogger(__name__)


def list_trained(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """List the names of the parameters that ``optimizer`` has, in its order."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def check_resumable(
    output_dir: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    incompatible: Any,
    state_dict: Mapping[str, Any],
    *,
    averages: bool,
) -> None:
    """Refuse a checkpoint whose weights, moments or averaged weights are not those of the run's parameters.

    Such a run would go on with random weights. Fused AdamW would read memory beyond moments that are too small.

    Args:
        output_dir: the folder of the run, for the message.
        model: without the wrapper of distributed training; the weights of the checkpoint have been loaded into it.
        optimizer: with the groups that the checkpoint should have.
        incompatible: :attr:`EGTRCheckpointer.incompatible` after loading.
        state_dict: of the trainer, from the checkpoint.
        averages: whether the run averages weights.

    Raises:
        WeightsError: a name or a shape differs; the message has the first ones.
    """
    problems = [_other_shape(*row) for row in incompatible.incorrect_shapes]
    misshapen = {name for name, *_ in incompatible.incorrect_shapes}
    problems += [f"{name} is missing in it" for name in incompatible.missing_keys if name not in misshapen]
    problems += [f"the model has no {name}, which is in it" for name in incompatible.unexpected_keys]
    problems = problems or _compare_moments(model, optimizer, state_dict)
    averaged = state_dict.get("hooks", {}).get("EMAHook")
    if not problems and averages and averaged is not None:
        problems = _compare(averaged["model"], model.state_dict(), "averaged weight ")
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise WeightsError(
            f"--resume: the last checkpoint in {output_dir} does not fit the model: {'; '.join(problems[:3])}{more}. "
            "Go on with the configuration that the run began with, or start a new run in another OUTPUT_DIR with "
            "MODEL.WEIGHTS set to that checkpoint"
        )


def log_without_effect(
    optimizer: torch.optim.Optimizer, saved_groups: Iterable[Mapping[str, Any]], declared: Iterable[str]
) -> None:
    """Log the settings of SOLVER that a resumed run does not take up, because its checkpoint has them.

    Args:
        optimizer: as the configuration asks for it, with a schedule, and with the groups of the checkpoint.
        saved_groups: the groups in the checkpoint.
        declared: parameters that SOLVER.NEW_PARAMETERS asks for, and that were not new when the run began.
    """
    changes = []
    for group, saved in zip(optimizer.param_groups, saved_groups, strict=True):
        for key, what in (("initial_lr", "learning rate"), ("weight_decay", "weight decay")):
            if key in saved and saved[key] != group[key]:
                changes.append(f"{what} of {group['name']} parameters: {saved[key]:.3g}, not {group[key]:.3g}")
    if changes:
        logger.warning(
            "--resume goes on with the rates that the run began with (%s). SOLVER.BASE_LR, BACKBONE_MULTIPLIER, "
            "NEW_MULTIPLIER, LR_MULTIPLIERS and WEIGHT_DECAY have no effect. For others start a new run in another "
            "OUTPUT_DIR with MODEL.WEIGHTS set to the checkpoint",
            "; ".join(changes),
        )
    declared = list(declared)
    if declared:
        logger.warning(
            "--resume: SOLVER.NEW_PARAMETERS has no effect: %s was not new when the run began", declared[0]
        )


def _compare_moments(model: nn.Module, optimizer: torch.optim.Optimizer, state_dict: Mapping[str, Any]) -> list[str]:
    saved = state_dict["_trainer"]["optimizer"]
    groups = [_describe(saved["param_groups"]), _describe(optimizer.param_groups)]
    if groups[0] != groups[1]:
        return [f"its optimizer has the groups {groups[0]}, the run's has {groups[1]}"]
    names = list_trained(model, optimizer)
    # Checkpoints of older versions have no names.
    for theirs, ours in zip(state_dict.get("trained_parameters", names), names, strict=True):
        if theirs != ours:
            return [f"it has moments of {theirs} where the run trains {ours}"]
    parameters = dict(model.named_parameters())
    indices = [index for group in saved["param_groups"] for index in group["params"]]
    problems = []
    for name, index in zip(names, indices, strict=True):
        # The number of steps is one number for each parameter.
        moments = {key: value for key, value in saved["state"].get(index, {}).items() if key != "step"}
        problems += _compare(moments, dict.fromkeys(moments, parameters[name]), f"moments of {name}: ")
    return problems


def _describe(groups: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(f"{group.get('name', '?')} ({len(group['params'])})" for group in groups)


def _compare(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], what: str) -> list[str]:
    problems = [f"{what}{name} is missing in it" for name in expected if name not in found]
    problems += [f"the model has no {name}, which is in it ({what}...)" for name in found if name not in expected]
    return problems + [
        _other_shape(what + name, tuple(value.shape), tuple(expected[name].shape))
        for name, value in found.items()
        if name in expected and value.shape != expected[name].shape
    ]


def _other_shape(name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    return f"{name} has the shape {found} in it and {expected} in the model"
