"""Numbers of objects that stay the same from frame to frame of a video."""

from dataclasses import dataclass

import numpy as np

from egtr.structures import SceneGraph
from egtr.structures.boxes import pairwise_iou


@dataclass
class _Track:
    number: int
    class_id: int
    rank: int
    box: np.ndarray
    missed: int = 0


@dataclass(frozen=True)
class Tracked:
    """The numbers of the objects of one frame; row i is object i of the graph.

    Attributes:
        numbers: (N,) int64, the number of the object in the video, from 0.
        ranks: (N,) int64, its number among the objects of its class, from 1.
        is_new: (N,) bool, true if it was in no earlier frame.
    """

    numbers: np.ndarray
    ranks: np.ndarray
    is_new: np.ndarray


class ObjectTracker:
    """Recognises objects from frame to frame, so that drawings can keep their colours.

    The rule: an object is matched to the earlier object of its class whose last box it overlaps most, with an IoU of
    more than ``iou``. The pair of highest IoU is matched first, and each object at most once. An object without a
    match is new and gets the lowest free number. An object that is not found keeps its number for ``memory`` frames.

    Only boxes and classes are compared. That is enough for colours, but too little to count or follow anything: an
    object that leaps, or whose class flickers, becomes a new one.

    Args:
        iou: threshold in 0..1 of intersection over union, compared with ``>``.
        memory: number of frames.
    """

    def __init__(self, iou: float = 0.3, memory: int = 8):
        self.iou = iou
        self.memory = memory
        self._tracks: list[_Track] = []

    def update(self, graph: SceneGraph) -> Tracked:
        """Number the objects of the next frame."""
        found = self._match(graph)
        is_new = ~np.isin(np.arange(len(graph.boxes)), list(found))
        for track in self._tracks:
            track.missed += 1
        for i, (box, class_id) in enumerate(zip(graph.boxes, graph.classes, strict=True)):
            if i in found:
                found[i].box, found[i].missed = box, 0
                continue
            number = _least_free({track.number for track in self._tracks}, start=0)
            rank = _least_free({track.rank for track in self._tracks if track.class_id == class_id}, start=1)
            found[i] = _Track(number, int(class_id), rank, box)
            self._tracks.append(found[i])
        self._tracks = [track for track in self._tracks if track.missed <= self.memory]
        objects = [found[i] for i in range(len(graph.boxes))]
        return Tracked(
            numbers=np.array([track.number for track in objects], dtype=np.int64),
            ranks=np.array([track.rank for track in objects], dtype=np.int64),
            is_new=is_new,
        )

    def _match(self, graph: SceneGraph) -> dict[int, _Track]:
        boxes = np.array([track.box for track in self._tracks], dtype=np.float32).reshape(-1, 4)
        classes = np.array([track.class_id for track in self._tracks], dtype=np.int64)
        overlap = np.where(classes[:, None] == graph.classes, pairwise_iou(boxes, graph.boxes), 0.0)
        found: dict[int, _Track] = {}
        while overlap.size and overlap.max() > self.iou:
            t, i = np.unravel_index(overlap.argmax(), overlap.shape)
            found[int(i)] = self._tracks[t]
            overlap[t], overlap[:, i] = 0, 0
        return found


def _least_free(taken: set[int], start: int) -> int:
    return next(number for number in range(start, start + len(taken) + 1) if number not in taken)
