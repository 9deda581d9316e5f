"""Old places of public names: they answer for one release, with a warning that names the new place."""

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

REMOVED_IN = "0.3.0"


def moved(
    module: str, names: Mapping[str, str], otherwise: Callable[[str], Any] | None = None
) -> Callable[[str], Any]:
    """Make a ``__getattr__`` for ``module`` that finds names which have moved.

    Args:
        module: full name of the module that used to have the names.
        names: old name to the full name of what it is now, ``"package.module.name"``.
        otherwise: asked for all other names; None: there are none.

    Returns:
        A function from a name to the object, which emits a ``DeprecationWarning`` and raises ``AttributeError`` for
        unknown names.
    """

    def __getattr__(name: str) -> Any:
        if name not in names:
            if otherwise is not None:
                return otherwise(name)
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        message = f"{module}.{name} is now {names[name]}; the old name goes in version {REMOVED_IN}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        parent, _, attribute = names[name].rpartition(".")
        try:
            return getattr(importlib.import_module(parent), attribute)
        except AttributeError:
            return importlib.import_module(names[name])

    return __getattr__
