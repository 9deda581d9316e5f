"""Visual Genome 150 in its usual form: an HDF5 file, a dictionary of names and a list of images.

The folder::

    VG-SGG-with-attri.h5                 or VG-SGG.h5
    VG-SGG-dicts-with-attri.json         or VG-SGG-dicts.json: {"idx_to_label": {"1": name, ...},
                                         "idx_to_predicate": {"1": name, ...}, ...}
    image_data.json                      [{"image_id", "width", "height", ...}, ...], in the order of the HDF5 file
    images/                              <image_id>.jpg, or the folders VG_100K and VG_100K_2 as they are downloaded

The HDF5 file has, for I images, A objects and T relations: ``split`` (I,), 0 train and 2 test, and from some programs
1 val; ``labels`` (A, 1), from 1; ``boxes_1024`` (A, 4), centre x, centre y, width, height of the image scaled to a
long side of 1024; ``relationships`` (T, 2), subject and object among the A; ``predicates`` (T, 1), from 1; and
``img_to_first_box``, ``img_to_last_box``, ``img_to_first_rel``, ``img_to_last_rel``, (I,) each, the last ones
inclusive, -1 if an image has none. Attributes are not read.

Four images of Visual Genome cannot be decoded. ``image_data.json`` may list them; the HDF5 file has never had them.
"""

import os
import reprlib
from typing import Any

import h5py
import numpy as np

from egtr.structures import DataError

from ._parsing import parse_fragment, parse_id, parse_size, read_json, require_fields, require_list
from .annotations import ImageAnnotations, Problem, SceneGraphAnnotations
from .registration import register_reader

LAYOUT = "vg_h5"
SPLITS = ("train", "val", "test")
CORRUPT_IMAGES = (1592, 1722, 4616, 4617)
BOX_SCALE = 1024
NUM_VAL = 5000
# Visual Genome's largest array has 100 MB.
_MAX_BYTES = 2**31
IMAGE_FOLDERS = ("VG_100K", "VG_100K_2")

# The array that has the same number of rows, and the number of columns.
_ARRAYS = {
    "split": ("split", None),
    "labels": ("labels", 1),
    "boxes_1024": ("labels", 4),
    "relationships": ("predicates", 2),
    "predicates": ("predicates", 1),
    "img_to_first_box": ("split", None),
    "img_to_last_box": ("split", None),
    "img_to_first_rel": ("split", None),
    "img_to_last_rel": ("split", None),
}


def read_vg_h5(
    h5_file: str,
    image_root: str,
    *,
    split: str | None = None,
    num_val: int | None = None,
    filter_empty_rels: bool = True,
    dicts_file: str | None = None,
    image_data_file: str | None = None,
) -> SceneGraphAnnotations:
    """Read one split, or all images.

    The usual file knows only train and test: val are the first ``num_val`` of its train images that have
    relations. If the file marks val images by 1, they are val, and ``num_val`` is not used.

    Args:
        h5_file: the HDF5 file, also as ``FILE#split``.
        image_root: folder of the images, or of ``VG_100K`` and ``VG_100K_2``.
        split: "train", "val" or "test"; None: all.
        num_val: number of val images; None: the attribute ``num_val`` of the HDF5 file, which conversion writes,
            else 5,000.
        filter_empty_rels: leave out images without relations, as all published results do: 57,723 images
            remain in train, 5,000 in val and 26,446 in test.
        dicts_file: None: beside ``h5_file``, ``VG-SGG-dicts<rest>.json`` for ``VG-SGG<rest>.h5``.
        image_data_file: None: ``image_data.json`` beside ``h5_file``.

    Raises:
        DataError: a file cannot be read or lacks a part, ``image_data.json`` is of other images, or there is no
            such split.
    """
    h5_file, split = parse_fragment(h5_file, split, SPLITS)
    dicts_file, image_data_file = _beside(h5_file, dicts_file, image_data_file)
    arrays = _read_arrays(h5_file)
    dicts = read_json(dicts_file)
    records = _read_image_data(image_data_file, len(arrays["split"]), h5_file)
    num_val = _read_num_val(h5_file) if num_val is None else num_val
    if not isinstance(num_val, int) or num_val < 0:
        raise DataError(f"{h5_file}: num_val is {num_val!r}; give the number of val images, 0 or more.")
    chosen = _choose(arrays, split, num_val, filter_empty_rels, h5_file)
    problems: list[Problem] = []
    return SceneGraphAnnotations(
        images=_make_images(arrays, chosen, records, image_root, (h5_file, image_data_file), problems),
        thing_classes=read_dict_names(dicts, "idx_to_label", dicts_file),
        predicate_classes=read_dict_names(dicts, "idx_to_predicate", dicts_file),
        image_root=image_root,
        source=h5_file,
        problems=problems,
        first_id=1,
    )


def register_vg_h5(
    name: str,
    json_file: str,
    image_root: str,
    *,
    split: str | None = None,
    num_val: int | None = None,
    filter_empty_rels: bool = True,
    dicts_file: str | None = None,
    image_data_file: str | None = None,
    **metadata: Any,
) -> None:
    """Register a split of the HDF5 file ``json_file``, an argument named as for the other formats.

    For the arguments see :func:`read_vg_h5` and :func:`~.registration.register_reader`.
    """
    h5_file, split = parse_fragment(json_file, split, SPLITS)
    dicts_file, image_data_file = _beside(h5_file, dicts_file, image_data_file)
    options = {
        "split": split,
        "num_val": num_val,
        "filter_empty_rels": filter_empty_rels,
        "dicts_file": dicts_file,
        "image_data_file": image_data_file,
    }
    files = [h5_file, dicts_file, image_data_file]
    register_reader(name, read_vg_h5, files, image_root, options, split=split, **metadata)


def _beside(h5_file: str, dicts_file: str | None, image_data_file: str | None) -> tuple[str, str]:
    folder, name = os.path.split(h5_file)
    rest = os.path.splitext(name)[0].removeprefix("VG-SGG")
    dicts_file = dicts_file or os.path.join(folder, f"VG-SGG-dicts{rest}.json")
    return dicts_file, image_data_file or os.path.join(folder, "image_data.json")


def _read_arrays(h5_file: str) -> dict[str, np.ndarray]:
    try:
        with h5py.File(h5_file, "r") as file:
            missing = [name for name in _ARRAYS if not isinstance(file.get(name), h5py.Dataset)]
            if missing:
                text = f"lacks {', '.join(missing)}. egtr/data/datasets/{LAYOUT}.py lists what it needs."
                raise DataError(f"{h5_file}: {text}")
            for name in _ARRAYS:
                _check_storage(file, name, h5_file)
            arrays = {name: np.asarray(file[name][()]) for name in _ARRAYS}
    except OSError as error:
        text = f"cannot be read as an HDF5 file ({error}). Was the download or copy cut short?"
        raise DataError(f"{h5_file}: {text}") from error
    for name, (counterpart, columns) in _ARRAYS.items():
        array = arrays[name]
        length = arrays[counterpart].shape[:1] or (0,)
        shape = length if columns is None else (*length, columns)
        if array.shape != shape or array.dtype.kind not in ("iuf" if name == "boxes_1024" else "iu"):
            text = f"{name} holds {array.dtype} of shape {array.shape}, expected numbers of shape {shape}"
            raise DataError(f"{h5_file}: {text}. Was it written by another program?")
        arrays[name] = array.astype(np.float64 if name == "boxes_1024" else np.int64)
    return arrays


def _check_storage(file: h5py.File, name: str, h5_file: str) -> None:
    """Refuse an array that leads to another file, or whose few bytes on the disk would fill the memory."""
    dataset = file[name]
    elsewhere = not isinstance(file.get(name, getlink=True), h5py.HardLink) or dataset.external or dataset.is_virtual
    if elsewhere or dataset.nbytes > _MAX_BYTES:
        what = "lies in another file" if elsewhere else f"would take {dataset.nbytes:,} bytes"
        raise DataError(f"{h5_file}: {name} {what}, which is refused. Write the array into this file, as it is.")


def _read_num_val(h5_file: str) -> int:
    with h5py.File(h5_file, "r") as file:
        value = file.attrs.get("num_val")
    return int(value) if isinstance(value, np.integer) else NUM_VAL


def _read_image_data(path: str, number: int, h5_file: str) -> list[Any]:
    """Read the entries of the ``number`` images of the HDF5 file, in its order."""
    records = require_list(read_json(path), path, LAYOUT)
    if len(records) == number:
        return records
    decodable = [r for r in records if not isinstance(r, dict) or r.get("image_id") not in CORRUPT_IMAGES]
    if len(decodable) != number:
        raise DataError(
            f"{path}: lists {len(records)} images, {len(decodable)} without the four that cannot be decoded, but "
            f"{h5_file} has {number}. The two files do not belong together."
        )
    return decodable


def read_dict_names(dicts: Any, field: str, path: str) -> list[str]:
    """Read the names in "idx_to_label" or "idx_to_predicate" of ``VG-SGG-dicts.json``.

    Args:
        dicts: the parsed file.
        field: which of them.
        path: the file, for the message.

    Raises:
        DataError: the field is missing, or does not number its names from 1.
    """
    require_fields(dicts, path, LAYOUT, **{field: dict})
    # Some copies name the background too.
    names = {number: name for number, name in dicts[field].items() if number != "0"}
    numbers = [str(k) for k in range(1, len(names) + 1)]
    if set(names) != set(numbers) or not all(isinstance(name, str) for name in names.values()):
        raise DataError(
            f'{path}: field "{field}" must map "1" to "{len(names)}" to names, got {reprlib.repr(dicts[field])}.'
        )
    return [names[number] for number in numbers]


def _choose(
    arrays: dict[str, np.ndarray], split: str | None, num_val: int, filter_empty_rels: bool, h5_file: str
) -> np.ndarray:
    """Find the indices of the images of a split."""
    is_test, is_val = arrays["split"] == 2, arrays["split"] == 1
    strangers = arrays["split"][~is_test & ~is_val & (arrays["split"] != 0)]
    if len(strangers):
        raise DataError(
            f"{h5_file}: split holds {strangers[0]}; expected 0 (train, or train and val), 1 (val) and 2 (test). "
            "Write these numbers."
        )
    has_relations = (arrays["img_to_first_box"] >= 0) & (arrays["img_to_first_rel"] >= 0)
    if not is_val.any():
        is_val[np.flatnonzero(has_relations & ~is_test)[:num_val]] = True
    members = {"train": ~is_test & ~is_val, "val": is_val, "test": is_test, None: np.ones_like(is_test)}[split]
    return np.flatnonzero(members & has_relations if filter_empty_rels else members)


def _make_images(
    arrays: dict[str, np.ndarray],
    chosen: np.ndarray,
    records: list[Any],
    image_root: str,
    paths: tuple[str, str],
    problems: list[Problem],
) -> list[ImageAnnotations]:
    h5_file, image_data_file = paths
    centres, sizes = arrays["boxes_1024"][:, :2], arrays["boxes_1024"][:, 2:]
    corners = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1) / BOX_SCALE
    classes = arrays["labels"][:, 0] - 1
    relations = np.concatenate([arrays["relationships"], arrays["predicates"] - 1], axis=1)
    box_ranges = _ranges(arrays["img_to_first_box"], arrays["img_to_last_box"], len(corners))
    relation_ranges = _ranges(arrays["img_to_first_rel"], arrays["img_to_last_rel"], len(relations))
    folder_of = {
        name: folder
        for folder in IMAGE_FOLDERS
        if os.path.isdir(os.path.join(image_root, folder))
        for name in os.listdir(os.path.join(image_root, folder))
    }
    images = []
    for k in chosen.tolist():
        record = records[k]
        image_id = parse_id(record, "image_id", f"{image_data_file}: entry {k}", "bad-image", problems)
        if image_id is None:
            continue
        height, width = parse_size(record, f"{image_data_file}: image id {image_id}", image_id, problems)
        # Without the size of its image a box has no size in pixels.
        scale = max(height, width) if height and width else np.nan
        for name, ranges in (("box", box_ranges), ("rel", relation_ranges)):
            if ranges[k] is None:
                text = f"img_to_first_{name} and img_to_last_{name} at {k} do not name rows. Was the file damaged?"
                problems.append(Problem("bad-range", f"{h5_file}: image id {image_id}, {text}", image_id))
        boxes, rows = (slice(0, 0) if ranges[k] is None else ranges[k] for ranges in (box_ranges, relation_ranges))
        name = f"{image_id}.jpg"
        images.append(
            ImageAnnotations(
                image_id=image_id,
                file_name=os.path.join(folder_of.get(name, ""), name),
                height=height,
                width=width,
                boxes=corners[boxes] * scale,
                classes=classes[boxes],
                crowd=np.zeros(boxes.stop - boxes.start),
                relations=relations[rows] - [boxes.start, boxes.start, 0],
            )
        )
    return images


def _ranges(first: np.ndarray, last: np.ndarray, number: int) -> list[slice | None]:
    """Make a slice of the rows of each image: an empty one if it has none, None if the numbers are wrong."""
    empty = (first < 0) & (last < 0)
    right = (first >= 0) & (first <= last) & (last < number)
    pairs = zip(first.tolist(), last.tolist(), empty.tolist(), right.tolist(), strict=True)
    return [slice(a, b + 1) if good else slice(0, 0) if none else None for a, b, none, good in pairs]
