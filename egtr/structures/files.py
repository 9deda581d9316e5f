"""Files that are written whole or not at all."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from typing import BinaryIO

from .errors import WriteError

# How the name of a file ends while it is being written.
PART = ".part"


@contextlib.contextmanager
def replacing(path: str | os.PathLike, *, shared: bool = False) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of ``path`` when the block ends, unless the block raises.

    Even if the process or the machine dies, ``path`` is the old file or the new one, never a part: the content goes
    to a file beside it, which is forced to the disk and then renamed.

    Args:
        path: the file to write. Its folder must exist.
        shared: several processes may write ``path`` at the same time. Each then has a part of its own, and the
            last one to finish wins.
    """
    part = f"{os.fspath(path)}{f'.{uuid.uuid4().hex}' if shared else ''}{PART}"
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    _sync_folder(os.path.dirname(path) or ".")


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Name the file in the error if it cannot be written inside the block, as on a full disk.

    Raises:
        WriteError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise WriteError(f"{path}: cannot be written ({reason}); name a place that has room and is open") from error


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all; its folder must exist.

    Raises:
        WriteError: the file cannot be written.
    """
    with writing(path), replacing(path) as file:
        file.write(text.encode())


def _sync_folder(folder: str) -> None:
    # Otherwise a power cut may lose the new name although the content of the file is on the disk.
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        # Windows opens no folders, and keeps names safe by itself.
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
