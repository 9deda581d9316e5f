"""Names of classes and predicates, from the files of datasets."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from egtr.data.datasets._parsing import numbered_names, read_json, require_fields, require_names
from egtr.data.datasets.egtr_json import predicate_names
from egtr.data.datasets.vg_h5 import read_dict_names
from egtr.structures import DataError
from egtr.structures.known_names import get_known_names, list_known_names


def read_names(files: Sequence[str | Path]) -> tuple[list[str] | None, list[str] | None]:
    """Read class names and predicate names from any of

    - a list that comes with the library: "vg150" (both) or "coco" (classes);
    - ``rel.json`` of EGTR's layout (predicates) and any COCO JSON beside it, such as ``train.json`` (classes);
    - ``VG-SGG-dicts.json`` or ``VG-SGG-dicts-with-attri.json`` (both);
    - Open Images' ``categories_dict.json`` (both);
    - a JSON of the layout ``coco_sg`` (both), such as ``categories.json`` of a dataset on the Hugging Face Hub;
    - ``psg.json`` (both).

    Args:
        files: paths; later files override earlier ones.

    Returns:
        C and R names; None for names that no file has.

    Raises:
        DataError: a file cannot be read or has no names.
    """
    classes = predicates = None
    for file in map(str, files):
        if file in list_known_names() and not os.path.exists(file):
            known, related = get_known_names(file)
            classes, predicates = known, related or predicates
            continue
        content = read_json(file)
        keys = set(content) if isinstance(content, dict) else set()
        if {"idx_to_label", "idx_to_predicate"} <= keys:
            classes = read_dict_names(content, "idx_to_label", file)
            predicates = read_dict_names(content, "idx_to_predicate", file)
        elif {"obj", "rel"} <= keys:
            classes = require_names(content, file, "open_images", "obj")
            predicates = require_names(content, file, "open_images", "rel")
        elif "predicate_classes" in keys:
            classes = require_names(content, file, "psg", "thing_classes", "stuff_classes")
            predicates = require_names(content, file, "psg", "predicate_classes")
        elif keys & {"categories", "rel_categories"}:
            if "categories" in keys:
                classes = _numbered(content, "categories", file)
            if "rel_categories" in keys:
                predicates = _predicates(content, file)
        else:
            raise DataError(
                f"{file}: names neither classes nor predicates. Take rel.json and train.json, VG-SGG-dicts.json, "
                "categories_dict.json, psg.json, a JSON of coco_sg, or a list that comes with egtr: vg150 or coco"
            )
    return classes, predicates


def _predicates(content: dict[str, Any], file: str) -> list[str]:
    """Read "rel_categories": numbered entries in coco_sg, names after a background in EGTR's rel.json."""
    entries = content["rel_categories"]
    if isinstance(entries, list) and entries and isinstance(entries[0], dict):
        return _numbered(content, "rel_categories", file)
    return predicate_names(content, file)


def _numbered(content: dict[str, Any], field: str, file: str) -> list[str]:
    require_fields(content, file, "coco_sg", **{field: list})
    return list(numbered_names(content[field], file, field, "coco_sg").values())
