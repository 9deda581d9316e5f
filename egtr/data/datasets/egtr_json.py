"""EGTR's JSON layout, the published form of Visual Genome 150 for EGTR.

A dataset is one folder::

    images/                            the images
    train.json, val.json, test.json    COCO detection (bbox: x, y, width, height in pixels)
    rel.json                           {"train": {"<image id>": [[subject, object, predicate], ...]},
                                        "val": ..., "test": ...,
                                        "rel_categories": ["__background__", name, name, ...]}

Subject and object index the image's annotations in file order; predicates are 1-based because entry 0 of
``rel_categories`` is a background. The reader returns 0-based numbers throughout.
"""

import os
import re
from typing import Any

from egtr.structures import DataError

from ._coco import parse_coco
from ._parsing import parse_fragment, parse_relations, read_json, require_names
from .annotations import WARNING, Problem, SceneGraphAnnotations
from .registration import register_reader

LAYOUT = "egtr_json"
SPLITS = ("train", "val", "test")
# Names of entry 0, only their letters.
_BACKGROUNDS = ("background", "bg", "none", "norelation", "norel", "nopredicate")


def read_egtr_json(
    json_file: str, image_root: str, *, split: str | None = None, rel_file: str | None = None
) -> SceneGraphAnnotations:
    """Read one split.

    Args:
        json_file: COCO detection file of the split, also as ``FILE#split``.
        image_root: folder of the images.
        split: key of the relations in ``rel_file``; None: the stem of ``json_file``.
        rel_file: None: ``rel.json`` beside ``json_file``.

    Raises:
        DataError: a file cannot be read or lacks a part, or the two files do not belong together.
    """
    json_file, rel_file, split = _complete(json_file, rel_file, split)
    coco = parse_coco(read_json(json_file), json_file, LAYOUT)
    rel = read_json(rel_file)
    predicates = predicate_names(rel, rel_file)
    if not isinstance(rel.get(split), dict):
        known = ", ".join(f'"{key}"' for key in rel if key != "rel_categories")
        raise DataError(f'{rel_file}: field "{split}", the relations of this split, is missing. It has {known}.')

    relations_of = dict(rel[split])
    strangers = relations_of.keys() - {str(image.image_id) for image in coco.images}
    if strangers and len(strangers) == len(relations_of):
        raise DataError(
            f"{rel_file}: none of its image ids (such as {min(strangers)}) is in {json_file}. The two files do "
            "not belong together."
        )
    if strangers:
        text = f"relations of {len(strangers)} images that {json_file} does not list (such as id {min(strangers)})"
        text += " are ignored."
        coco.problems.append(Problem("unlisted-image", f"{rel_file}: {text}", severity=WARNING))
    for image in coco.images:
        where = f'{rel_file}: image id {image.image_id}, field "{split}"'
        rows = relations_of.get(str(image.image_id), [])
        image.relations = parse_relations(rows, where, image.image_id, coco.problems) - [0, 0, 1]
    return SceneGraphAnnotations(
        images=coco.images,
        thing_classes=list(coco.class_names.values()),
        predicate_classes=predicates,
        image_root=image_root,
        source=json_file,
        problems=coco.problems,
        relation_source=f'{rel_file} ("{split}", "rel_categories")',
        first_id=1,
        category_ids=list(coco.class_names),
    )


def predicate_names(rel: Any, path: str) -> list[str]:
    """Read the predicates in "rel_categories" of ``rel.json``, without the background.

    Raises:
        DataError: the field is missing, or its first entry is no background.
    """
    names = require_names(rel, path, LAYOUT, "rel_categories")
    if not names or re.sub(r"[^a-z]", "", names[0].lower()) not in _BACKGROUNDS:
        first = repr(names[0]) if names else "nothing"
        raise DataError(
            f'{path}: field "rel_categories" begins with {first}, not with "__background__", so that it is unknown '
            'which predicate a number means. Put "__background__" first, and number the predicates after it from 1.'
        )
    return names[1:]


def register_egtr_json(
    name: str,
    json_file: str,
    image_root: str,
    *,
    split: str | None = None,
    rel_file: str | None = None,
    **metadata: Any,
) -> None:
    """Register one split; for the arguments see :func:`read_egtr_json` and :func:`~.registration.register_reader`."""
    json_file, rel_file, split = _complete(json_file, rel_file, split)
    options = {"split": split, "rel_file": rel_file}
    files = [json_file, rel_file]
    register_reader(name, read_egtr_json, files, image_root, options, rel_file=rel_file, split=split, **metadata)


def _complete(json_file: str, rel_file: str | None, split: str | None) -> tuple[str, str, str]:
    json_file, split = parse_fragment(json_file, split)
    split = split or os.path.splitext(os.path.basename(json_file))[0]
    return json_file, rel_file or os.path.join(os.path.dirname(json_file), "rel.json"), split
