"""Reading YAML files, which may come from anywhere: only plain values, and not too many of them."""

import os
from collections.abc import Mapping
from typing import Any

import yaml
from detectron2.utils.file_io import PathManager

from egtr.structures import ConfigurationError

from .paths import fetch

_BASE_KEY = "_BASE_"
# There are fewer than a thousand keys. A few lines of aliases (&a, *a) can stand for billions of values.
_MAX_VALUES = 100_000
_MAX_BYTES = 10_000_000


def read_config_file(
    path: str, missing: str = "there is no such configuration file (--config-file)"
) -> dict[str, Any]:
    """Read a YAML file and merge it over the files that its ``_BASE_`` names, as Detectron2 does.

    ``_BASE_`` is a path or a list of paths, relative to the file that names them; later files override earlier ones.
    If MODEL.WEIGHTS is the name of a safetensors file beside the YAML file, it becomes the path of this file, so that
    the folder of a shared model works wherever it lies. Tags that make objects (``!!python/...``) are refused;
    Detectron2's ``merge_from_file`` would run their code.

    Args:
        path: any path that Detectron2's ``PathManager`` knows.
        missing: the text of the error if there is no such file.

    Raises:
        ConfigurationError: a file is missing, is not a mapping in YAML, asks for objects, is too large, or is its own
            base.
    """
    return _read(path, missing, ())


def _read(path: str, missing: str, users: tuple[str, ...]) -> dict[str, Any]:
    where = f"{path} (the {_BASE_KEY} of {users[-1]})" if users else path
    if path in users:
        raise ConfigurationError(f"{where}: is its own base. Remove {_BASE_KEY} from one of the files")
    try:
        local = fetch(path, missing)
    except ValueError as error:  # Also for names with characters that no file can have.
        if not users:
            raise ConfigurationError(str(error)) from error
        raise ConfigurationError(f"{users[-1]}: its {_BASE_KEY} cannot be read: {error}") from error
    content = _parse(local, where)
    _find_weights_beside(content, local)
    bases = content.pop(_BASE_KEY, [])
    merged: dict[str, Any] = {}
    # The name of a model has no neighbours, but the file that it stands for has.
    place = local if str(path).startswith("egtr://models/") else path
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str) or not base:
            raise ConfigurationError(f"{where}: {_BASE_KEY} is {bases!r}. Name a file, or a list of files")
        inherited = _read(_resolve(base, place), "there is no such file", (*users, path))
        _merge(inherited, merged, "", where)
    _merge(content, merged, "", where)
    return merged


def _parse(local: str, where: str) -> dict[str, Any]:
    if os.path.getsize(local) > _MAX_BYTES:
        raise ConfigurationError(
            f"{where}: has {os.path.getsize(local):,} bytes, too many for a configuration. Is it the file?"
        )
    try:
        with PathManager.open(local, "rb") as file:
            content = yaml.safe_load(file)
    except yaml.constructor.ConstructorError as error:
        raise ConfigurationError(
            f"{where}: asks for a Python object, which is refused because making it can run code: "
            f"{' '.join(str(error).split())}. Write plain values: numbers, texts, [lists], {{mappings}}"
        ) from error
    # Numbers and dates that only look right (2024-99-99) are ValueErrors, deep nesting is a RecursionError.
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
        raise ConfigurationError(f"{where}: not a YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(content, Mapping):
        raise ConfigurationError(f"{where}: holds no keys. A configuration is a YAML mapping such as 'SOLVER: ...'")
    _check_extent(content, where)
    return dict(content)


def _find_weights_beside(content: dict[str, Any], local: str) -> None:
    """Replace the name of weights beside the file by their path (in place), as in the folder of a shared model."""
    model = content.get("MODEL")
    name = model.get("WEIGHTS") if isinstance(model, Mapping) else None
    if isinstance(name, str) and name == os.path.basename(name) and name.endswith(".safetensors"):
        path = os.path.join(os.path.dirname(os.path.abspath(local)), name)
        if os.path.isfile(path):
            content["MODEL"] = {**model, "WEIGHTS": path}


def _check_extent(content: Any, where: str) -> None:
    """Refuse more values than a configuration can have, counted with all repetitions by aliases."""
    waiting, number = [content], 0
    while waiting:
        value = waiting.pop()
        number += 1
        if number + len(waiting) > _MAX_VALUES:
            raise ConfigurationError(
                f"{where}: stands for more than {_MAX_VALUES:,} values. Leave out the aliases (&name, *name)"
            )
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple | set):
            waiting += value


def _resolve(base: str, path: str) -> str:
    base = os.path.expanduser(base)
    return base if os.path.isabs(base) or "://" in base else os.path.join(os.path.dirname(path), base)


def _merge(content: Mapping[str, Any], into: dict[str, Any], prefix: str, where: str) -> None:
    for key, value in content.items():
        if isinstance(value, Mapping) and key in into:
            if not isinstance(into[key], dict):
                raise ConfigurationError(f"{where}: {prefix}{key} is a section here and a value in its {_BASE_KEY}")
            _merge(value, into[key], f"{prefix}{key}.", where)
        else:
            # A copy, because two files may share a base.
            into[key] = _copied(value)


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(part) for key, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list) else value
