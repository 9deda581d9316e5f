"""Protocols by name, by a name with changes, or out of a file; see :mod:`~egtr.evaluation.conventions`."""

from collections.abc import Sequence

from egtr.structures import ConfigurationError

from .conventions import PROTOCOLS, REFERENCE, TASKS, Protocol
from .protocol_words import parse_protocol, read_protocols

__all__ = ["PROTOCOLS", "REFERENCE", "TASKS", "Protocol", "get_protocol", "get_protocols"]


def get_protocol(protocol: str | Protocol) -> Protocol:
    """Return a protocol by its name, or by a name and changes (``motifs,iou_plus_one=no``).

    A :class:`Protocol` is returned as it is.

    Raises:
        ConfigurationError: no protocol has that name, or a change is not sound.
    """
    return protocol if isinstance(protocol, Protocol) else parse_protocol(protocol)


def get_protocols(protocols: str | Protocol | Sequence[str | Protocol]) -> tuple[Protocol, ...]:
    """Return one or several protocols: by name, by name and changes, out of a YAML file, or as they are.

    Args:
        protocols: see :func:`get_protocol`; a text that ends in ``.yaml`` or ``.yml`` stands for all protocols of
            that file, see :func:`~egtr.evaluation.protocol_words.read_protocols`. A text that only changes a
            convention (``iou_plus_one=no``) belongs to the protocol before it: keys of the configuration are split at
            commas.

    Raises:
        ConfigurationError: none is given; a name is unknown; two have the same name; a file cannot be read.
    """
    asked: list[str | Protocol] = []
    for protocol in [protocols] if isinstance(protocols, str | Protocol) else protocols:
        # The path of a file may hold the sign, too.
        is_change = isinstance(protocol, str) and "=" in protocol.partition(",")[0] and not _is_file(protocol)
        if is_change and asked and isinstance(asked[-1], str):
            asked[-1] += f",{protocol}"
        else:
            asked.append(protocol)
    found: list[Protocol] = []
    for protocol in asked:
        if isinstance(protocol, str) and _is_file(protocol):
            found += read_protocols(protocol)
        else:
            found.append(get_protocol(protocol))
    names = [p.name for p in found]
    if not names or len(set(names)) < len(names):
        raise ConfigurationError(f"scoring protocols are {names}; give at least one, and each name once")
    return tuple(found)


def _is_file(text: str) -> bool:
    return text.endswith((".yaml", ".yml"))
