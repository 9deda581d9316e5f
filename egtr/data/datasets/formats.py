"""The formats by name, for configurations and command lines."""

import copy
import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from egtr.structures import EGTRError

from .annotations import SceneGraphAnnotations
from .coco_sg import read_coco_sg, register_coco_sg
from .egtr_json import read_egtr_json, register_egtr_json
from .open_images import read_open_images, register_open_images
from .psg import read_psg, register_psg
from .vg_h5 import read_vg_h5, register_vg_h5

# What a row of DATASETS.REGISTER says in its other entries, or the registration by itself.
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

    Where a file holds several splits, it may be given as ``FILE#split``.
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
    """
    Raises:
        EGTRError: there is no such format.
    """
    if name not in FORMATS:
        near = difflib.get_close_matches(str(name), FORMATS, n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise EGTRError(f"There is no dataset format {name!r}. {hint}Formats: {', '.join(FORMATS)}.")
    return FORMATS[name]


def register_dataset(name: str, format: str, json_file: str, image_root: str, **metadata: Any) -> None:
    """Register a dataset whose format is given by name.

    Args:
        name: of the dataset.
        format: a key of ``FORMATS``.
        json_file: its annotation file, also as ``FILE#split``.
        image_root: folder of its images.
        metadata: further arguments of the format's ``register_<format>``, and metadata.

    Raises:
        EGTRError: there is no such format.
    """
    get_format(format).register(name, json_file, image_root, **metadata)


def register_rows(rows: Sequence[Any]) -> None:
    """Register what a configuration lists: ``cfg.DATASETS.REGISTER``.

    Registering the same row again changes nothing, and a changed row takes the place of the one before: a process
    may load several configurations.

    Args:
        rows: [name, format, json_file, image_root] each, and optionally a mapping as the fifth: ``metadata`` of
            :func:`register_dataset`. In paths ``~`` and environment variables, such as ``$DETECTRON2_DATASETS``,
            are expanded; relative ones start at the current folder.

    Raises:
        EGTRError: a row has another form, names no format, or takes a name that is not its own.
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
            raise EGTRError(
                f"{where}: write [name, format, json_file, image_root] or the same with {{metadata}} behind."
            )
        name, format, *paths = row[:4]
        if seen.setdefault(name, row) != row:
            raise EGTRError(f"{where}: {name!r} is there twice with different contents. Take another name.")
        json_file, image_root = (os.path.expanduser(os.path.expandvars(path)) for path in paths)
        # A copy, so that a row which its owner changes is another row.
        metadata = copy.deepcopy(dict(*row[4:]))
        reserved = [key for key in metadata if not isinstance(key, str) or key in _RESERVED]
        if reserved:
            raise EGTRError(f"{where}: {reserved[0]!r} is no key that the fifth entry can set.")
        resolved = [name, format, json_file, image_root, metadata]
        former = MetadataCatalog.get(name).get("register_row") if name in DatasetCatalog else None
        if former == resolved:
            continue
        if name in DatasetCatalog and former is None:
            raise EGTRError(f"{where}: {name!r} is the name of another dataset. Take another name.")
        options = {"remedy": f"DATASETS.REGISTER names it, in {row!r}."} | metadata
        try:
            get_format(format)
            if former is not None:
                DatasetCatalog.remove(name)
                MetadataCatalog.remove(name)
            register_dataset(name, format, json_file, image_root, **options, register_row=resolved)
        except EGTRError as error:
            raise EGTRError(f"{where}: {error}") from error
