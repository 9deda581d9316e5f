"""Video files: each frame with its graph beside it."""

import json
import os
from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path

import cv2
import numpy as np
from tqdm.auto import tqdm

from egtr.data.sources import ImageStream
from egtr.structures import ConfigurationError, DataError, Predictor, SceneGraph, WriteError
from egtr.structures.files import writing
from egtr.visualization.video import VideoDrawer

# Formats that OpenCV encodes by itself on any machine. Browsers play WebM.
CODECS = {".mp4": "mp4v", ".webm": "VP80", ".avi": "MJPG"}
# Frames per second of cameras, and of files whose frames have no times and that state no rate.
CAMERA_RATE, DEFAULT_RATE = 10.0, 25.0
# Frames per second of a video that is written: of any, and of one whose frames come at irregular times.
_RATES, _IRREGULAR_RATES = (1.0, 1000.0), (1.0, 240.0)


class VideoFile:
    """Writes a video; a context manager, so that the file is complete even after an error.

    Args:
        path: its suffix is one of CODECS; parent folders are made.
        rate: frames per second.

    Raises:
        ConfigurationError: the suffix is not one of CODECS.
        WriteError: the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], rate: float):
        self.path = Path(path)
        if self.path.suffix.lower() not in CODECS:
            raise ConfigurationError(
                f"{path}: suffix {self.path.suffix!r} is no format of videos; take {', '.join(CODECS)}"
            )
        self.rate = rate
        self._writer: cv2.VideoWriter | None = None
        self._last: np.ndarray | None = None
        self._written = 0

    def write(self, pixels: np.ndarray, number: int) -> None:
        """Show a frame from the frame ``number`` of the video on, until the next one that is given.

        Args:
            pixels: (H, W, 3) uint8, RGB. All frames have the size of the first one.
            number: from 0, never less than before. Of several frames with one number, the last one is shown.
        """
        if self._writer is None:
            with writing(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
            codec = cv2.VideoWriter_fourcc(*CODECS[self.path.suffix.lower()])
            self._writer = cv2.VideoWriter(str(self.path), codec, self.rate, pixels.shape[1::-1])
            if not self._writer.isOpened():
                raise WriteError(f"{self.path}: cannot be written; is the folder writable, and the disk not full?")
        self._fill(number)
        self._last = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)

    def _fill(self, end: int) -> None:
        while self._last is not None and self._written < end:
            self._writer.write(self._last)
            self._written += 1

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._writer is None:
            return
        self._fill(self._written + 1)
        self._writer.release()
        # OpenCV says nothing of a full disk.
        found = len(_read_times(str(self.path)))
        if kind is None and found != self._written:
            if not found:
                self.path.unlink(missing_ok=True)
            raise WriteError(
                f"{self.path}: is not whole, {found} of {self._written} frames can be read back; is the disk full?"
            )


def export_video(
    predictor: Predictor,
    source: str | int,
    path: str | os.PathLike[str],
    *,
    save_graphs: bool = False,
    select: Callable[[SceneGraph], SceneGraph] = SceneGraph.for_display,
    show_scores: bool = False,
    batch_size: int = 1,
    threads: int = 1,
    progress: bool = True,
) -> int:
    """Write a video with the graph of each frame beside it.

    The video takes as long as its source: each frame is shown at the time that it has there. Where frames come at
    irregular times, as from phones, browsers and cameras, they are repeated as often as that needs. A camera is
    recorded until Ctrl-C.

    Args:
        predictor: the model, see :class:`egtr.structures.Predictor`.
        source: the file of a video, or the index of a camera.
        path: the video to write, with a suffix of CODECS.
        save_graphs: also write the graphs, one JSON object a line, to ``path`` with the suffix ``.jsonl``.
        select, show_scores, batch_size, threads, progress: see :func:`egtr.inference.export_scene_graphs`.

    Returns:
        The number of frames of the source that were drawn.

    Raises:
        DataError: the source cannot be read.
        ConfigurationError: ``path`` is the source, or its suffix is not one of CODECS.
        WriteError: the video or its graphs cannot be written, or not all of its frames can be read back.
    """
    path = Path(path)
    is_camera = isinstance(source, int)
    if not is_camera and not os.path.isfile(source):
        raise DataError(f"{source}: there is no such file")
    if not is_camera and os.path.realpath(source) == os.path.realpath(path):
        raise ConfigurationError(f"{path}: is the video to read; choose another file")
    images = ImageStream(source)
    rate, numbers = (CAMERA_RATE, None) if is_camera else _schedule(str(source))
    drawer = VideoDrawer(show_scores=show_scores)
    drawn = number = 0
    start: float | None = None
    with ExitStack() as stack:
        video = stack.enter_context(VideoFile(path, rate))
        lines = None
        # Ctrl-C is how a recording ends.
        stack.enter_context(suppress(KeyboardInterrupt) if is_camera else nullcontext())
        results = predictor.predict(images, batch_size=batch_size, threads=threads)
        total = None if is_camera else len(numbers)
        for result in tqdm(results, total=total, unit="frame", disable=not progress):
            if result.error is not None:
                raise result.error
            graph = select(result.graph)
            if is_camera:
                start = graph.time if start is None else start
                number = round((graph.time - start) * rate)
            else:
                number = numbers[drawn] if drawn < len(numbers) else number + 1
            video.write(drawer.draw(result.image, graph), number)
            if save_graphs:
                with writing(path.with_suffix(".jsonl")):
                    if lines is None:
                        lines = stack.enter_context(path.with_suffix(".jsonl").open("w", encoding="utf-8"))
                    lines.write(json.dumps(graph.to_dict()) + "\n")
                    # Now, so that a full disk is noticed at this frame.
                    lines.flush()
            drawn += 1
    return drawn


def _schedule(path: str) -> tuple[float, list[int]]:
    """Choose frames per second for a copy of a video, and the number that each of its frames has in the copy.

    The rate that a file states is often none of its own: WebM and Matroska may state 1000, the unit of their times.
    """
    video = cv2.VideoCapture(path)
    stated = video.get(cv2.CAP_PROP_FPS)
    video.release()
    times = np.array(_read_times(path))
    in_order = list(range(len(times)))
    steps = np.diff(times)
    forward = steps[steps > 0]
    if len(forward) <= len(steps) / 2:
        return stated if 0 < stated <= _IRREGULAR_RATES[1] else DEFAULT_RATE, in_order
    times -= times[0]
    for rate in (stated, len(steps) / times.max()):
        if _RATES[0] <= rate <= _RATES[1] and (np.round(times * rate) == in_order).all():
            return _round_rate(rate), in_order
    # As quick as all but the quickest frames follow one another.
    rate = _round_rate(float(np.clip(1 / np.quantile(forward, 0.1), *_IRREGULAR_RATES)))
    return rate, np.maximum.accumulate(np.round(times * rate).astype(int)).tolist()


def _round_rate(rate: float) -> float:
    # MPEG-4 knows no finer ones.
    return round(rate, 3 if rate < 65 else 2 if rate < 655 else 1)


def _read_times(path: str) -> list[float]:
    """Read the time of each frame that can be decoded, in seconds."""
    video = cv2.VideoCapture(path)
    times = []
    while video.grab():
        times.append(video.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    video.release()
    return times
