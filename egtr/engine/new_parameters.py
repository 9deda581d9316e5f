"""Which parameters learn at the rate of new ones, beside those that the initial weights lack."""

from collections.abc import Iterable

from torch import nn

from egtr.structures import EGTRError


def is_backbone_alone(model: nn.Module, new_parameters: Iterable[str]) -> bool:
    """Whether the initial weights are for pre-training: all but the backbone is new, as where timm brings it."""
    new = set(new_parameters)
    return all((name in new) != name.startswith("backbone.") for name, _ in model.named_parameters())


def find_declared(model: nn.Module, prefixes: Iterable[str]) -> list[str]:
    """Names of the trained parameters that begin with one of ``prefixes``, in the model's order.

    Args:
        prefixes: SOLVER.NEW_PARAMETERS.

    Raises:
        EGTRError: no parameter begins with one of them.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    prefixes = tuple(prefixes)
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            raise EGTRError(
                f"SOLVER.NEW_PARAMETERS: no trained parameter begins with {prefix!r}, but one is {names[0]}"
            )
    return [name for name in names if name.startswith(prefixes)]
