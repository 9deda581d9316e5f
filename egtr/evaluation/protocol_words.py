"""Protocols out of words and YAML: a named one with some conventions changed."""

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml

from egtr.structures import ConfigurationError

from .conventions import PROTOCOLS, Protocol, named_protocol

_KINDS = {field.name: field.type for field in fields(Protocol) if field.name != "name"}


def parse_protocol(text: str) -> Protocol:
    """Make a protocol of a name and changes, such as ``motifs,iou_plus_one=no``. The text is the name of the result.

    Raises:
        ConfigurationError: an unknown protocol or convention, or a value that does not fit.
    """
    base, *changes = (word.strip() for word in text.split(","))
    protocol = named_protocol(base)
    values = {}
    for change in changes:
        field, equals, value = change.partition("=")
        if not equals:
            raise ConfigurationError(f"scoring protocol {text!r}: {change!r} is not like convention=value")
        values[field.strip()] = _parse(value.strip())
    return _change(protocol, values, text, f"scoring protocol {text!r}") if changes else protocol


def read_protocols(path: str | Path) -> list[Protocol]:
    """Read a YAML file of protocols: names to conventions, which begin with those of ``base`` (default: iou0)::

        mine:
          base: motifs
          iou_plus_one: no

    Raises:
        ConfigurationError: the file cannot be read, or a protocol in it is not sound.
    """
    try:
        record = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigurationError(f"{path}: cannot be read as YAML ({reason}); name a file of protocols") from error
    if not isinstance(record, Mapping) or not all(isinstance(found, Mapping | None) for found in record.values()):
        raise ConfigurationError(f"{path}: holds no protocols; write a name, and below it its conventions")
    protocols = []
    for name, found in record.items():
        values = dict(found or {})
        base, where = values.pop("base", "iou0"), f"{path}: protocol {name!r}"
        if str(name) in PROTOCOLS:
            raise ConfigurationError(f"{where}: this name has a meaning already; give yours another one")
        try:
            protocols.append(_change(named_protocol(base), values, str(name), where))
        except ConfigurationError as error:
            text = str(error)
            raise ConfigurationError(text if text.startswith(str(path)) else f"{where}: {text}") from error
    return protocols


def _change(protocol: Protocol, values: Mapping[str, Any], name: str, where: str) -> Protocol:
    for field, value in values.items():
        if field not in _KINDS:
            raise ConfigurationError(f"{where}: there is no convention {field!r}, only {', '.join(_KINDS)}")
        kind = _KINDS[field]
        sound = {bool: isinstance(value, bool), str: isinstance(value, str)}.get(
            kind, isinstance(value, int | float | None) and not isinstance(value, bool)
        )
        if not sound:
            wanted = {bool: "yes or no", str: "a word"}.get(kind, "a number")
            raise ConfigurationError(f"{where}: {field} is {value!r}, expected {wanted}")
    return replace(protocol, name=name, **values)


def _parse(value: str) -> bool | int | float | str | None:
    words = {"yes": True, "true": True, "no": False, "false": False, "all": "all", "none": "none", "null": None}
    if value.lower() in words:
        return words[value.lower()]
    if re.fullmatch(r"-?\d+", value):
        return int(value)
    try:
        return float(value)
    except ValueError:
        return value
