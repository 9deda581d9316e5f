"""Parameters that learn at the rate for new parameters."""

import logging
import re
from collections.abc import Iterable, Mapping

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from egtr.structures import ConfigurationError

from .label_names import LABELS, names_of_dataset, names_of_weights, plain

logger = logging.getLogger(__name__)

# The entry of SOLVER.NEW_PARAMETERS that compares names.
AUTO = "auto"


def is_only_backbone(model: nn.Module, new_parameters: Iterable[str]) -> bool:
    """Return whether the initial weights hold only a backbone, as for pre-training: everything else is new."""
    new = set(new_parameters)
    return all((name in new) != name.startswith("backbone.") for name, _ in model.named_parameters())


def find_declared(model: nn.Module, prefixes: Iterable[str]) -> list[str]:
    """Find the trained parameters whose names begin with one of ``prefixes``, in the model's order.

    Args:
        prefixes: SOLVER.NEW_PARAMETERS; ``auto`` is no prefix.

    Raises:
        ConfigurationError: no parameter begins with one of them.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    prefixes = tuple(prefix for prefix in prefixes if prefix != AUTO)
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            raise ConfigurationError(
                f"SOLVER.NEW_PARAMETERS: no trained parameter begins with {prefix!r}, but one is {names[0]}"
            )
    return [name for name in names if name.startswith(prefixes)]


def copy_heads(cfg: CfgNode, model: nn.Module) -> dict[str, dict[str, Tensor]]:
    """Copy the parameters that have one row for each label.

    Returns:
        "class" and "predicate" to parameter name to values, in the model's order. The first dimension is that of the
        labels; an embedding of classes has one row more, for "unknown".
    """
    num_classes, num_predicates = cfg.MODEL.EGTR.NUM_CLASSES, cfg.MODEL.EGTR.NUM_PREDICATES
    heads: dict[str, dict[str, Tensor]] = {"class": {}, "predicate": {}}
    for name, parameter in model.named_parameters():
        of_classes = re.match(r"transformer\..*(class|label)", name)
        if of_classes and parameter.shape[:1] in ((num_classes,), (num_classes + 1,)):
            heads["class"][name] = parameter.detach().clone()
    for name, module in model.named_modules():
        own = {f"{name}.{key}": parameter for key, parameter in module.named_parameters(recurse=False)}
        if name.startswith("relation.relation_head") and any(p.shape[:1] == (num_predicates,) for p in own.values()):
            # Layers before the last one may be as wide as there are predicates.
            heads["predicate"] = {key: parameter.detach().clone() for key, parameter in own.items()}
    return heads


def restart_heads(
    cfg: CfgNode, model: nn.Module, initial: Mapping[str, Mapping[str, Tensor]], new_parameters: Iterable[str]
) -> list[str]:
    """Let the heads start from scratch if MODEL.WEIGHTS are of classes or predicates of other names.

    Upper and lower case, spaces, ``_`` and ``-`` make no other name. The same names in another order move the rows of
    the heads to their places.

    Args:
        cfg: the configuration of the run.
        model: the model, with MODEL.WEIGHTS loaded (changed in place).
        initial: what :func:`copy_heads` returned before they were loaded.
        new_parameters: parameters that are new anyway.

    Returns:
        Names of the parameters that have their initial values again. None if names are not known, or if
        SOLVER.NEW_PARAMETERS lacks ``auto``.
    """
    if AUTO not in cfg.SOLVER.NEW_PARAMETERS:
        return []
    already = set(new_parameters)
    parameters = dict(model.named_parameters())
    restarted: list[str] = []
    for kind, field, key, number, metadata in LABELS:
        heads = {name: values for name, values in initial[kind].items() if name not in already}
        if not heads:
            continue
        count = cfg.MODEL.EGTR[number]
        before = names_of_weights(cfg.MODEL.WEIGHTS, field, key, metadata)
        now = names_of_dataset(cfg, metadata) or cfg.MODEL.EGTR[key]
        if not before or not now or len(before) != count or len(now) != count:
            logger.info(
                "The %s names of MODEL.WEIGHTS or of the training set are not known: only shapes decide whether "
                "these heads are new, and they are kept. SOLVER.NEW_PARAMETERS can name heads that are new",
                kind,
            )
            continue
        old, new = [plain(name) for name in before], [plain(name) for name in now]
        if old == new:
            continue
        if sorted(old) == sorted(new):
            places = torch.tensor([old.index(name) for name in new])
            with torch.no_grad():
                for name in heads:
                    rows = parameters[name]
                    rows[:count] = rows[places.to(rows.device)]
            logger.info("The %s names are those of MODEL.WEIGHTS in another order: rows of heads are moved", kind)
            continue
        with torch.no_grad():
            for name, values in heads.items():
                parameters[name].copy_(values)
        place = next(i for i in range(count) if old[i] != new[i])
        logger.info(
            "MODEL.WEIGHTS has other %s names, such as %r where the training set has %r: these heads start from "
            "scratch, at the learning rate %.3g (SOLVER.NEW_PARAMETERS [] keeps them): %s",
            kind, before[place], now[place], cfg.SOLVER.BASE_LR * cfg.SOLVER.NEW_MULTIPLIER, ", ".join(heads),
        )  # fmt: skip
        restarted += heads
    return restarted
