"""Images of any format, mode and orientation, converted into the RGB arrays that models read."""

import io
import os
import sys
import unicodedata
import warnings
from collections.abc import Iterable
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeGuard, Union

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from egtr.structures import ConfigurationError, DataError

if TYPE_CHECKING:
    import torch

ImageSource = Union[  # noqa: UP007 - the name of a class that is not imported
    str, os.PathLike[str], bytes, bytearray, memoryview, BinaryIO, Image.Image, np.ndarray, "torch.Tensor"
]

# The errors by which Pillow's decoders report damage; AVIF's raises a RuntimeError.
DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, Image.DecompressionBombError)

# Formats that Pillow reads without running another program (EPS needs one).
FORMATS = tuple(
    "AVIF BLP BMP DDS DIB GIF ICNS ICO JPEG JPEG2000 PCX PNG PPM PSD QOI SGI TGA TIFF WEBP XBM XPM".split()
)

# Images that a folder is searched for. A file that is named directly may have any suffix.
IMAGE_SUFFIXES = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
CHANNEL_ORDERS = ("RGB", "BGR")


class TooLargeError(DataError):
    """A file whose header says that it has more pixels than are allowed."""


def stored_name(file_name: str) -> str:
    """Return the name of a file, whose letters with accents may be stored in the other form of Unicode."""
    if file_name.isascii() or os.path.exists(file_name):
        return file_name
    forms = (unicodedata.normalize(form, file_name) for form in ("NFC", "NFD"))
    return next((name for name in forms if os.path.exists(name)), file_name)


def open_header(source: Any, name: str, max_pixels: int | None) -> Image.Image:
    """Open an image and read only its header, which decides whether the rest may be read."""
    limit = Image.MAX_IMAGE_PIXELS if max_pixels is None else max_pixels
    if max_pixels is not None and Image.MAX_IMAGE_PIXELS is not None:
        # Pillow's own limit has to be lifted in every worker if the configuration allows more.
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, max_pixels)
    remedy = "Scale it down, or raise INPUT.MAX_PIXELS or PIL.Image.MAX_IMAGE_PIXELS"
    try:
        image = Image.open(source, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLargeError(f"{name}: too large ({error}). {remedy}") from error
    if limit is not None and image.width * image.height > limit:
        size = f"{image.width} x {image.height} pixels"
        image.close()
        raise TooLargeError(f"{name}: too large: {size}, more than {limit:,} in all. {remedy}")
    return image


def describe_error(error: Exception, file_name: str) -> str:
    if not isinstance(error, UnidentifiedImageError):
        return str(error)
    # Pillow's own message names the opened file object.
    empty = os.path.isfile(file_name) and os.path.getsize(file_name) == 0
    return "the file is empty" if empty else "not in any format that Pillow reads"


def load_image(source: ImageSource, channel_order: str | None = None, max_pixels: int | None = None) -> np.ndarray:
    """Load an image as people see it.

    Orientation by EXIF is applied. Grayscale, palette, bilevel, CMYK, YCbCr and LAB images become RGB (CMYK by
    its embedded colour profile, if any). Transparency is laid on white. 16-bit gray is scaled to 8 bits. 32-bit
    gray, which has no agreed range, is stretched from its least to its greatest value. The first image of an
    animation, or of a file with several pages, is taken.

    Args:
        source: a path, the bytes of a file, a file opened in binary mode, a PIL image, or pixels: an array of shape
            (H, W) or (H, W, 3), or a tensor of shape (3, H, W), with values 0..255.
        channel_order: "RGB" or "BGR" (as ``cv2.imread`` returns). Needed for pixels with three channels; not
            allowed for other sources, which state their order.
        max_pixels: height times width above which a file is refused by its header, before it is decoded; None:
            ``PIL.Image.MAX_IMAGE_PIXELS``, 89 million.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        DataError: the source is missing, no image, damaged or too large, or pixels have another shape or range.
        ConfigurationError: ``channel_order`` is missing, or given for a source that states its order.
    """
    if isinstance(source, np.ndarray) or is_tensor(source):
        return _from_pixels(source, channel_order)
    if channel_order is not None:
        raise ConfigurationError("channel_order is for arrays and tensors; files and PIL images state their order")
    if isinstance(source, Image.Image):
        return to_rgb(source, "PIL image")
    if not isinstance(source, str | os.PathLike | bytes | bytearray | memoryview) and not hasattr(source, "read"):
        raise DataError(
            f"{type(source).__name__}: not an image; give one as a path, bytes, an open file, a PIL image or pixels. "
            "Several images are for predict"
        )
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else getattr(source, "name", "image")
    if isinstance(source, bytes | bytearray | memoryview):
        source = io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        source = stored_name(os.fspath(source))
    try:
        with open_header(source, str(name), max_pixels) as image:
            return to_rgb(image, str(name))
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{name}: there is no such file") from error
    except IsADirectoryError as error:
        raise DataError(f"{name}: is a folder, not an image") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{name}: not an image in any format that Pillow reads") from error
    except DECODING_ERRORS as error:
        raise DataError(f"{name}: cannot be read as an image ({error}); is the file whole?") from error


def find_images(inputs: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Find the paths of images in files, folders and patterns.

    A folder stands for the images directly in it, by suffix; a pattern (``*``, ``?``, ``[...]``, and ``**`` for
    any depth) stands for the images that match it. A name without wildcards stands for itself, even if it does not
    exist: reading it then says so. No path comes twice.

    Raises:
        DataError: a folder or pattern holds no image.
    """
    found: dict[str, None] = {}
    for entry in map(os.fspath, inputs):
        entry = os.path.expanduser(entry)
        # A file with brackets in its own name is no pattern.
        if os.path.isdir(entry):
            paths = [str(path) for path in Path(entry).iterdir()]
        elif has_magic(entry) and not os.path.exists(entry):
            paths = glob(entry, recursive=True)
        else:
            found[entry] = None
            continue
        paths = sorted(p for p in paths if p.lower().endswith(IMAGE_SUFFIXES) and os.path.isfile(p))
        if not paths:
            raise DataError(f"{entry}: no image there; looked for {', '.join(IMAGE_SUFFIXES)}")
        found.update(dict.fromkeys(paths))
    return list(found)


def to_rgb(image: Image.Image, name: str) -> np.ndarray:
    if min(image.size) < 1:
        raise DataError(f"{name}: the image has no pixels")
    profile = image.info.get("icc_profile")
    image = ImageOps.exif_transpose(image)
    if image.mode in ("CMYK", "LAB"):
        image = _through_profile(image, profile)
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    elif image.mode in ("I", "F"):
        image = Image.fromarray(_stretch(np.asarray(image, dtype=np.float64)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(background, image)
    return np.array(image.convert("RGB"))


def _stretch(values: np.ndarray) -> np.ndarray:
    """Stretch the least to the greatest finite value over 0..255; other values count as the least."""
    finite = np.isfinite(values)
    low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0.0, 0.0)
    scaled = (np.where(finite, values, low) - low) * (255.0 / (high - low) if high > low else 0.0)
    return np.round(scaled).astype(np.uint8)


def _through_profile(image: Image.Image, profile: Any) -> Image.Image:
    """Convert an image to sRGB by its own colour profile; without one, or with a broken one, return it unchanged."""
    try:
        if image.mode == "LAB":
            source = ImageCms.createProfile("LAB")
        elif profile:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        else:
            return image
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        warnings.warn(f"colour profile of a {image.mode} image is broken ({error}); left out", stacklevel=2)
        return image


def _from_pixels(pixels: "np.ndarray | torch.Tensor", channel_order: str | None) -> np.ndarray:
    if is_tensor(pixels):
        kind, wanted = "tensor", "(3, H, W)"
        # numpy has no bfloat16
        pixels = pixels.float() if pixels.is_floating_point() else pixels
        array = pixels.detach().cpu().numpy()
        fits = array.ndim == 3 and array.shape[0] == 3
        array = array.transpose(1, 2, 0) if fits else array
    else:
        kind, wanted = "array", "(H, W) or (H, W, 3)"
        array = pixels
        fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)
    if not fits or 0 in array.shape:
        raise DataError(f"{kind} of pixels: shape {tuple(pixels.shape)}, expected {wanted}")
    if array.dtype != np.uint8:
        if not np.issubdtype(array.dtype, np.integer) and not np.issubdtype(array.dtype, np.floating):
            raise DataError(
                f"{kind} of pixels: values are {array.dtype}, expected numbers in 0..255; convert them first"
            )
        if not np.isfinite(array).all():
            raise DataError(f"{kind} of pixels: {array.dtype} with values that are not finite numbers")
        low, high = array.min(), array.max()
        # An image in 0..1 would pass as an almost black one.
        if low < 0 or high > 255 or (np.issubdtype(array.dtype, np.floating) and 0 < high <= 1):
            raise DataError(f"{kind} of pixels: values {low:g}..{high:g}, expected 0..255; scale them first")
        array = np.round(array).astype(np.uint8)
    if array.ndim == 2:
        return np.repeat(array[:, :, None], 3, axis=2)
    if channel_order not in CHANNEL_ORDERS:
        raise ConfigurationError(
            f"{kind} of pixels: channel_order is {channel_order!r}; say 'RGB', or 'BGR' for what cv2.imread returns"
        )
    return np.ascontiguousarray(array if channel_order == "RGB" else array[:, :, ::-1])


def is_tensor(value: Any) -> "TypeGuard[torch.Tensor]":
    """Tell whether ``value`` is a tensor without importing torch: if torch is not imported, there are no tensors."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)
