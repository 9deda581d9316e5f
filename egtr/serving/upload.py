"""Reading an image from the body of a request: it stays in memory and is never written to a disk."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Coroutine
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from fastapi import Request
from PIL import Image, UnidentifiedImageError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from egtr.data.image import load_image
from egtr.structures import EGTRError

from .errors import RefusedError
from .limits import MEGABYTE, MEGAPIXEL, Limits

# Pillow reads many more, some of them by running other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "PPM")
MAX_NAME = 200
# Fields of a form beside the image, see egtr.inference.EGTRPredictor.predict.
GIVEN_FIELDS = ("boxes", "classes", "scores")


class Upload(NamedTuple):
    """An uploaded image, not decoded yet.

    Attributes:
        data: its bytes.
        name: the name of its file, if the client sends one.
        given: the arguments ``boxes``, ``classes`` and ``scores`` of a predictor, as far as the form has them.
    """

    data: bytes
    name: str | None
    given: dict[str, Any]


async def read_upload(request: Request, limits: Limits) -> Upload:
    """Read the bytes of an image, and in a form also the name of its file and given boxes.

    The body is the image itself, or a form (multipart/form-data) with one file.

    Raises:
        RefusedError: 400 no image in it or cut off, 408 too slow, 413 too large, 415 compressed, 422 a field of the
            form is unknown or no JSON.
    """
    body = await read_body(request, limits)
    name, fields = None, []
    if body and request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        body, name, fields = await _read_form(request, body)
    if not body:
        raise RefusedError(400, "there is no image: send one as the body of the request, or in a form as `file`")
    return Upload(body, name, _read_fields(fields))


async def read_body(request: Request, limits: Limits) -> bytes:
    """Read the body of a request.

    Raises:
        RefusedError: 400 cut off, 408 too slow, 413 too large, 415 compressed.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise RefusedError(415, f"the body is compressed (Content-Encoding: {encoding}); send the image as it is")
    try:
        async with asyncio.timeout(limits.timeout):
            return await _read_body(request, limits.max_bytes)
    except TimeoutError as error:
        message = f"the upload took longer than {limits.timeout:g} s; send a smaller image"
        raise RefusedError(408, message) from error
    except ClientDisconnect as error:
        raise RefusedError(400, "the upload was broken off") from error


async def while_connected(request: Request, work: Coroutine[Any, Any, Any]) -> Any:
    """Wait for the work of a request whose body has been read, and give it up when the client has gone.

    Raises:
        RefusedError: 400, the client has gone.
    """
    task = asyncio.ensure_future(work)
    # After the body, the only message is that the connection has ended.
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise RefusedError(400, "the client has gone before the answer")
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _read_body(request: Request, max_bytes: int) -> bytes:
    too_large = RefusedError(413, f"the upload has more than {max_bytes / MEGABYTE:g} MB; scale the image down")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise too_large
    return bytes(body)


async def _read_form(request: Request, body: bytes) -> tuple[bytes, str | None, list[tuple[str, str]]]:
    # The parser accepts a form without an end.
    _, options = parse_options_header(request.headers["content-type"])
    start = b"--" + options.get(b"boundary", b"")
    if start[: len(body)] == body[: len(start)] and start + b"--" not in body:
        text = f"{start.decode('latin-1')}--"
        raise RefusedError(400, f"the form is cut off: its last line, {text}, is missing; send it again, whole")

    async def once() -> AsyncIterator[bytes]:
        yield body

    parser = MultiPartParser(request.headers, once(), max_files=1, max_fields=10)
    # By default larger files would go to the disk.
    parser.spool_max_size = len(body) + 1
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise RefusedError(400, f"the form cannot be read: {error.message}") from error
    files = [value for value in form.values() if isinstance(value, UploadFile)]
    content, name = (await files[0].read(), _clean_name(files[0].filename)) if files else (b"", None)
    await form.close()
    return content, name, [(key, value) for key, value in form.multi_items() if isinstance(value, str)]


def _read_fields(fields: list[tuple[str, str]]) -> dict[str, Any]:
    """Read the fields of a form as JSON."""
    given: dict[str, Any] = {}
    for name, text in fields:
        if name not in GIVEN_FIELDS or name in given:
            problem = "is there twice" if name in given else f"is unknown; a form has {', '.join(GIVEN_FIELDS)}"
            raise RefusedError(422, f"the field {name!r} of the form {problem}")
        try:
            given[name] = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RefusedError(422, f"the field {name!r} of the form is no JSON ({error})") from error
    return given


def _clean_name(name: str | None) -> str | None:
    """Clean a file name so that it can be shown and written: no folders, no characters that XML forbids."""
    name = PurePosixPath((name or "").replace("\\", "/")).name
    return "".join(filter(str.isprintable, name))[-MAX_NAME:] or None


def open_image(data: bytes, max_pixels: int) -> Image.Image:
    """Open an image, and read only its header.

    Raises:
        RefusedError: 413 too many pixels, 415 no image or of a format that is not accepted, 422 damaged.
    """
    too_large = f"the image has more than {max_pixels / MEGAPIXEL:g} megapixels; scale it down"
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        message = f"this is no image in a format that is read here; send one of {', '.join(FORMATS)}"
        raise RefusedError(415, message) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RefusedError(413, too_large) from error
    except Exception as error:
        raise _damaged(error) from error
    if image.width * image.height > max_pixels:
        raise RefusedError(413, f"{too_large}: it is {image.width} x {image.height}")
    return image


def decode_image(image: Image.Image) -> np.ndarray:
    """Decode an image to (H, W, 3) uint8, RGB, turned upright: see :func:`egtr.data.image.load_image`.

    Raises:
        RefusedError: 422 damaged.
    """
    try:
        return load_image(image)
    except EGTRError as error:
        raise RefusedError(422, str(error)) from error
    # Some files are made to break decoders, which may raise anything; the file is to blame.
    except Exception as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> RefusedError:
    return RefusedError(422, f"the image is damaged ({error}); is the file whole?")
