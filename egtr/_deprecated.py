"""Old places of public names: they answer for one release, with a warning that names the new place."""

import pkgutil
import warnings
from collections.abc import Callable, Mapping
from typing import Any

REMOVED_IN = "0.3.0"


def moved(
    module: str, names: Mapping[str, str], otherwise: Callable[[str], Any] | None = None
) -> Callable[[str], Any]:
    """Make a ``__getattr__`` for ``module`` that still answers to the old names.

    Args:
        module: full name of the module that used to have the names.
        names: each old name, with the full name of its new place, ``"package.module.name"``.
        otherwise: called with every other name; None: there is no other name.

    Returns:
        A function from a name to its object. It emits a ``DeprecationWarning`` for an old name and raises
        ``AttributeError`` for an unknown one.
    """

    def __getattr__(name: str) -> Any:
        if name not in names:
            if otherwise is not None:
                return otherwise(name)
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        message = f"{module}.{name} is now {names[name]}; the old name goes in version {REMOVED_IN}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return pkgutil.resolve_name(names[name])

    return __getattr__
