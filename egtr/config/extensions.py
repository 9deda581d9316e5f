"""Imports a user's own code before a model is built, so that a configuration can name what the code registers."""

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from egtr.structures import ConfigurationError


def import_extensions(names: Iterable[str]) -> None:
    """Import Python files or modules, which register heads, pair functions or datasets.

    A configuration cannot ask for this: only the person who types the command decides which code runs.

    Args:
        names: paths that end in ``.py``, or dotted module names. Modules that are already imported stay as they are.

    Raises:
        ConfigurationError: there is no such file or module.
    """
    for name in names:
        if name.endswith(".py"):
            _import_file(Path(name))
            continue
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            # The missing module may also be one that this module imports.
            if name != error.name and not name.startswith(f"{error.name}."):
                raise
            message = f"--extension {name}: there is no such module. Write a file with its suffix .py"
            raise ConfigurationError(message) from error


def _import_file(path: Path) -> None:
    if not path.is_file():
        raise ConfigurationError(f"--extension {path}: there is no such file")
    # The whole path names the module: files with the same name in different folders must not hide each other.
    module_name = "egtr_extension_" + "_".join(path.resolve().with_suffix("").parts[1:])
    if module_name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(module_name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
