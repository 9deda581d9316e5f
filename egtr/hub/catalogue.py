"""The catalogue: models that ship, and released models that can be fetched by name.

``catalogue.yaml`` holds for each name

- ``shipped``: the file of its weights, of a model that comes with the library; or
- ``files``: the files to fetch, each with ``address`` (see :mod:`egtr.hub.download`), ``name`` in the download
  folder, and if they are known ``size`` in bytes, ``sha256``, and ``sha256_by``: the person or project that recorded
  it;
- ``names``: the lists of ``classes`` and ``predicates`` that come with the library
  (:mod:`egtr.structures.known_names`);
- ``info``: fields of :class:`~egtr.structures.ModelInfo`;
- ``note``: a sentence for people who fetch it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from egtr.structures.known_names import get_known_names
from egtr.structures.model_info import ModelInfo

from .model_zoo import get_weights_file


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch.

    Attributes:
        address: see :mod:`egtr.hub.download`.
        name: its name in the download folder.
        size: in bytes; None if it is not known.
        sha256: its hash; "" if it is not known.
        sha256_by: the person or project that recorded the hash.
    """

    address: str
    name: str
    size: int | None = None
    sha256: str = ""
    sha256_by: str = ""


@dataclass(frozen=True)
class Entry:
    """A model of the catalogue.

    Attributes:
        name: what users type.
        info: its record. The names of a released model are in it as far as they are known before it is fetched.
        files: the files to fetch; empty for a model that ships.
        names: lists of names that come with the library, for :func:`egtr.checkpoint.read_names`.
        note: a sentence for people who fetch it.
    """

    name: str
    info: ModelInfo
    files: tuple[RemoteFile, ...] = ()
    names: tuple[str, ...] = ()
    note: str = ""

    @property
    def shipped(self) -> bool:
        """Whether the model comes with the library."""
        return not self.files

    @property
    def size(self) -> int | None:
        """Bytes to fetch; None if they are not known."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(sizes)


@cache
def read_catalogue() -> dict[str, Entry]:
    """Read the catalogue that comes with the library: entries by name, in the order of the file."""
    # Here, because importing this module must stay quick.
    import yaml

    content = yaml.safe_load(files(__package__).joinpath("catalogue.yaml").read_text("utf-8"))
    return {name: _parse(name, **fields) for name, fields in content["models"].items()}


def _parse(
    name: str,
    *,
    shipped: str = "",
    files: Sequence[dict[str, Any]] = (),
    names: Mapping[str, str] | None = None,
    info: dict[str, Any] | None = None,
    note: str = "",
) -> Entry:
    if shipped:
        return Entry(name, ModelInfo.find(get_weights_file(shipped)) or ModelInfo(name=name))
    record = ModelInfo.from_dict({"version": 1, "name": name, **info}, f"catalogue.yaml, {name}, info")
    names = names or {}
    if "classes" in names:
        record = replace(record, class_names=tuple(get_known_names(names["classes"])[0]))
    if "predicates" in names:
        record = replace(record, predicate_names=tuple(get_known_names(names["predicates"])[1]))
    lists = tuple(dict.fromkeys(names.values()))
    return Entry(name, record, tuple(RemoteFile(**file) for file in files), lists, note)
