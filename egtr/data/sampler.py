"""The order of training images, as a function of the seed that a resumed run can go on with."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, islice

from torch.utils.data import Sampler, get_worker_info


class ResumableSampler(Sampler[int]):
    """Indices of an endless sampler, batch by batch, from any batch on.

    Detectron2 groups images by aspect ratio behind the reading of images, where skipping a batch costs as much
    as loading it, and where the order depends on the number of workers. Here indices are grouped, by the same rule:
    an index waits until ``batch_size`` of its group have come. In a worker of a ``DataLoader`` iterate it directly
    (``shard_sampler=False``): of W workers, number w has every W-th batch from number w on.

    Args:
        sampler: endless; the indices of this process.
        batch_size: of this process.
        groups: (number of images,) the group of each image; None makes batches of what comes.

    Attributes:
        skip: batches left out at the beginning. It counts for iterators made afterwards.
    """

    def __init__(self, sampler: Sampler[int], batch_size: int, groups: Sequence[int] | None = None):
        self.sampler = sampler
        self.batch_size = batch_size
        self.groups = groups
        self.skip = 0

    @property
    def seed(self) -> int | None:
        """Seed of ``sampler``, where it is one of Detectron2's; assign it before iterating to get another order."""
        return getattr(self.sampler, "_seed", None)

    @seed.setter
    def seed(self, seed: int) -> None:
        self.sampler._seed = seed

    def __iter__(self) -> Iterator[int]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return chain.from_iterable(islice(self._batches(), self.skip + first, None, step))

    def _batches(self) -> Iterator[list[int]]:
        waiting: dict[int, list[int]] = defaultdict(list)
        for index in self.sampler:
            group = 0 if self.groups is None else self.groups[index]
            waiting[group].append(index)
            if len(waiting[group]) == self.batch_size:
                yield waiting.pop(group)
