"""Archives of released models: unpacked safely, and the folder of the model found in them."""

import errno
import logging
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from egtr.structures.errors import DownloadError, WriteError

logger = logging.getLogger(__name__)

# Weights hardly become smaller in an archive; text does, but there is little of it.
MAX_GROWTH = 100
MAX_FILES = 1_000_000
# Small archives may grow more: a hundred times nothing is nothing.
_FREE_GROWTH = 100_000_000
_PIECE = 1 << 20
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, NotImplementedError)


# Names of archives. Others may hold one, too.
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")


def is_archive(path: Path) -> bool:
    """Tell whether a file is a zip or tar archive of other files. Weights of torch.save, which are zips, are none."""
    if not _is_zip(path):
        try:
            return tarfile.is_tarfile(path)
        except EOFError:
            # Compressed and cut off, as unpack() says.
            return True
    try:
        with zipfile.ZipFile(path) as archive:
            return not any(name.endswith("/data.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        # Damaged, as unpack() says.
        return True


def unpack(path: Path, folder: Path) -> Path:
    """Unpack a zip or tar archive, compressed or not.

    Args:
        path: the archive.
        folder: an empty folder for its files, or one to be made.

    A tar archive may lack the zeros at its end; a warning then says that it could have been cut between two files.

    Returns:
        ``folder``.

    Raises:
        DownloadError: the archive is damaged, has a password, holds links, devices or names that lead out of
            ``folder``, or becomes more than MAX_GROWTH times larger than it is.
        WriteError: there is no room.
    """
    limit = max(path.stat().st_size * MAX_GROWTH, _FREE_GROWTH)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if _is_zip(path):
            with zipfile.ZipFile(path) as archive:
                _write_all(_read_zip(archive, path), path, folder, limit)
        else:
            with tarfile.open(path) as archive:
                _write_all(_read_tar(archive, path), path, folder, limit)
                _check_end(archive, path)
                # To the end, where the checksum of gzip is; as much as may be unpacked at most.
                for _ in range(limit // _PIECE):
                    if not archive.fileobj.read(_PIECE):
                        break
    except _DAMAGED as error:
        # tarfile's message has a line for each method that it tried.
        reason = " ".join(str(error).split())
        raise DownloadError(f"{path}: is no whole zip or tar archive ({reason}). Fetch it again") from error
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise DownloadError(
            f"{path}: holds a file and a folder of one name ({error.filename}), which is refused"
        ) from error
    except OSError as error:
        # gzip's error about its contents is an OSError without number.
        if error.errno is None:
            raise DownloadError(f"{path}: is damaged ({error}). Fetch it again") from error
        if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ):
            raise DownloadError(
                f"{path}: holds a name that cannot be written ({error.strerror}). Unpack it on another disk"
            ) from error
        raise WriteError(
            f"{folder}: cannot be written ({error.strerror}). Make room, or name another folder in EGTR_HOME"
        ) from error
    return folder


def find_model(folder: Path) -> Path:
    """Find the folder of a released model among unpacked files, at any depth.

    It holds ``config.json`` and weights: ``checkpoints/epoch=*.ckpt``, ``model.safetensors`` or
    ``pytorch_model.bin``. Other JSON files beside them do not matter, and a folder may be called like a file.

    Returns:
        The folder; of several versions (``version_0``, ``version_1``) the newest.

    Raises:
        DownloadError: there is none, or there are several models.
    """
    found = sorted(
        path.parent for path in folder.rglob("config.json") if path.is_file() and _has_weights(path.parent)
    )
    runs = {path.parent for path in found}
    if len(runs) == 1 and all(re.fullmatch(r"version_\d+", path.name) for path in found):
        return max(found, key=lambda path: int(path.name.removeprefix("version_")))
    if len(found) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in found)
        raise DownloadError(
            f"{folder}: holds several models: {names}. Unpack the archive, and convert the one that you want: "
            "egtr convert FOLDER"
        )
    if not found:
        raise DownloadError(
            f"{folder}: holds no released model: no folder has config.json and checkpoints/epoch=*.ckpt, "
            "model.safetensors or pytorch_model.bin"
        )
    return found[0]


def _is_zip(path: Path) -> bool:
    # By its beginning: zipfile.is_zipfile looks at the end, where a tar archive may hold weights, which are zips.
    with open(path, "rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def _has_weights(folder: Path) -> bool:
    # macOS adds files that begin with "._" and hold no weights.
    if any(path.is_file() and path.name[0] != "." for path in folder.glob("checkpoints/*epoch=*.ckpt")):
        return True
    return any((folder / name).is_file() for name in ("model.safetensors", "pytorch_model.bin"))


def _read_zip(archive: zipfile.ZipFile, path: Path) -> Iterator[tuple[str, BinaryIO]]:
    for member in archive.infolist():
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DownloadError(f"{path}: {member.filename} is a link or device, which is refused")
        if member.flag_bits & 1:
            raise DownloadError(f"{path}: {member.filename} has a password. Ask the publisher for an open archive")
        if not member.is_dir():
            with archive.open(member) as file:
                yield member.filename, file


def _read_tar(archive: tarfile.TarFile, path: Path) -> Iterator[tuple[str, BinaryIO]]:
    for member in archive:
        if not (member.isreg() or member.isdir()):
            raise DownloadError(f"{path}: {member.name} is a link or device, which is refused")
        if member.isreg():
            with archive.extractfile(member) as file:
                yield member.name, file


def _check_end(archive: tarfile.TarFile, path: Path) -> None:
    # tarfile takes a cut and a damaged header for the end of the archive, which is a block of zeros.
    archive.fileobj.seek(archive.offset)
    block = archive.fileobj.read(tarfile.BLOCKSIZE)
    if not block:
        # Some programs leave the zeros out. All files so far are whole, but there is no telling whether more follow.
        logger.warning("%s: has no end mark; if files are missing, it was cut: fetch it again", path)
    elif block != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it ends too early")


def _write_all(files: Iterator[tuple[str, BinaryIO]], path: Path, folder: Path, limit: int) -> None:
    written = 0
    for number, (name, file) in enumerate(files):
        target = _place(name, path, folder)
        if number >= MAX_FILES:
            raise DownloadError(f"{path}: holds more than {MAX_FILES:,} files, which is refused")
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "wb") as out:
            while piece := file.read(_PIECE):
                # Counted, because an archive may state wrong sizes.
                written += len(piece)
                if written > limit:
                    raise DownloadError(
                        f"{path}: becomes more than {limit / 1e6:,.0f} MB when it is unpacked, {MAX_GROWTH} times "
                        "as much as the archive, which is refused"
                    )
                out.write(piece)
    logger.info("%s: unpacked %s MB", path, written // 1_000_000)


def _place(name: str, path: Path, folder: Path) -> Path:
    # Some programs of Windows write backslashes.
    inner = PurePosixPath(name.replace("\\", "/"))
    if inner.is_absolute() or ".." in inner.parts or not inner.parts or PureWindowsPath(name).drive:
        raise DownloadError(f"{path}: holds {name!r}, a name that leads out of its folder, which is refused")
    return folder.joinpath(*inner.parts)
