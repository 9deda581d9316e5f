"""The configurations and weights that ship with EGTR, in a clone and in an installed package.

In a clone they are in the folders ``configs/``, ``projects/EGTR/configs/`` and ``projects/EGTR/weights/``. The wheel
has the same folders inside the package, under ``egtr/_resources/``, so that relative ``_BASE_`` entries of the YAML
files lead to the same files.
"""

import os
from pathlib import Path

from egtr.config.arguments import DEFAULT_MODEL
from egtr.structures.errors import ConfigurationError, WeightsError

__all__ = [
    "DEFAULT_MODEL",
    "EXPORTED",
    "MODELS",
    "get_config_file",
    "get_exported_file",
    "get_weights_file",
    "list_configs",
    "list_models",
    "list_weights",
]

# Searched in this order.
FOLDERS = {"configs": ("configs", "projects/EGTR/configs"), "weights": ("projects/EGTR/weights",)}
# Models whose weights come with EGTR, by name: the configuration that predicts with them.
MODELS = {"scenes": "scenes/rtdetr.yaml", "scenes_deformable": "scenes/egtr.yaml"}
# Of these, files that egtr.lite runs without torch; projects/EGTR/weights/README.md says how they are made.
EXPORTED = {"scenes": "scenes.onnx"}
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pkl")


def resource_root() -> Path:
    """Find the folder of ``configs/`` and ``projects/``: in the installed package, or the root of the clone."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_resources"
    return installed if installed.is_dir() else package.parent


def list_models() -> list[str]:
    """List the names of the trained models that come with EGTR, for :func:`egtr.predict`, sorted."""
    return sorted(MODELS)


def list_configs() -> list[str]:
    """List the names that :func:`get_config_file` takes, sorted."""
    return _list("configs", (".yaml",))


def list_weights() -> list[str]:
    """List the names that :func:`get_weights_file` takes, sorted."""
    return _list("weights", WEIGHT_SUFFIXES)


def get_config_file(name: str) -> str:
    """Find a configuration that comes with EGTR.

    Args:
        name: relative to ``configs/`` or ``projects/EGTR/configs/``, for example ``"scenes/egtr.yaml"``.

    Returns:
        The absolute path of an existing file, fit for ``cfg.merge_from_file``.

    Raises:
        ConfigurationError: there is no such configuration; the message lists the existing ones.
    """
    return _find("configs", name, list_configs())


def get_weights_file(name: str) -> str:
    """Find a weights file that comes with EGTR: what ``egtr://weights/<name>`` stands for.

    Raises:
        WeightsError: there is no such file; the message lists the existing ones.
    """
    return _find("weights", name, list_weights())


def get_exported_file(name: str) -> str:
    """Find the file of a model that comes with EGTR, for :class:`egtr.lite.LitePredictor`.

    Args:
        name: a key of EXPORTED.

    Raises:
        WeightsError: there is no such file; the message lists the models that have one.
    """
    return _find("weights", EXPORTED.get(name, name), sorted(EXPORTED))


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
    raise (WeightsError if kind == "weights" else ConfigurationError)(
        f"{name}: EGTR comes with no such file under {' or '.join(FOLDERS[kind])}. "
        f"Take one of: {', '.join(available) or '(none: the folder is empty)'}. "
        "Name your own files by their path."
    )
