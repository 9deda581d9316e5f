"""Prediction files: whatever they hold, there is an EGTRError, or there are records that can be scored."""

import io
import json
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from egtr.evaluation import PredictionMeta, PredictionWriter, Scorer, list_images, read_meta, read_predictions
from egtr.structures import EGTRError, TripletCounts
from tests.evaluation.predictions import random_record
from tests.fuzz.fuzzing import fuzz
from tests.fuzz.mutation import mutated_bytes, mutated_json, odd_values

Members = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A sound file of two images, one of them without annotations."""
    path = tmp_path_factory.mktemp("predictions") / "predictions.npz"
    training = TripletCounts(np.array([[0, 1, 2]]), np.array([3]), 3, 4)
    meta = PredictionMeta(("person", "dog", "tree"), ("on", "near", "holds", "under"), training=training)
    with PredictionWriter(path, meta) as writer:
        writer.write(7, *random_record(0, num_queries=3, image_id=7))
        writer.write("b.jpg", random_record(1, num_queries=2)[0])
    return path


@st.composite
def _mutated_member(draw, name: str, array: np.ndarray) -> bytes | np.ndarray:
    if name in ("meta", "part") and array.dtype.kind == "U" and array.ndim == 0 and draw(st.integers(0, 3)):
        return np.array(json.dumps(draw(mutated_json(json.loads(array.item())))))
    action = draw(st.sampled_from(["bytes", "value", "dtype", "shape", "cut", "other"]))
    if action == "bytes":
        return draw(mutated_bytes(_npy(array)))
    if action == "value" and array.size and array.dtype.kind in "iuf":
        array = array.copy()
        limits = np.iinfo(array.dtype) if array.dtype.kind in "iu" else np.finfo(array.dtype)
        special = [limits.max, limits.min, 0, 1, 3, *([np.nan, np.inf, -0.0, 1.5] if array.dtype.kind == "f" else [])]
        array.reshape(-1)[draw(st.integers(0, array.size - 1))] = draw(st.sampled_from(special))
        return array
    if action == "dtype" and array.dtype.kind in "iuf":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return array.astype(
                draw(st.sampled_from(["f2", "f4", ">f8", "u1", "u8", "i8", "i1", "?", "S4", "c8", "U4"]))
            )
    if action == "shape":
        return draw(st.sampled_from([array[..., None], array.reshape(-1), array.T]))
    if action == "cut" and array.ndim:
        return array[:-1]
    other = draw(odd_values)
    try:
        found = np.array(other)
    except (ValueError, OverflowError):  # lists of different lengths
        return b""
    return draw(st.binary(max_size=200)) if found.dtype.hasobject else found


@st.composite
def _mutated_archive(draw, content: bytes) -> bytes:
    if not draw(st.integers(0, 4)):
        return draw(mutated_bytes(content))
    with np.load(io.BytesIO(content)) as archive:
        originals = {name: archive[name] for name in archive.files}
    members: dict[str, Any] = dict(originals)
    names = sorted(members)
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(names))
        action = draw(st.sampled_from(["change", "change", "change", "remove", "move", "rename"]))
        if members.get(name) is not originals[name]:
            continue
        if action == "change":
            members[name] = draw(_mutated_member(name, members[name]))
        elif action == "remove":
            del members[name]
        elif action == "move":
            members[draw(st.sampled_from(names))] = members[name]
        else:
            odd = st.sampled_from(
                ["0/none", "2/boxes", "9/boxes", "-1/boxes", "a/boxes", "²/boxes", "../x", "/etc/x", ""]
            )
            members[draw(odd)] = members.pop(name)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, member in members.items():
            archive.writestr(f"{name}.npy", member if isinstance(member, bytes) else _npy(member))
    return file.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
    return file.getvalue()


def _check_reading(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "predictions.npz")
        path.write_bytes(content)
        try:
            meta = read_meta(path)
        except EGTRError:
            return
        for partial in (False, True):
            try:
                images = list_images(path, partial)
                records = list(read_predictions(path, partial))
            except EGTRError as error:
                assert "predictions.npz" in str(error)
                continue
            assert [image_id for image_id, _, _ in records] == list(images)
            _check_scores(records, meta)


def _check_scores(records: list, meta: PredictionMeta) -> None:
    """Check that every value that was read is in range, and that the records can be scored."""
    scorer = Scorer(["reference"], [1, 5], None)
    for _, prediction, truth in records:
        assert np.isfinite(prediction.relation).all() and np.isfinite(prediction.boxes).all()
        assert prediction.pairs.min(initial=0) >= 0 and prediction.pairs.max(initial=-1) < len(prediction.boxes)
        if truth is not None and (meta.max_rank is None or meta.max_rank >= 5):
            scorer.score(prediction, truth)


def test_prediction_files(original):
    fuzz(_check_reading, _mutated_archive(original.read_bytes()), examples=100)
