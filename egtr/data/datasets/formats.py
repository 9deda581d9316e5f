"""The dataset formats by name, for configurations and command lines."""

import copy
import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from egtr.structures import ConfigurationError, EGTRError

from .annotations import SceneGraphAnnotations
from .coco_sg import read_coco_sg, register_coco_sg
from .egtr_json import read_egtr_json, register_egtr_json
from .open_images import read_open_images, register_open_images
from .psg import read_psg, register_psg
from .vg_h5 import read_vg_h5, register_vg_h5

# Metadata that other entries of a row of DATASETS.REGISTER, or the registration itself, set.
_RESERVED = {
    "name",
    "format",
    "json_file",
    "image_root",
    "annotation_files",
    "evaluator_type",
    "read",
    "options",
    "reader",
    "reader_options",
    "register_row",
}


@dataclass(frozen=True)
class Format:
    """``read(file, image_root, **options)`` and ``register(name, file, image_root, **options and metadata)``.

    A file that holds several splits may be given as ``FILE#split``.
    """

    read: Callable[..., SceneGraphAnnotations]
    register: Callable[..., None]


FORMATS = {
    "egtr": Format(read_egtr_json, register_egtr_json),
    "vg_h5": Format(read_vg_h5, register_vg_h5),
    "oiv6": Format(read_open_images, register_open_images),
    "psg": Format(read_psg, register_psg),
    "coco_sg": Format(read_coco_sg, register_coco_sg),
}


def get_format(name: str) -> Format:
    """Return the format of that name.

    Raises:
        ConfigurationError: there is no such format.
    """
    if name not in FORMATS:
        near = difflib.get_close_matches(str(name), FORMATS, n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise ConfigurationError(f"There is no dataset format {name!r}. {hint}Formats: {', '.join(FORMATS)}.")
    return FORMATS[name]


def register_dataset(name: str, format: str, json_file: str, image_root: str, **metadata: Any) -> None:
    """Register a dataset in the format of that name.

    Args:
        name: the dataset.
        format: a key of ``FORMATS``.
        json_file: its annotation file, also as ``FILE#split``.
        image_root: folder of its images.
        metadata: further arguments of the format's ``register_<format>``, and metadata.

    Raises:
        ConfigurationError: there is no such format.
    """
    get_format(format).register(name, json_file, image_root, **metadata)


def register_rows(rows: Sequence[Any]) -> None:
    """Register the datasets that a configuration lists: ``cfg.DATASETS.REGISTER``.

    A process may load several configurations: the same row again changes nothing, and a changed row replaces the
    former one.

    Args:
        rows: [name, format, json_file, image_root] each, and optionally a mapping as the fifth entry: ``metadata``
            of :func:`register_dataset`. In paths ``~`` and environment variables, such as ``$DETECTRON2_DATASETS``,
            are expanded; relative paths start at the current folder.

    Raises:
        ConfigurationError: a row has another form, names no format, or takes the name of another dataset.
    """
    seen: dict[str, Any] = {}
    for row in rows:
        where = f"DATASETS.REGISTER, row {row!r}"
        if not (
            isinstance(row, list | tuple)
            and len(row) in (4, 5)
            and all(isinstance(part, str) and part for part in row[:4])
            and all(isinstance(part, Mapping) for part in row[4:])
        ):
            raise ConfigurationError(
                f"{where}: write [name, format, json_file, image_root] or the same and then {{metadata}}."
            )
        name, format, *paths = row[:4]
        if seen.setdefault(name, row) != row:
            raise ConfigurationError(f"{where}: {name!r} is there twice with different contents. Take another name.")
        json_file, image_root = (os.path.expanduser(os.path.expandvars(path)) for path in paths)
        # A copy, so that a row that its owner changes later counts as another row.
        metadata = copy.deepcopy(dict(*row[4:]))
        reserved = [key for key in metadata if not isinstance(key, str) or key in _RESERVED]
        if reserved:
            raise ConfigurationError(f"{where}: {reserved[0]!r} is no key that the fifth entry can set.")
        resolved = [name, format, json_file, image_root, metadata]
        former = MetadataCatalog.get(name).get("register_row") if name in DatasetCatalog else None
        if former == resolved:
            continue
        if name in DatasetCatalog and former is None:
            raise ConfigurationError(f"{where}: {name!r} is the name of another dataset. Take another name.")
        options = {"remedy": f"DATASETS.REGISTER names it, in {row!r}."} | metadata
        try:
            get_format(format)
            if former is not None:
                DatasetCatalog.remove(name)
                MetadataCatalog.remove(name)
            register_dataset(name, format, json_file, image_root, **options, register_row=resolved)
        except EGTRError as error:
            raise ConfigurationError(f"{where}: {error}") from error
