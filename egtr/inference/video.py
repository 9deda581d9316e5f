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
from egtr.visualization.video import VideoDrawer

# Formats that OpenCV encodes by itself on any machine. Browsers play WebM.
CODECS = {".mp4": "mp4v", ".webm": "VP80", ".avi": "MJPG"}
# Frames per second of cameras, which seldom report a rate, and of files without a rate.
CAMERA_RATE, DEFAULT_RATE = 10.0, 25.0


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

    def write(self, pixels: np.ndarray) -> None:
        """Add a frame, (H, W, 3) uint8, RGB. All frames have the size of the first one."""
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            codec = cv2.VideoWriter_fourcc(*CODECS[self.path.suffix.lower()])
            self._writer = cv2.VideoWriter(str(self.path), codec, self.rate, pixels.shape[1::-1])
            if not self._writer.isOpened():
                raise WriteError(f"{self.path}: cannot be written; is the folder writable, and the disk not full?")
        self._writer.write(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.release()


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

    A camera is recorded until Ctrl-C; frames are repeated so that the video takes as long as the recording.

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
        WriteError: the video cannot be written.
    """
    path = Path(path)
    is_camera = isinstance(source, int)
    if not is_camera and not os.path.isfile(source):
        raise DataError(f"{source}: there is no such file")
    if not is_camera and os.path.realpath(source) == os.path.realpath(path):
        raise ConfigurationError(f"{path}: is the video to read; choose another file")
    images = ImageStream(source)
    rate = CAMERA_RATE if is_camera else _read_rate(source)
    drawer = VideoDrawer(show_scores=show_scores)
    drawn = written = 0
    with ExitStack() as stack:
        video = stack.enter_context(VideoFile(path, rate))
        lines = None
        # Ctrl-C is how a recording ends.
        stack.enter_context(suppress(KeyboardInterrupt) if is_camera else nullcontext())
        results = predictor.predict(images, batch_size=batch_size, threads=threads)
        for result in tqdm(results, total=images.total, unit="frame", disable=not progress):
            if result.error is not None:
                raise result.error
            graph = select(result.graph)
            pixels = drawer.draw(result.image, graph)
            due = round(graph.time * rate) + 1 if is_camera else written + 1
            for _ in range(due - written):
                video.write(pixels)
                written += 1
            if save_graphs:
                if lines is None:
                    lines = stack.enter_context(path.with_suffix(".jsonl").open("w", encoding="utf-8"))
                lines.write(json.dumps(graph.to_dict()) + "\n")
            drawn += 1
    return drawn


def _read_rate(path: str) -> float:
    video = cv2.VideoCapture(path)
    try:
        rate = video.get(cv2.CAP_PROP_FPS)
    finally:
        video.release()
    return rate if 0 < rate <= 240 else DEFAULT_RATE
