"""Where the configurations and weights that come with EGTR lie, in a clone and in an installed package alike.

In a clone they are the folders ``configs/``, ``projects/EGTR/configs/`` and ``projects/EGTR/weights/``. The
wheel carries the same folders inside the package, under ``egtr/_resources/``, so that relative ``_BASE_``
entries of the YAML files lead to the same neighbours.

Importing this module registers a handler for ``egtr://`` paths with Detectron2's ``PathManager``:
``egtr://weights/<file>`` and ``egtr://configs/<name>`` then work wherever Detectron2 takes a path, for one
``MODEL.WEIGHTS: egtr://weights/<file>``.
"""

import os
from pathlib import Path
from typing import Any

from . import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing
from detectron2.utils.file_io import PathHandler, PathManager

from .structures.errors import EGTRError

__all__ = [
    "DEFAULT_MODEL",
    "MODELS",
    "EGTRPathHandler",
    "get_config_file",
    "get_weights_file",
    "list_configs",
    "list_models",
    "list_weights",
]

# Later folders are looked at where the earlier ones do not have the name.
FOLDERS = {"configs": ("configs", "projects/EGTR/configs"), "weights": ("projects/EGTR/weights",)}
# Models whose weights come with EGTR, by name: the configuration that predicts with them.
MODELS = {"scenes": "scenes/egtr.yaml"}
DEFAULT_MODEL = "scenes"
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pkl")


def resource_root() -> Path:
    """The folder that holds ``configs/`` and ``projects/``: in the installed package, or the clone's root."""
    package = Path(__file__).resolve().parent
    installed = package / "_resources"
    return installed if installed.is_dir() else package.parent


def list_models() -> list[str]:
    """Names of the trained models that come with EGTR, for :func:`egtr.predict`, sorted."""
    return sorted(MODELS)


def list_configs() -> list[str]:
    """Names that :func:`get_config_file` takes, sorted."""
    return _list("configs", (".yaml",))


def list_weights() -> list[str]:
    """Names that :func:`get_weights_file` takes, sorted."""
    return _list("weights", WEIGHT_SUFFIXES)


def get_config_file(name: str) -> str:
    """Path of a configuration that comes with EGTR.

    Args:
        name: relative to ``configs/`` or ``projects/EGTR/configs/``, for example ``"scenes/egtr.yaml"``.

    Returns:
        The absolute path of an existing file, fit for ``cfg.merge_from_file``.

    Raises:
        EGTRError: there is no such configuration; the message lists those that there are.
    """
    return _find("configs", name, list_configs())


def get_weights_file(name: str) -> str:
    """Path of a weights file that comes with EGTR: what ``egtr://weights/<name>`` stands for.

    Raises:
        EGTRError: there is no such file; the message lists those that there are.
    """
    return _find("weights", name, list_weights())


class EGTRPathHandler(PathHandler):
    """Reads ``egtr://configs/<name>`` and ``egtr://weights/<file>``. There is nothing to write there.

    ``..`` in a name is understood as long as it stays among EGTR's own files, because ``_BASE_`` of a YAML
    file is joined to the name of the file that states it.
    """

    PREFIX = "egtr://"

    def _get_supported_prefixes(self) -> list[str]:
        return [self.PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        self._check_kwargs(kwargs)
        kind, _, name = path[len(self.PREFIX) :].partition("/")
        if kind == "configs":
            return get_config_file(name)
        if kind == "weights":
            return get_weights_file(name)
        raise EGTRError(f"{path}: what follows egtr:// must be configs/<name> or weights/<file>, not {kind!r}.")

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any):
        if set(mode) & set("wax+"):
            raise EGTRError(f"{path}: mode {mode!r}, but egtr:// paths are read-only. Write to an ordinary path.")
        return open(self._get_local_path(path), mode, buffering, **kwargs)

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        self._check_kwargs(kwargs)
        try:
            self._get_local_path(path)
        except EGTRError:
            return False
        return True

    def _exists(self, path: str, **kwargs: Any) -> bool:
        return self._isfile(path, **kwargs)

    def _isdir(self, path: str, **kwargs: Any) -> bool:
        self._check_kwargs(kwargs)
        return path[len(self.PREFIX) :].rstrip("/") in FOLDERS

    def _ls(self, path: str, **kwargs: Any) -> list[str]:
        self._check_kwargs(kwargs)
        lists = {"configs": list_configs, "weights": list_weights}
        kind = path[len(self.PREFIX) :].rstrip("/")
        if kind not in lists:
            raise EGTRError(f"{path}: only egtr://configs and egtr://weights can be listed.")
        return lists[kind]()


def _list(kind: str, suffixes: tuple[str, ...]) -> list[str]:
    names = set()
    for folder in FOLDERS[kind]:
        start = resource_root() / folder
        names.update(p.relative_to(start).as_posix() for p in start.rglob("*") if p.suffix in suffixes)
    return sorted(names)


def _find(kind: str, name: str, available: list[str]) -> str:
    root = resource_root()
    for folder in FOLDERS[kind]:
        # normpath, not resolve: the weights of a clone may be links to another disk.
        path = Path(os.path.normpath(root / folder / name))
        if path.is_relative_to(root) and path.is_file():
            return str(path)
    raise EGTRError(
        f"{name}: EGTR comes with no such file under {' or '.join(FOLDERS[kind])}. "
        f"Take one of: {', '.join(available) or '(none: the folder is empty)'}. "
        "Your own files are named by their path."
    )


# Overriding makes importlib.reload harmless; the prefix is EGTR's own.
PathManager.register_handler(EGTRPathHandler(), allow_override=True)
