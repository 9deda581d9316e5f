"""Images of datasets, as training and evaluation read them."""

import os
from typing import Any
from urllib.parse import unquote

from egtr import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing
import numpy as np
from detectron2.data import detection_utils
from detectron2.utils.file_io import PathManager
from PIL import ExifTags, Image

from egtr.structures import DataError

from .image import (
    CHANNEL_ORDERS,
    DECODING_ERRORS,
    IMAGE_SUFFIXES,
    TooLargeError,
    describe_error,
    open_header,
    stored_name,
    to_rgb,
)


class BrokenImageError(DataError):
    """An image of a dataset cannot be used.

    Attributes:
        kind: "missing-image", "truncated-image", "unreadable-image", "too-large", or "size-mismatch" if its size is
            not that of the annotated image.
    """

    # DataLoader workers send an error to the main process by its message only, so kind has a default.
    def __init__(self, message: str, kind: str = "unreadable-image"):
        super().__init__(message)
        self.kind = kind


def read_annotated_image(
    record: dict[str, Any], image_format: str = "RGB", max_pixels: int | None = None
) -> np.ndarray:
    """Read the image of a dataset dict for training or evaluation, turned upright by EXIF.

    A file is found under both Unicode forms of letters with accents.

    "RGB" and "BGR" images are converted as :func:`egtr.data.image.load_image` does, so that a model sees 16-bit,
    CMYK and transparent images in training as in prediction. Detectron2 reads other formats.

    Args:
        record: a dict with ``file_name``. ``height`` and ``width`` are compared with the image, or set if they are
            missing.
        image_format: "RGB", "BGR" or another one that :func:`detectron2.data.detection_utils.read_image` knows.
        max_pixels: see :func:`egtr.data.image.load_image`.

    Returns:
        (H, W, 3) uint8 for "RGB" and "BGR".

    Raises:
        BrokenImageError: the image is missing, too large, cannot be decoded to its end, or has another size.
    """
    file_name = record["file_name"]
    try:
        image = _read(file_name, image_format, max_pixels)
    except TooLargeError as error:
        raise BrokenImageError(str(error), "too-large") from error
    except FileNotFoundError as error:
        message = f"{file_name}: cannot be read as an image: there is no such file. {_hint_at_name(file_name)}"
        raise BrokenImageError(message, "missing-image") from error
    except DECODING_ERRORS as error:
        truncated = isinstance(error, EOFError) or "truncated" in str(error).lower()
        message = (
            f"{file_name}: cannot be read as an image ({describe_error(error, file_name)}). Copy it there again."
        )
        raise BrokenImageError(message, "truncated-image" if truncated else "unreadable-image") from error
    try:
        detection_utils.check_image_size(record, image)
    except detection_utils.SizeMismatchError as error:
        message = (
            f"{file_name}: fields height, width are {record['height']}, {record['width']}, but the image is "
            f"{image.shape[0]} high and {image.shape[1]} wide. {_explain_size(record, image, file_name)}"
        )
        raise BrokenImageError(message, "size-mismatch") from error
    return image


def _explain_size(record: dict[str, Any], image: np.ndarray, file_name: str) -> str:
    """Say why an image, (H, W, 3) or (H, W), has another size than its record, and what to do."""
    if (record["width"], record["height"]) != image.shape[:2]:
        return "The annotations belong to another copy of it."
    with PathManager.open(file_name, "rb") as file, Image.open(file) as stored:
        orientation = stored.getexif().get(ExifTags.Base.Orientation, 1)
    if orientation < 5:
        return "The two are swapped: was the image turned after it was annotated? Swap them if the boxes fit."
    return (
        f"The two are swapped: the file stores the image lying, and its EXIF orientation, {orientation}, turns "
        "it, but the annotations were made before. Save the image without EXIF orientation, or turn the boxes too."
    )


def _hint_at_name(file_name: str) -> str:
    if "\\" in file_name:
        return 'Its name has backslashes, from Windows: write "/" between folders, below the folder of images.'
    folder, name = os.path.split(file_name)
    names = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
    for differs, key in (
        ("upper and lower case differ", str.casefold),
        ("the name is written as in an address", unquote),
        ("blanks differ", str.strip),
        ("the ending differs", _stem),
    ):
        near = next((other for other in names if key(other) == key(name)), None)
        if near is not None:
            return f"There is {near!r}: {differs}. Write the name as the file has it."
    return "Copy it there."


def _stem(name: str) -> str:
    return os.path.splitext(name)[0] if name.lower().endswith(IMAGE_SUFFIXES) else name


def _read(file_name: str, image_format: str, max_pixels: int | None) -> np.ndarray:
    file_name = stored_name(file_name)
    with PathManager.open(file_name, "rb") as file, open_header(file, file_name, max_pixels) as image:
        pixels = to_rgb(image, file_name) if image_format in CHANNEL_ORDERS else None
    if pixels is None:
        # A copy, since Pillow returns a read-only array, and torch warns when fvcore flips one.
        return np.array(detection_utils.read_image(file_name, format=image_format))
    return pixels if image_format == "RGB" else np.ascontiguousarray(pixels[:, :, ::-1])
