"""Weights inside of what other tools save around them: dicts of a run, and prefixes of wrapped models."""

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import torch

logger = logging.getLogger(__name__)

# The first one that holds weights counts. EGTR and Detectron2; Lightning, timm and mmengine; averages; DataParallel;
# BasicSR. A dict of weights under another name is found if it is the only one.
_KEYS = (
    "model",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model_ema",
    "state_dict_ema",
    "ema_state_dict",
    "ema",
    "module",
    "net",
    "network",
    "weights",
    "params",
    "params_ema",
)
# Names under which a wrapper has the model, at the beginning of a name.
_WRAPPERS = {"module", "model", "_orig_mod", "net", "network", "ema", "ema_model", "model_ema"}
_COMPILED = "_orig_mod."
_PARALLEL = "module."


def find_weights(content: Any) -> tuple[dict[str, torch.Tensor], tuple[str, ...]] | None:
    """Find the weights in what a file holds.

    Args:
        content: tensors by name, or a dict that has them under one of the usual keys, perhaps a few levels deep,
            or under a single other key.

    Returns:
        weights: name to tensor; values beside them that are no tensors are left out.
        path: the keys that lead to them.
        None if there are none.
    """
    if not isinstance(content, Mapping):
        return None
    for key in _KEYS:
        found = find_weights(content.get(key))
        if found is not None:
            return found[0], (key, *found[1])
    weights = _tensors(content)
    others = {key: _tensors(value) for key, value in content.items() if isinstance(value, Mapping)}
    others = {key: found for key, found in others.items() if isinstance(key, str) and found}
    if not weights and len(others) == 1:
        ((key, weights),) = others.items()
        return weights, (key,)
    return (weights, ()) if weights or not content else None


def _tensors(content: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
    return {
        name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, torch.Tensor)
    }


def clean_names(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Remove what torch.compile and DataParallel add to names; no part of a model is called like that by itself."""
    weights = {name.replace(_COMPILED, ""): value for name, value in weights.items()}
    while weights and all(name.startswith(_PARALLEL) for name in weights):
        weights = {name.removeprefix(_PARALLEL): value for name, value in weights.items()}
    return weights


def strip_wrapper(weights: Mapping[str, torch.Tensor], expected: Collection[str]) -> dict[str, torch.Tensor]:
    """Remove the prefix of a wrapper, such as ``model.`` of a LightningModule, if more names fit the model without.

    Args:
        weights: name to tensor.
        expected: the names of the model.
    """
    counts = Counter({"": sum(name in expected for name in weights)})
    for name in weights:
        prefix, rest = "", name
        while rest.partition(".")[0] in _WRAPPERS:
            first, _, rest = rest.partition(".")
            prefix += f"{first}."
            counts[prefix] += rest in expected
    # Of equal counts the first, which is the shortest.
    prefix = max(counts, key=counts.get)
    if not prefix:
        return dict(weights)
    logger.info("Names of weights begin with %r, which is left away", prefix)
    # Other parts of the wrapper stay, and are reported as names that the model does not have.
    return {name.removeprefix(prefix): value for name, value in weights.items()}
