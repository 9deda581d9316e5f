"""Images that cannot be used: left out and counted (DATALOADER.SKIP_BROKEN)."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from egtr.structures import DataError, EGTRError

logger = logging.getLogger(__name__)

# The first images are named one by one as they turn up; the others are only counted.
NUM_NAMED = 10


class SkipBroken(Dataset):
    """A dataset of mapped records that skips records whose mapping raises :class:`EGTRError`.

    The indices of broken records are kept in memory that the workers of a ``DataLoader`` share with the process
    that made the dataset, however they are started.

    Args:
        records: n dataset dicts.
        mapper: turns a dataset dict into the input of the model.
        unsound: number of images that were left out before, for errors in their annotations; for the count.
        replace: another image takes the place of a broken one, so that batches stay full. Its choice depends only
            on the index, so that the order of images is the same for any number of workers and for a resumed run.
            False: None takes its place.

    Raises:
        DataError: on access, if ``replace`` finds only broken images.
    """

    def __init__(
        self,
        records: Sequence[dict[str, Any]],
        mapper: Callable[[dict[str, Any]], Any],
        *,
        unsound: int = 0,
        replace: bool = True,
    ):
        self.records = records
        self.mapper = mapper
        self.unsound = unsound
        self.replace = replace
        # One byte a record: no lock is needed, and an image that comes again counts once.
        self._broken = torch.zeros(len(records), dtype=torch.uint8).share_memory_()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Any:
        mapped = self._try(index)
        if mapped is not None or not self.replace:
            return mapped
        for other in np.random.default_rng(index).permutation(len(self.records)).tolist():
            mapped = self._try(other)
            if mapped is not None:
                return mapped
        raise DataError(
            f"DATALOADER.SKIP_BROKEN: all {len(self.records)} images are broken, so nothing is left to train on. "
            f"{self._why(index)}"
        )

    def broken(self) -> list[int]:
        """List the indices of broken records that this process and the workers of its loader have found so far."""
        return torch.nonzero(self._broken).flatten().tolist()

    def describe(self, broken: Sequence[int]) -> str:
        """Say how many images are left out, with the file names of the first few of ``broken``."""
        names = ", ".join(str(self.records[index].get("file_name")) for index in broken[:NUM_NAMED])
        listed = f": {names}{', ...' if len(broken) > NUM_NAMED else ''}" if broken else ""
        unsound = f"; before that, {self.unsound} with errors in their annotations" if self.unsound else ""
        return f"{len(broken)} of {len(self)} images were broken and left out{listed}{unsound}"

    def _try(self, index: int) -> Any:
        if self._broken[index]:
            return None
        try:
            return self.mapper(self.records[index])
        except EGTRError as error:
            found_before = int(self._broken.sum())
            self._broken[index] = 1
            if found_before < NUM_NAMED:
                rest = "; further ones are only counted" if found_before + 1 == NUM_NAMED else ""
                logger.warning("DATALOADER.SKIP_BROKEN leaves out %s%s", error, rest)
            return None

    def _why(self, index: int) -> str:
        try:
            self.mapper(self.records[index])
        except EGTRError as error:
            return f"One of them: {error}"
        return ""
