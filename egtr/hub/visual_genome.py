"""Visual Genome 150 as EGTR trains on it: JSON from Google Drive, images from Stanford."""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from egtr.structures.errors import DataError
from egtr.structures.files import replacing, writing

from .archives import is_archive, unpack
from .cache import remove_folder
from .download import download, find_size
from .space import check_space

SPLIT_FILES = ("train.json", "val.json", "test.json")
FILES = (*SPLIT_FILES, "rel.json")
_IMAGES = (".jpg", ".jpeg", ".png")


def is_complete(folder: Path) -> bool:
    """Tell whether the annotations are in the folder of the dataset, and all images that they name in ``images``."""
    return all((folder / file).is_file() for file in FILES) and not _missing(_image_names(folder), folder / "images")


def count_bytes(addresses: tuple[str, ...], work: Path) -> int:
    """Count the bytes of what is not unpacked yet. For arguments and errors see :func:`fetch`."""
    left = [address for address in addresses if not _note(work, address).is_file()]
    return sum(find_size(address, _archive(work, address)) or 0 for address in left)


def fetch(addresses: tuple[str, ...], work: Path, folder: Path) -> None:
    """Fetch what the dataset lacks: images that are there already, or linked there, are not fetched.

    Args:
        addresses: the archive of the annotations, then those of the images.
        work, folder: see :func:`egtr.hub.hub_dataset.fetch`.

    Raises:
        DownloadError, WriteError, DataError: see :func:`egtr.hub.datasets.get_dataset`.
    """
    annotations, *archives = addresses
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    if not all((folder / file).is_file() for file in FILES):
        _fetch_annotations(annotations, work, folder)
    names = _image_names(folder)
    if _missing(names, images):
        left = [address for address in archives if not _note(work, address).is_file()]
        # The last archive is still there while its images are unpacked, which are about as large.
        sizes = [find_size(address, _archive(work, address)) or 0 for address in left]
        check_space(folder, sum(sizes) + max(sizes, default=0))
        for address in left:
            _fetch_images(address, work, images)
    if missing := _missing(names, images):
        raise DataError(
            f"{images}: lacks {len(missing):,} of {len(names):,} images that the annotations name, such as "
            f"{missing[0]}. Delete {work} to fetch all again, or put them there"
        )


def _fetch_annotations(address: str, work: Path, folder: Path) -> None:
    archive, unpacked = _archive(work, address), work / "annotations"
    download(address, archive)
    remove_folder(unpacked)
    if not is_archive(archive):
        raise DataError(f"{address}: is no archive. Its publisher has changed it: update egtr, which may know it")
    unpack(archive, unpacked)
    found = {path.name: path for path in sorted(unpacked.rglob("*.json")) if path.name in FILES}
    if missing := [file for file in FILES if file not in found]:
        raise DataError(f"{address}: holds no {' and no '.join(missing)}. Its publisher has changed it: update egtr")
    for file, path in found.items():
        os.replace(path, folder / file)
    archive.unlink()


def _fetch_images(address: str, work: Path, images: Path) -> None:
    archive, unpacked = _archive(work, address), work / "images"
    download(address, archive)
    remove_folder(unpacked)
    unpack(archive, unpacked)
    for path in unpacked.rglob("*"):
        if path.suffix.lower() in _IMAGES and path.is_file():
            # The folder may be a link to another disk.
            shutil.move(path, images / path.name)
    with writing(archive), replacing(_note(work, address)):
        pass
    archive.unlink()


def _archive(work: Path, address: str) -> Path:
    return work / f"{os.path.basename(address).replace(':', '-')}"


def _note(work: Path, address: str) -> Path:
    """Return the file that says that the images of an archive are unpacked."""
    return _archive(work, address).with_suffix(".unpacked")


def _image_names(folder: Path) -> list[str]:
    names: dict[str, None] = {}
    for file in SPLIT_FILES:
        try:
            images = json.loads((folder / file).read_text("utf-8"))["images"]
            names |= {image["file_name"]: None for image in images}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{folder / file}: lists no images ({error!r:.100}). Delete and fetch it again"
            ) from error
    return list(names)


def _missing(names: Iterable[str], images: Path) -> list[str]:
    here = set(os.listdir(images)) if images.is_dir() else set()
    return [name for name in names if name not in here]
