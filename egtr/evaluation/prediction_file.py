"""Reading of prediction files: one ``.npz`` or a folder of them, see docs/prediction_files.md."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.npyio import NpzFile

from egtr.structures import EGTRError, GroundTruth, Prediction, PredictionError

from .prediction_format import (
    CROWD_MEMBERS,
    GROUND_TRUTH_MEMBERS,
    LABEL_MEMBERS,
    PREDICTION_MEMBERS,
    PredictionMeta,
    check_record,
)

# A member is read as a whole. The largest one of 1,000 queries with 200 predicates each has 800 MB.
_MAX_MEMBER_BYTES = 2**31


class _Place(NamedTuple):
    """The place of a file among the parts of a run's predictions."""

    process: int
    num_processes: int
    number: int
    last: bool


class _Part(NamedTuple):
    path: Path
    meta: PredictionMeta
    # None if the writer, which may be another system, did not say.
    place: _Place | None


def read_meta(path: str | os.PathLike) -> PredictionMeta:
    """Read the properties of all records of a prediction file.

    Raises:
        PredictionError: as :func:`read_predictions`, except that a run that was cut short is no error.
    """
    return _read_parts(Path(path))[0].meta


def read_predictions(
    path: str | os.PathLike, partial: bool = False
) -> Iterator[tuple[int | str, Prediction, GroundTruth | None]]:
    """Read a prediction file one record at a time.

    Args:
        path: a ``.npz`` file or a folder of them.
        partial: accept a file whose writer was cut short, with the images that there are.

    Returns:
        An iterator of (image id, prediction, ground truth or None), in the order of writing, process by process. An
        image that two processes wrote, because of a distributed sampler, comes once.

    Raises:
        PredictionError: at once: there is no such file, it is damaged, foreign, of a newer version or cut short, or
            parts of several runs are mixed. While reading: a record is damaged or inconsistent. The message
            names file, image and field.
    """
    return _read_records(_complete_parts(Path(path), partial))


def list_images(path: str | os.PathLike, partial: bool = False) -> dict[int | str, bool]:
    """List image ids, and whether each record holds ground truth. This is quick, since nothing else is read.

    Raises:
        PredictionError: as :func:`read_predictions`.
    """
    return {
        image_id: _has_ground_truth(archive, index)
        for archive, index, _, image_id in _walk(_complete_parts(Path(path), partial))
    }


def _complete_parts(path: Path, partial: bool) -> list[_Part]:
    parts = _read_parts(path)
    missing = _what_is_missing(parts)
    if missing and not partial:
        raise PredictionError(
            f"{path}: {missing}; predict again, or accept the incomplete file by partial (--partial)"
        )
    return parts


def _read_records(parts: list[_Part]) -> Iterator[tuple[int | str, Prediction, GroundTruth | None]]:
    for archive, index, part, image_id in _walk(parts):
        yield image_id, *_read_record(archive, index, part, image_id)


def _walk(parts: list[_Part]) -> Iterator[tuple[NpzFile, int, _Part, int | str]]:
    """Yield archive, number, part and image id of every record, each image once."""
    seen: dict[int | str, int | None] = {}
    for part in parts:
        process = part.place and part.place.process
        with _open(part.path) as archive:
            for index in range(_count_records(archive, part.path)):
                image_id = _read_image_id(archive, index, part.path)
                if image_id in seen and (process is None or seen[image_id] == process):
                    raise PredictionError(f"{part.path}: image {image_id!r}: a second record; every image has one")
                if image_id not in seen:
                    seen[image_id] = process
                    yield archive, index, part, image_id


@contextmanager
def _open(path: Path) -> Iterator[NpzFile]:
    if not path.exists():
        raise PredictionError(f"{path}: there is no such file")
    with ExitStack() as stack:
        try:
            # numpy does not close a damaged file that it opened itself.
            file = stack.enter_context(open(path, "rb"))
            archive = np.load(file, allow_pickle=False)
        except Exception as error:  # the parsers of zipfile and numpy raise many kinds
            # numpy takes an unknown file for a pickle, and says how to load that unsafely.
            reason = "" if isinstance(error, ValueError) else f" ({error})"
            raise PredictionError(
                f"{path}: is no .npz file, or a damaged one{reason}; write or copy it again"
            ) from error
        if not isinstance(archive, NpzFile):
            raise PredictionError(f"{path}: holds a single array, expected a file of numpy.savez_compressed")
        yield stack.enter_context(archive)


def _read_parts(path: Path) -> list[_Part]:
    """List all parts in reading order. Only meta is read."""
    paths = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    if not paths:
        raise PredictionError(f"{path}: the folder holds no .npz file, so there are no predictions in it")
    parts: list[_Part] = []
    first_text = ""
    for file in paths:
        with _open(file) as archive:
            text = _read_text(archive, "meta", file)
            place = _read_place(archive, file)
        # All parts of a run have the same meta, which may be long.
        meta = parts[0].meta if parts and text == first_text else _parse_meta(text, file)
        first_text = first_text or text
        if parts and (difference := _difference(meta, parts[0].meta)):
            raise PredictionError(
                f"{file}: meta differs from {paths[0]} in {difference}; parts of several runs are mixed"
            )
        parts.append(_Part(file, meta, place))
    return sorted(parts, key=lambda part: part.place or ())


def _parse_meta(text: str, file: Path) -> PredictionMeta:
    try:
        return PredictionMeta.from_json(json.loads(text))
    except ValueError as error:  # EGTRError and JSONDecodeError are ValueErrors
        raise PredictionError(f"{file}: meta: {error}") from error


def _difference(meta: PredictionMeta, other: PredictionMeta) -> str:
    """Name the keys in which two differ, separated by commas."""
    if meta is other:
        return ""
    pairs = zip(meta.to_json().items(), other.to_json().values(), strict=True)
    return ", ".join(key for (key, value), other_value in pairs if value != other_value)


def _read_place(archive: NpzFile, file: Path) -> _Place | None:
    if "part" not in archive:
        return None
    text = _read_text(archive, "part", file)
    try:
        place = _Place(**json.loads(text))
        if [type(value) for value in place] != [int, int, int, bool]:
            raise ValueError(f"{text} is not {', '.join(_Place._fields)}")
    except (TypeError, ValueError) as error:
        raise PredictionError(f"{file}: part: {error}; leave it out if you write files yourself") from error
    return place


def _what_is_missing(parts: list[_Part]) -> str | None:
    """Say which parts of the run are missing; None if there is none, or if the parts do not say."""
    places = [part.place for part in parts if part.place is not None]
    if not places:
        return None
    num_processes = places[0].num_processes
    numbers = {(place.process, place.number) for place in places}
    if len(numbers) < len(parts) or any(place.num_processes != num_processes for place in places):
        raise PredictionError(f"{parts[0].path.parent}: parts of several runs are mixed; keep those of one run")
    for process in range(num_processes):
        own = [place for place in places if place.process == process]
        if not own or not own[-1].last or [place.number for place in own] != list(range(len(own))):
            return f"process {process} of {num_processes} did not write all its predictions"
    return None


def _count_records(archive: NpzFile, path: Path) -> int:
    known = {"image_id", *PREDICTION_MEMBERS, *LABEL_MEMBERS, *GROUND_TRUTH_MEMBERS, *CROWD_MEMBERS}
    numbers = set()
    for member in archive.files:
        number, _, name = member.partition("/")
        if member in ("meta", "part"):
            continue
        if not number.isdecimal() or name not in known:
            raise PredictionError(f"{path}: member {member} is unknown; see docs/prediction_files.md for the names")
        numbers.add(int(number))
    if numbers != set(range(len(numbers))):
        gap = min(set(range(len(numbers))) - numbers)
        raise PredictionError(
            f"{path}: there is no record {gap}, but a later one; number records from 0 without a gap"
        )
    return len(numbers)


def _read_image_id(archive: NpzFile, index: int, path: Path) -> int | str:
    image_id = _read_array(archive, f"{index}/image_id", "iuU", f"{path}: record {index}: ")
    if image_id.ndim:
        raise PredictionError(f"{path}: record {index}: image_id is an array, expected one number or text")
    return image_id.item()


def _has_ground_truth(archive: NpzFile, index: int) -> bool:
    return any(f"{index}/{name}" in archive for name in GROUND_TRUTH_MEMBERS | CROWD_MEMBERS)


def _read_record(
    archive: NpzFile, index: int, part: _Part, image_id: int | str
) -> tuple[Prediction, GroundTruth | None]:
    where = f"{part.path}: image {image_id!r}: "

    def read(kinds: dict[str, str]) -> dict[str, np.ndarray]:
        return {name: _read_array(archive, f"{index}/{name}", kind, where) for name, kind in kinds.items()}

    labelled = any(f"{index}/{name}" in archive for name in LABEL_MEMBERS)
    members = read(PREDICTION_MEMBERS | (LABEL_MEMBERS if labelled else {}))
    truth_members = {}
    if _has_ground_truth(archive, index):
        crowded = any(f"{index}/{name}" in archive for name in CROWD_MEMBERS)
        truth_members = read(GROUND_TRUTH_MEMBERS | (CROWD_MEMBERS if crowded else {}))
    try:
        prediction = Prediction(**members)
        truth = None
        if truth_members:
            fields = {name.removeprefix("gt_"): value for name, value in truth_members.items()}
            truth = GroundTruth(**fields, image_id=image_id)
        check_record(prediction, truth, part.meta)
        prediction.image_size = tuple(members["image_size"].tolist())
    except EGTRError as error:
        raise PredictionError(f"{where}{error}") from error
    return prediction, truth


def _read_text(archive: NpzFile, member: str, file: Path) -> str:
    array = _read_array(archive, member, "U", f"{file}: ")
    if array.ndim:
        raise PredictionError(f"{file}: {member} is an array of texts, expected one text")
    return array.item()


def _read_array(archive: NpzFile, member: str, kinds: str, where: str) -> np.ndarray:
    """Read a member of the archive whose dtype is of one of ``kinds``."""
    name = member.rpartition("/")[2]
    if member not in archive:
        raise PredictionError(f"{where}{name} is missing; see docs/prediction_files.md for the contents of a record")
    try:
        known = archive.zip.NameToInfo
        size = (known.get(f"{member}.npy") or known[member]).file_size
        if size > _MAX_MEMBER_BYTES:
            raise ValueError(f"it would take {size:,} bytes")
        array = archive[member]
    except Exception as error:  # the parsers of zipfile and numpy raise many kinds
        raise PredictionError(f"{where}{name} cannot be read ({error}); write or copy the file again") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds:
        found = getattr(array, "dtype", "no array")
        wanted = " or ".join({"f": "float", "i": "int", "u": "unsigned int", "U": "text"}[kind] for kind in kinds)
        raise PredictionError(f"{where}{name} is {found}, expected {wanted}")
    return array
