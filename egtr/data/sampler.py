"""The order of training images: it depends only on the seed, so that a resumed run can continue it."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice

from torch.utils.data import Sampler, get_worker_info


class ResumableSampler(Sampler[int]):
    """Endless indices of images, batch by batch, starting from any batch.

    Detectron2 groups images by aspect ratio after reading them. There skipping a batch costs as much as loading
    it, and the order depends on the number of workers. Here the same rule groups indices: an index waits until
    ``batch_size`` indices of its group have come. A worker of a ``DataLoader`` iterates the sampler directly
    (``shard_sampler=False``): worker w of W has every W-th batch, beginning with number w.

    Args:
        make: called as ``make(seed=seed)`` when iteration begins; returns the endless indices of this process.
        seed: decides the order. It may be assigned before iterating; None if ``make`` does not depend on it.
        batch_size: number of images in a batch of this process.
        groups: (number of images,) the group of each image; None: batches in the order of the indices.

    Attributes:
        skip: number of batches that iterators made from now on leave out at the beginning.
    """

    def __init__(
        self,
        make: Callable[..., Iterable[int]],
        seed: int | None,
        batch_size: int,
        groups: Sequence[int] | None = None,
    ):
        self.make = make
        self.seed = seed
        self.batch_size = batch_size
        self.groups = groups
        self.skip = 0

    def __iter__(self) -> Iterator[int]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return chain.from_iterable(islice(self._batches(), self.skip + first, None, step))

    def _batches(self) -> Iterator[list[int]]:
        waiting: dict[int, list[int]] = defaultdict(list)
        for index in self.make(seed=self.seed):
            group = 0 if self.groups is None else self.groups[index]
            waiting[group].append(index)
            if len(waiting[group]) == self.batch_size:
                yield waiting.pop(group)
