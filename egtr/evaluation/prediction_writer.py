"""Writing of prediction files while a model runs, see docs/prediction_files.md."""

import contextlib
import json
import operator
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from egtr.structures import ConfigurationError, EGTRError, GroundTruth, Prediction, PredictionError, WriteError
from egtr.structures.files import replacing

from .prediction_format import (
    CROWD_MEMBERS,
    GROUND_TRUTH_MEMBERS,
    LABEL_MEMBERS,
    PREDICTION_MEMBERS,
    PredictionMeta,
    check_record,
)
from .pruning import prune_prediction


class PredictionWriter:
    """Writes a prediction file record by record; a context manager.

    A path that ends in ``.npz`` becomes one file, which appears when the writer is closed. Any other path becomes a
    folder of parts ``part-<process>-<number>.npz``. Each part appears when it is complete, so that a run that is
    killed loses at most the open part. An exception closes the open part with the records that it holds, unless
    writing itself failed. Several processes may write into one folder, each its own parts.

    The file records whether all processes reached their end. If not, :func:`read_predictions` refuses it.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        meta: PredictionMeta | None = None,
        *,
        process: int = 0,
        num_processes: int = 1,
        records_per_part: int = 200,
        overwrite: bool = False,
    ):
        """Open the first part.

        Args:
            path: a file that ends in ``.npz``, or a folder. Missing parent folders are created.
            meta: the properties of all records, the same in every process; None: the defaults.
            process, num_processes: the number of this process, 0..num_processes - 1, and of all processes.
            records_per_part: images in a part of a folder.
            overwrite: remove the predictions of an earlier run. Every process removes the parts that it will write
                again; process 0 also removes the parts of processes that no longer exist.

        Raises:
            WriteError: there are predictions already and ``overwrite`` is False, or ``path`` is no folder.
            ConfigurationError: several processes and one file.
        """
        self.path, self.meta = Path(path), meta or PredictionMeta()
        self._process, self._num_processes = process, num_processes
        self._one_file = self.path.suffix == ".npz"
        self._records_per_part = records_per_part
        if self._one_file and num_processes > 1:
            raise ConfigurationError(f"{self.path}: {num_processes} processes cannot write one file; name a folder")
        self._make_room(overwrite)
        self._image_ids: set[int | str] = set()
        self._part = 0
        self._open_part()

    def write(self, image_id: int | str, prediction: Prediction, ground_truth: GroundTruth | None = None) -> None:
        """Write one image, pruned to ``meta.max_rank``.

        Raises:
            PredictionError: the record holds NaN or disagrees with ``meta``, or the image was written before. Nothing
                of it is written, and the writer can go on with the next image.
            WriteError: the file was closed, or an earlier record could not be written.
        """
        image_id = image_id if isinstance(image_id, str) else operator.index(image_id)
        if self._zip is None:
            raise WriteError(f"{self.path}: image {image_id!r}: the file was closed, or could not be written")
        try:
            check_record(prediction, ground_truth, self.meta)
            if image_id in self._image_ids:
                raise PredictionError("it was written before; every image has one record")
            if self.meta.max_rank is not None:
                prediction = prune_prediction(prediction, self.meta.max_rank)
        except EGTRError as error:
            raise PredictionError(f"{self.path}: image {image_id!r}: {error}") from error
        if self._count == self._records_per_part and not self._one_file:
            self._finish_part(last=False)
            self._part += 1
            self._open_part()
        fields = PREDICTION_MEMBERS | (LABEL_MEMBERS if prediction.classes is not None else {})
        members = {"image_id": image_id} | {name: getattr(prediction, name) for name in fields}
        if ground_truth is not None:
            names = GROUND_TRUTH_MEMBERS | (CROWD_MEMBERS if len(ground_truth.crowd_boxes) else {})
            members |= {name: getattr(ground_truth, name.removeprefix("gt_")) for name in names}
        try:
            for name, value in members.items():
                self._write_member(f"{self._count}/{name}", value)
        except BaseException as error:
            # Half a record would make the whole part unreadable.
            self._discard_part(error)
            raise
        self._image_ids.add(image_id)
        self._count += 1

    def close(self, complete: bool = True) -> None:
        """Finish the open part.

        Args:
            complete: False if images are missing because the run was cut short.
        """
        if self._zip is not None:
            self._finish_part(last=complete)

    def __enter__(self) -> "PredictionWriter":
        return self

    def __exit__(self, exc_type, exc_value, traceback) -> None:
        self.close(complete=exc_type is None)

    def _make_room(self, overwrite: bool) -> None:
        if self._one_file:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            former = [self.path] if self.path.exists() else []
        else:
            if self.path.exists() and not self.path.is_dir():
                raise WriteError(f"{self.path}: is a file; name a folder, or a file that ends in .npz")
            self.path.mkdir(parents=True, exist_ok=True)
            # Without overwrite a process must not complain about the parts that other processes have just begun.
            former = [path for path in self.path.glob("part-[0-9]*-[0-9]*.npz*") if self._replaces(path.name)]
        if former and not overwrite:
            raise WriteError(f"{former[0]}: holds predictions of an earlier run; remove it or name another place")
        if not self._one_file:
            for path in former:
                path.unlink()

    def _replaces(self, name: str) -> bool:
        process = int(name.split("-")[1])
        return process == self._process or (self._process == 0 and process >= self._num_processes)

    def _open_part(self) -> None:
        self._target = self.path
        if not self._one_file:
            self._target = self.path / f"part-{self._process:04d}-{self._part:05d}.npz"
        self._part_file = replacing(self._target)
        self._zip = zipfile.ZipFile(self._part_file.__enter__(), "w", zipfile.ZIP_DEFLATED)
        self._count = 0

    def _write_member(self, name: str, value: Any) -> None:
        # As numpy.savez_compressed does, but one member at a time.
        with self._zip.open(f"{name}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array(file, np.asarray(value), allow_pickle=False)

    def _finish_part(self, last: bool) -> None:
        part = {"process": self._process, "num_processes": self._num_processes, "number": self._part, "last": last}
        try:
            self._write_member("meta", json.dumps(self.meta.to_json()))
            self._write_member("part", json.dumps(part))
            self._zip.close()
        except BaseException as error:
            self._discard_part(error)
            raise
        self._zip = None
        self._part_file.__exit__(None, None, None)

    def _discard_part(self, error: BaseException) -> None:
        # Closing writes a table of contents, which may fail again.
        with contextlib.suppress(OSError, ValueError):
            self._zip.close()
        self._zip = None
        self._part_file.__exit__(type(error), error, error.__traceback__)
