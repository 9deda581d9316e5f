"""The folder of what was downloaded, and the hashes of the files that arrived there."""

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from egtr.structures.errors import ConfigurationError, DownloadError, WriteError
from egtr.structures.files import replacing, writing

logger = logging.getLogger(__name__)

_TRUE = ("1", "true", "yes", "on")


def get_home() -> Path:
    """Return the folder of downloads: ``EGTR_HOME``, else ``egtr`` in ``XDG_CACHE_HOME``, else ``~/.cache/egtr``.

    Raises:
        ConfigurationError: it lies in a home directory that does not exist.
    """
    home = os.environ.get("EGTR_HOME")
    folder = Path(home) if home else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "egtr")
    try:
        return folder.expanduser().absolute()
    except RuntimeError as error:
        raise ConfigurationError(
            f"{folder}: there is no such home directory; name a folder for downloads in EGTR_HOME"
        ) from error


def is_set(variable: str) -> bool:
    """Tell whether an environment variable says yes: 1, true, yes or on."""
    return os.environ.get(variable, "").lower() in _TRUE


def check_online(what: str) -> None:
    """Raise if downloads are switched off.

    Args:
        what: the file or model that would be fetched, for the message.

    Raises:
        DownloadError: ``EGTR_OFFLINE`` or ``HF_HUB_OFFLINE`` is set.
    """
    for variable in ("EGTR_OFFLINE", "HF_HUB_OFFLINE"):
        if is_set(variable):
            raise DownloadError(f"{what}: is not here, and {variable} forbids to download it. Unset {variable}")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time write ``path``; others wait. The lock is the file ``<path>.lock``.

    Raises:
        WriteError: the folder of ``path`` cannot be made or written.
    """
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.warning("%s: another process is writing it; waiting until it has finished", path)
            lock.acquire()
    except OSError as error:
        raise WriteError(
            f"{path.parent}: cannot be written ({error.strerror or error}). Name another folder in EGTR_HOME"
        ) from error
    with lock:
        lock.release()
        yield


def remove_folder(folder: Path) -> None:
    """Delete a folder and all that is in it; nothing happens if there is none.

    Raises:
        WriteError: it cannot be deleted.
    """
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise WriteError(f"{folder}: cannot be deleted ({error.strerror}). Delete it yourself") from error


def hash_file(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_hash(path: Path, address: str, sha256: str = "") -> str:
    """Compare a file with its known hash; if none is known, record the hash and compare from then on.

    Args:
        path: the file.
        address: the place that it came from, under which its hash is recorded.
        sha256: the known hash.

    Returns:
        The hash of the file.

    Raises:
        DownloadError: the file has another hash.
    """
    found = hash_file(path)
    if sha256:
        if found != sha256.lower():
            raise DownloadError(
                f"{address}: has SHA-256 {found}, but {sha256.lower()} is known for it, so it was refused. Try "
                "again; if that does not help, its publisher has changed it: update egtr, which may know the new file"
            )
        return found
    book = get_home() / "hashes.json"
    with locked(book):
        known = _read_book(book)
        before = known.setdefault(address, found)
        if before != found:
            raise DownloadError(
                f"{address}: has SHA-256 {found}, but had {before} when it first arrived here, so it was refused. If "
                f"you trust the new file, delete the line of this address in {book}, and try again"
            )
        _write_book(book, known)
    return found


def forget_hash(address: str) -> None:
    """Forget the recorded hash of a file that turned out to be damaged."""
    book = get_home() / "hashes.json"
    with locked(book):
        known = _read_book(book)
        if known.pop(address, None) is not None:
            _write_book(book, known)


def _write_book(book: Path, known: dict[str, str]) -> None:
    with writing(book), replacing(book) as file:
        file.write(f"{json.dumps(known, indent=1)}\n".encode())


def _read_book(book: Path) -> dict[str, str]:
    if not book.exists():
        return {}
    try:
        known = json.loads(book.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DownloadError(
            f"{book}: the hashes of earlier downloads cannot be read ({error}). Restore or delete the file"
        ) from error
    if not isinstance(known, dict) or not all(isinstance(value, str) for value in known.values()):
        raise DownloadError(f"{book}: holds no hashes by address. Restore or delete the file")
    return known
