"""Parameters that learn at the rate for new parameters."""

from collections.abc import Iterable

from torch import nn

from egtr.structures import ConfigurationError


def is_only_backbone(model: nn.Module, new_parameters: Iterable[str]) -> bool:
    """Return whether the initial weights hold only a backbone, as for pre-training: everything else is new."""
    new = set(new_parameters)
    return all((name in new) != name.startswith("backbone.") for name, _ in model.named_parameters())


def find_declared(model: nn.Module, prefixes: Iterable[str]) -> list[str]:
    """Find the trained parameters whose names begin with one of ``prefixes``, in the model's order.

    Args:
        prefixes: SOLVER.NEW_PARAMETERS.

    Raises:
        ConfigurationError: no parameter begins with one of them.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    prefixes = tuple(prefixes)
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            raise ConfigurationError(
                f"SOLVER.NEW_PARAMETERS: no trained parameter begins with {prefix!r}, but one is {names[0]}"
            )
    return [name for name in names if name.startswith(prefixes)]
