"""Downloads: from Google Drive and plain addresses by gdown, from the Hugging Face Hub by huggingface_hub.

A file arrives whole or not at all. A download that was cut continues where it stopped, in the same call and in the
next one. Proxies and certificates are those of the environment: ``HTTPS_PROXY``, ``NO_PROXY``, ``REQUESTS_CA_BUNDLE``
for gdown, ``SSL_CERT_FILE`` for the Hub, whose address is ``HF_ENDPOINT``.

An address is one of

- ``gdrive:ID``                the file with this id on Google Drive
- ``hf:USER/REPOSITORY/FILE``  a file of a model on the Hub
- ``https://...``              any other file
"""

import json
import logging
import os
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from egtr.structures.errors import DownloadError, WriteError

from .cache import check_hash, check_online, locked
from .failures import one_line

logger = logging.getLogger(__name__)

# Seconds: until the server answers at all, and between two pieces of a file.
TIMEOUT = (15.0, 60.0)
# How often a broken connection is taken up again, and how often a download begins again.
RETRIES = 5
STARTS = 3
# Seconds before the second start, if the server is busy; each further one takes twice as long.
PAUSE = 2.0
_BUSY = (429, 500, 502, 503, 504)
# A tag, as web pages and the XML errors of servers begin. No model, archive or JSON file does; in UTF-16, too.
_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<[!?a-z][\t-~]{2}|\xff\xfe<\x00|\xfe\xff\x00<", re.I)
_HUB_FILE = re.compile(r"hf:([\w.-]+/[\w.-]+)/(.+)")


def download(address: str, path: str | os.PathLike, *, sha256: str = "", size: int | None = None) -> Path:
    """Download a file, unless it is there; a progress bar is shown in a terminal.

    Args:
        address: see the top of this module.
        path: the file to write; its folder is made.
        sha256: the hash that the file must have. "": the hash at its first arrival, see
            :func:`egtr.hub.cache.check_hash`.
        size: the size that the file must have, in bytes; None if it is not known.

    Returns:
        ``path``.

    Raises:
        DownloadError: the file cannot be fetched, or is not the one that is known. What has arrived of a file whose
            download was cut stays, and the next call continues.
        WriteError: it cannot be written.
    """
    path = Path(path)
    with locked(path):
        if not path.is_file():
            check_online(address)
            parts = path.with_name(f"{path.name}.download")
            arrived = _fetch(address, parts, path.name, size)
            try:
                _refuse_other(arrived, address, size)
                check_hash(arrived, address, sha256)
            except DownloadError:
                shutil.rmtree(parts, ignore_errors=True)
                raise
            os.replace(arrived, path)
            shutil.rmtree(parts, ignore_errors=True)
        else:
            check_hash(path, address, sha256)
    return path


def download_repository(
    name: str,
    folder: str | os.PathLike,
    *,
    kind: str = "model",
    revision: str | None = None,
    patterns: Sequence[str] | None = None,
    token: str | bool | None = None,
) -> Path:
    """Download the files of a repository of the Hugging Face Hub, as they lie there.

    Args:
        name: ``USER/REPOSITORY``.
        folder: the folder for the files. Files that are there and have not changed are not fetched again.
        kind: "model" or "dataset".
        revision: a branch, a tag or a commit; None: the newest state.
        patterns: only files that fit one of these patterns, such as ``"*.json"``; None: all files.
        token: a token that may read; None: the one of ``hf auth login``, or HF_TOKEN; False: none.

    Returns:
        ``folder``.

    Raises:
        DownloadError: they cannot be fetched; what has arrived stays, and the next call continues.
        WriteError: they cannot be written.
    """
    address = f"hf:{name}"
    check_online(address)
    folder = Path(folder)
    with locked(folder), one_line(address):
        from huggingface_hub import snapshot_download

        snapshot_download(
            name,
            repo_type=kind,
            revision=revision,
            allow_patterns=patterns,
            local_dir=folder,
            token=token,
            endpoint=os.environ.get("HF_ENDPOINT"),
        )
    return folder


def find_size(address: str, path: str | os.PathLike) -> int | None:
    """Ask the server for the size of a file.

    Google Drive tells it with the first piece of the file only, which is kept for :func:`download`.

    Args:
        address, path: see :func:`download`.

    Returns:
        The size in bytes; None if the server does not say.

    Raises:
        DownloadError: the server cannot be reached, or does not have the file.
    """
    check_online(address)
    path = Path(path)
    if found := _HUB_FILE.fullmatch(address):
        with one_line(address):
            from huggingface_hub import get_hf_file_metadata, hf_hub_url

            endpoint = os.environ.get("HF_ENDPOINT")
            return get_hf_file_metadata(hf_hub_url(found[1], found[2], endpoint=endpoint), endpoint=endpoint).size
    with locked(path):
        try:
            _fetch(address, path.with_name(f"{path.name}.download"), path.name, None, only_size=True)
        except _Size as answer:
            return answer.args[0]
    return None


class _Size(Exception):
    """Ends a download after its first piece; its argument is the size of the file, or None."""


def _fetch(address: str, parts: Path, name: str, size: int | None, only_size: bool = False) -> Path:
    """Download into the folder ``parts``, which keeps what arrives until the download is complete."""
    try:
        parts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{parts}: cannot be made ({error.strerror}). Name another folder (EGTR_HOME)") from error
    if found := _HUB_FILE.fullmatch(address):
        with one_line(address):
            from huggingface_hub import hf_hub_download

            return Path(hf_hub_download(found[1], found[2], local_dir=parts, endpoint=os.environ.get("HF_ENDPOINT")))
    if not re.match(r"https?://|gdrive:[\w-]+$", address):
        raise DownloadError(f"{address}: is no address. Write gdrive:ID, hf:USER/REPOSITORY/FILE or https://...")
    target = parts / name
    with one_line(address):
        _forget_changed(address, parts)
        for start in range(1, STARTS + 1):
            try:
                return _fetch_by_gdown(address, target, size, only_size)
            except _again() as error:
                if start == STARTS:
                    raise
                _prepare_next_start(error, target, start)
    raise AssertionError("unreachable")


def _fetch_by_gdown(address: str, target: Path, size: int | None, only_size: bool) -> Path:
    import gdown
    from tqdm.auto import tqdm

    drive = address.startswith("gdrive:")
    place = {"id": address.removeprefix("gdrive:")} if drive else {"url": address}
    # disable=None: no bar in a file.
    with tqdm(desc=target.name, unit="B", unit_scale=True, unit_divisor=1000, disable=only_size or None) as bar:

        def show(arrived: int, total: int | None) -> None:
            if only_size:
                raise _Size(total)
            if bar.total is None:
                _check_announced(address, target, arrived, total, size)
                bar.total, bar.initial = total, arrived
            bar.update(arrived - bar.n)

        gdown.download(
            **place,
            output=str(target),
            quiet=True,
            use_cookies=False,
            resume=True,
            retries=RETRIES,
            timeout=TIMEOUT,
            progress=show,
        )
    return target


def _check_announced(address: str, target: Path, arrived: int, total: int | None, size: int | None) -> None:
    if total is not None and size is not None and total != size:
        raise DownloadError(
            f"{address}: the server announces {total:,} bytes, but the file is known to have {size:,}. Its publisher "
            "has changed it, or the server sends something else: update egtr, which may know the new file"
        )
    free = shutil.disk_usage(target.parent).free
    if total is not None and total - arrived > free:
        raise WriteError(
            f"{target.parent}: {(total - arrived) / 1e6:,.0f} MB are still to come, but {free / 1e6:,.0f} MB are "
            "free. Make room, or name a folder on another disk in EGTR_HOME"
        )


def _again() -> tuple[type[Exception], ...]:
    # Here, because importing this module must stay quick.
    import requests
    from gdown.exceptions import DownloadError as Broken

    return Broken, requests.HTTPError


def _prepare_next_start(error: Exception, target: Path, start: int) -> None:
    """Wait, or drop what has arrived, before another start; raise if another start does not help."""
    response = getattr(error, "response", None)
    if response is not None:
        if response.status_code not in _BUSY:
            raise error
        time.sleep(PAUSE * 2 ** (start - 1))
    elif "byte range" in str(error):
        # The server cannot continue, or the file has changed since.
        logger.info("%s: the server cannot continue, so the download begins again", target.name)
        _drop_parts(target.parent)
    else:
        raise error


def _forget_changed(address: str, parts: Path) -> None:
    """Drop what has arrived of another address, or before a plain file changed on its server."""
    import requests

    state = {"address": address}
    if not address.startswith("gdrive:"):
        try:
            response = requests.head(address, allow_redirects=True, timeout=TIMEOUT)
        except requests.RequestException:
            # The download itself will say what is wrong, or succeed.
            return
        headers = {key: response.headers.get(key) for key in ("ETag", "Last-Modified", "Content-Length")}
        # Some servers do not answer this kind of request.
        state |= headers if response.ok else {}
    note = parts / "source.json"
    try:
        before = json.loads(note.read_text("utf-8"))
    except (OSError, ValueError):
        before = None
    if before != state:
        _drop_parts(parts)
        note.write_text(json.dumps(state), "utf-8")


def _drop_parts(folder: Path) -> None:
    for part in folder.glob("*.part"):
        part.unlink()


def _refuse_other(path: Path, address: str, size: int | None) -> None:
    """Refuse a web page in place of a file, and a file of another size."""
    with open(path, "rb") as file:
        head = file.read(2048)
    if _PAGE.match(head):
        raise DownloadError(
            f"{address}: the server sent a web page in place of the file. Open the address in a browser to see what "
            "it asks for"
        )
    if not head:
        raise DownloadError(f"{address}: the server sent an empty file. Try again later")
    found = path.stat().st_size
    if size is not None and found != size:
        raise DownloadError(
            f"{address}: has {found:,} bytes, but is known to have {size:,}, so it was refused. Try again; if that "
            "does not help, its publisher has changed it: update egtr, which may know the new file"
        )
