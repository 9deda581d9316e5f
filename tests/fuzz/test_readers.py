"""Readers of datasets: whatever the files hold, there is an EGTRError, or there is a dataset to train on."""

import json
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
from hypothesis import strategies as st

from egtr.data.annotated_image import BrokenImageError, read_annotated_image
from egtr.data.datasets import FORMATS, to_dataset_dicts
from egtr.data.datasets.annotations import SceneGraphAnnotations, leave_out_unsound
from egtr.data.datasets.label_studio import read_label_studio
from egtr.data.statistics import count_triplets
from egtr.structures import EGTRError
from tests.data.raw_files import HEIGHT, SCENES, WIDTH, WRITERS
from tests.fuzz.fuzzing import fuzz
from tests.fuzz.mutation import mutated_bytes, mutated_json


class Files(NamedTuple):
    """A dataset: its format, the name of the file to read, the content of all files, and how it is read."""

    format: str
    main: str
    contents: dict[str, Any]
    options: dict[str, Any]


def _label_studio_tasks() -> list[dict[str, Any]]:
    def rectangle(number: str, label: str) -> dict[str, Any]:
        value = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 15, "rectanglelabels": [label]}
        size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
        return {"id": number, "type": "rectanglelabels", "value": value, **size}

    relation = {"type": "relation", "from_id": "a", "to_id": "b", "direction": "bi", "labels": ["on"]}
    result = [rectangle("a", "cat"), rectangle("b", "dog"), relation]
    annotation = {"was_cancelled": False, "ground_truth": False, "updated_at": "2024", "result": result}
    addresses = ["/data/upload/1/0f6142fb-photo.jpg", "/data/local-files/?d=shelf/p.png", "s3://b/c/d.jpg"]
    return [{"id": k, "data": {"image": a}, "annotations": [annotation]} for k, a in enumerate(addresses)]


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> list[Files]:
    """One sound dataset of each format."""
    found = []
    for name, write in WRITERS.items():
        folder = tmp_path_factory.mktemp(name)
        main = Path(write(folder, SCENES))
        contents: dict[str, Any] = {}
        for path in folder.iterdir():
            if path.suffix == ".h5":
                with h5py.File(path) as file:
                    contents[path.name] = {key: file[key][()] for key in file}
            else:
                contents[path.name] = json.loads(path.read_text())
        options = {"num_val": 0, "filter_empty_rels": False} if name == "vg_h5" else {}
        found.append(Files(name, main.name, contents, options))
    return [*found, Files("label_studio", "export.json", {"export.json": _label_studio_tasks()}, {})]


@st.composite
def _mutated_arrays(draw, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    arrays = {name: array.copy() for name, array in arrays.items()}
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(sorted(arrays)))
        array = np.asarray(arrays[name])
        action = draw(st.sampled_from(["value", "value", "remove", "dtype", "shape", "other", "cut"]))
        if action == "value" and array.size and array.dtype.kind in "iuf":
            limits = np.iinfo(array.dtype) if array.dtype.kind in "iu" else np.finfo(array.dtype)
            special = [limits.max, limits.min, *(v for v in (0, 1, 2, 3, 9) if limits.min <= v <= limits.max)]
            array.reshape(-1)[draw(st.integers(0, array.size - 1))] = draw(st.sampled_from(special))
        elif action == "remove":
            del arrays[name]
            if not arrays:
                break
        elif action == "dtype" and array.dtype.kind in "iuf":
            arrays[name] = array.astype(draw(st.sampled_from(["f4", "f8", "u1", "u8", "i8", "bool", "S3", "c16"])))
        elif action == "shape":
            arrays[name] = array[..., None] if draw(st.booleans()) else array.reshape(-1)
        elif action == "other":
            arrays[name] = draw(
                st.sampled_from([3, 0.5, "text", b"bytes", h5py.Empty("i4"), [], [[1, 2]], [math.nan] * 4])
            )
        else:
            arrays[name] = array[:-1] if array.ndim else array
    return arrays


@st.composite
def _mutated_files(draw, originals: list[Files]) -> Files:
    original = draw(st.sampled_from(originals))
    contents: dict[str, Any] = {}
    for name, content in original.contents.items():
        if name.endswith(".h5"):
            contents[name] = draw(_mutated_arrays(content))
        elif draw(st.integers(0, 3)):
            contents[name] = json.dumps(draw(mutated_json(content))).encode()
        else:
            contents[name] = draw(mutated_bytes(json.dumps(content).encode()))
    if not draw(st.integers(0, 19)):
        del contents[draw(st.sampled_from(sorted(contents)))]
    options = dict(original.options)
    if original.format == "vg_h5":
        odd = st.sampled_from([0, 1, 10**9, -1, None])
        options = {"num_val": draw(odd), "filter_empty_rels": draw(st.booleans())}
    if original.format == "label_studio":
        options = {"drop_unlabelled": draw(st.booleans())}
    split = draw(st.sampled_from(["", "", "", "#train", "#test", "#none"]))
    return original._replace(contents=contents, options=options, main=original.main + split)


def _write(files: Files, folder: Path) -> None:
    for name, content in files.contents.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
            continue
        with h5py.File(folder / name, "w") as file:
            for key, array in content.items():
                # numpy's own texts are no type of HDF5.
                file[key] = array.item() if getattr(array, "dtype", np.dtype(int)).kind == "U" else array


def _check_reading(files: Files) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(files, folder)
        (folder / "images").mkdir()
        read: Callable[..., SceneGraphAnnotations] = (
            read_label_studio if files.format == "label_studio" else FORMATS[files.format].read
        )
        root = "" if files.format == "label_studio" else str(folder / "images")
        try:
            annotations = read(str(folder / files.main), root, **files.options)
        except EGTRError:
            return
        for problem in annotations.find_problems():
            assert problem.message and "\n" not in problem.message
        for tolerant in (False, True):
            try:
                records = to_dataset_dicts(leave_out_unsound(annotations)[0] if tolerant else annotations)
            except EGTRError:
                continue
            _check_records(records, annotations, root)


def _check_records(records: list[dict[str, Any]], annotations: SceneGraphAnnotations, root: str) -> None:
    """Check everything that training relies on, for all records."""
    num_classes, num_predicates = len(annotations.thing_classes), len(annotations.predicate_classes)
    assert len({record["image_id"] for record in records}) == len(records)
    for record in records:
        number, (width, height) = len(record["annotations"]), (record["width"], record["height"])
        for entry in record["annotations"]:
            x1, y1, x2, y2 = entry["bbox"]
            assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
            assert 0 <= entry["category_id"] < num_classes
        for subject, object_, predicate in record["relations"]:
            assert 0 <= subject < number and 0 <= object_ < number and 0 <= predicate < num_predicates
        path = os.path.normpath(record["file_name"])
        assert not root or path.startswith(root + os.sep), "an image outside of the folder of images"
        with pytest.raises(BrokenImageError):  # none is there
            read_annotated_image(record)
    count_triplets(records, num_classes, num_predicates)


def test_sound_files_are_read(originals):
    for files in originals:
        with tempfile.TemporaryDirectory() as name:
            as_bytes = {k: v if k.endswith(".h5") else json.dumps(v).encode() for k, v in files.contents.items()}
            _write(files._replace(contents=as_bytes), Path(name))
            read = read_label_studio if files.format == "label_studio" else FORMATS[files.format].read
            annotations = read(str(Path(name, files.main)), "", **files.options)
            assert annotations.first_error() is None and annotations.images and annotations.predicate_classes


def test_readers(originals):
    fuzz(_check_reading, _mutated_files(originals), examples=100)
