"""One stream of images from any source: files, folders, videos, cameras, pixels, and lists of these."""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from types import ModuleType
from typing import Any, Union

import numpy as np
from PIL import Image

from egtr import _deprecated
from egtr.structures import ConfigurationError, DataError, EGTRError

from .image import IMAGE_SUFFIXES, ImageSource, find_images, is_tensor, load_image

logger = logging.getLogger(__name__)

__getattr__ = _deprecated.moved(
    __name__, {"Picture": "egtr.data.sources.SourceImage", "Pictures": "egtr.data.sources.ImageStream"}
)

Source = Union[ImageSource, bytearray, memoryview, int]  # noqa: UP007 - see ImageSource

# A file with one of these suffixes is a video; every other file is an image.
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv")
MEDIA_SUFFIXES = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
# Containers that state the number of their frames; of others OpenCV guesses it from length and rate.
_COUNTING_SUFFIXES = (".avi", ".m4v", ".mov", ".mp4")


@dataclass
class SourceImage:
    """One image that has not been decoded yet.

    Attributes:
        read: decodes the image, (H, W, 3) uint8, RGB. It raises DataError if that fails.
        file_name: the image or video; None for pixels, bytes and cameras.
        frame: number of the frame of a video or camera, from 0; None for images.
        time: seconds from the beginning to the frame; None for images.
    """

    read: Callable[[], np.ndarray]
    file_name: str | None = None
    frame: int | None = None
    time: float | None = None


class ImageStream:
    """The images of any source, one after the other.

    A source can be:

    - a path of an image, of a folder (the images directly in it, by name) or a pattern such as ``"*.jpg"``
      (:func:`egtr.data.image.find_images`)
    - a path of a video (by its suffix, VIDEO_SUFFIXES): each of its frames
    - a number: the camera of that index, frame by frame, endlessly
    - the bytes of an image, or a file opened in binary mode
    - a PIL image; an array (H, W) or (H, W, 3); a tensor (3, H, W)
    - a list or another iterable of these; an iterator is read one entry at a time

    URLs are refused: nothing is fetched from a network.

    Args:
        source: see above.
        channel_order: "RGB" or "BGR" for arrays and tensors with three channels; other sources state their order.
        max_pixels: largest image, see :func:`egtr.data.image.load_image`.

    Raises:
        DataError: a source is a URL, of an unknown type, or a folder or pattern without images. Later errors are
            raised by ``SourceImage.read`` of the image that they concern.
    """

    def __init__(
        self, source: Source | Iterable[Source], channel_order: str | None = None, max_pixels: int | None = None
    ):
        self._channel_order = channel_order
        self.max_pixels = max_pixels
        if _is_single(source):
            self._entries = [("", entry) for entry in _expand(source)]
        elif isinstance(source, Iterator):
            self._entries = source
        else:
            self._entries = [(f"source {i}: ", entry) for i, part in enumerate(source) for entry in _expand(part)]

    @property
    def total(self) -> int | None:
        """The number of images: an estimate if there are videos, None if it is unknown."""
        if isinstance(self._entries, Iterator) or any(isinstance(entry, Integral) for _, entry in self._entries):
            return None
        counts = [_count_frames(entry) if _is_video(entry) else 1 for _, entry in self._entries]
        return None if None in counts else sum(counts)

    def __iter__(self) -> Iterator[SourceImage]:
        if not isinstance(self._entries, Iterator):
            for where, entry in self._entries:
                yield from self._open(where, entry)
            return
        for index, part in enumerate(self._entries):
            where = f"source {index}: "
            try:
                entries = _expand(part)
            except DataError as error:
                yield SourceImage(partial(_fail, f"{where}{error}"))
                continue
            for entry in entries:
                yield from self._open(where, entry)

    def _open(self, where: str, entry: Source) -> Iterator[SourceImage]:
        if isinstance(entry, Integral) or _is_video(entry):
            yield from _read_video(entry)
        else:
            order = self._channel_order if isinstance(entry, np.ndarray) or is_tensor(entry) else None
            file_name = get_file_name(entry)
            # The name of a file says enough.
            where = "" if file_name else where
            yield SourceImage(partial(_read_image, entry, order, where, self.max_pixels), file_name)


def read_ahead(function: Callable, items: Iterable, threads: int, depth: int) -> Iterator:
    """Compute ``map(function, items)`` in threads, up to ``depth`` items ahead of the one that is asked for."""
    pool = ThreadPoolExecutor(threads)
    waiting = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # If the caller stops early, no thread keeps running.
        pool.shutdown(cancel_futures=True)


def _is_single(source: Any) -> bool:
    known = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray, Integral)
    if not isinstance(source, bool) and (isinstance(source, known) or is_tensor(source) or hasattr(source, "read")):
        return True
    if isinstance(source, bool | Mapping) or not isinstance(source, Iterable):
        raise DataError(
            f"{type(source).__name__} holds no image. Give a path, folder, pattern, video, camera index, PIL "
            "image, array, tensor, bytes or a binary file, or a list of these"
        )
    return False


def _expand(source: Any) -> list[Source]:
    """List the images and videos that one source stands for."""
    if not _is_single(source):
        raise DataError(f"{type(source).__name__} inside a list, which must hold only images and videos")
    if isinstance(source, bytearray | memoryview):
        return [bytes(source)]
    # OpenCV takes a negative number for "any camera", and ends the process if there is none.
    if isinstance(source, Integral) and source < 0:
        raise DataError(f"camera {source}: cameras are counted from 0; 0 is the first one")
    if not isinstance(source, str | os.PathLike):
        return [source]
    path = os.fspath(source)
    if "://" in path:
        raise DataError(f"{path}: is a URL, and nothing is fetched from a network. Download it, and give the file")
    return find_images([path])


def _is_video(entry: Source) -> bool:
    return isinstance(entry, str) and entry.lower().endswith(VIDEO_SUFFIXES)


def get_file_name(source: Source) -> str | None:
    """Return the name of the file that an image comes from, or None."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "name", None) or getattr(source, "filename", None)
    return name if isinstance(name, str) and name else None


def _read_image(entry: ImageSource, channel_order: str | None, where: str, max_pixels: int | None) -> np.ndarray:
    try:
        return load_image(entry, channel_order, max_pixels)
    except EGTRError as error:
        raise DataError(f"{where}{error}") from error


def _fail(message: str) -> np.ndarray:
    raise DataError(message)


def _count_frames(path: str) -> int | None:
    cv2 = _import_cv2()
    video = cv2.VideoCapture(path)
    count, rate = video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)
    video.release()
    # A guess from such a rate, which is the unit of the times and no rate, is far too high.
    is_wild = rate > 240 and not path.lower().endswith(_COUNTING_SUFFIXES)
    return None if is_wild else max(1, int(count))


def _read_video(source: str | int) -> Iterator[SourceImage]:
    """Yield the frames of a video or camera; if there is none, one image whose ``read`` raises the reason."""
    is_file = isinstance(source, str)
    name = source if is_file else f"camera {source}"
    file_name = source if is_file else None
    if is_file and not os.path.isfile(source):
        yield SourceImage(partial(_fail, f"{name}: there is no such file"), file_name)
        return
    cv2 = _import_cv2()
    video = cv2.VideoCapture(source if is_file else int(source))
    start = time.monotonic()
    frame = 0
    try:
        is_counted = is_file and source.lower().endswith(_COUNTING_SUFFIXES)
        announced = video.get(cv2.CAP_PROP_FRAME_COUNT) if is_counted else 0
        while True:
            more, pixels = video.read()
            if not more:
                break
            seconds = video.get(cv2.CAP_PROP_POS_MSEC) / 1000 if is_file else time.monotonic() - start
            # OpenCV's frames are BGR and upright.
            yield SourceImage(partial(load_image, pixels, "BGR"), file_name, frame, max(0.0, seconds))
            frame += 1
    finally:
        video.release()
    if frame == 0:
        hint = "is it a video, and whole?" if is_file else "is it there, and free?"
        yield SourceImage(partial(_fail, f"{name}: no frame can be read; {hint}"), file_name)
    elif frame < 0.9 * announced:
        logger.warning("%s: ended after %d of about %d frames; is the file whole?", name, frame, announced)


def _import_cv2() -> ModuleType:
    # Here, because images need no OpenCV, and an environment of egtr.lite may lack it.
    try:
        import cv2
    except ImportError as error:
        raise ConfigurationError("videos need OpenCV: pip install opencv-python-headless") from error
    return cv2
