"""Datasets in COCO-SG on the Hugging Face Hub: parquet files, or images beside ``_annotations.coco.json``."""

import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egtr.structures.errors import DataError, DownloadError, WriteError
from egtr.structures.files import replacing, writing

from .cache import check_online, remove_folder
from .download import download_repository
from .failures import one_line
from .parquet import check_installed, unpack_shard
from .space import check_space

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
COCO_FILE = "_annotations.coco.json"
CATEGORIES = "categories.json"
# Names of splits that other tools write.
_SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_SPLIT = "|".join(_SPLIT_NAMES)
_COCO = re.compile(rf"(?:.*/)?({_SPLIT})/{re.escape(COCO_FILE)}")
_SHARD = re.compile(rf"(?:.*/)?({_SPLIT})(?:[-/][^/]*)?\.parquet")


@dataclass(frozen=True)
class Repository:
    """The state of a dataset on the Hub.

    Attributes:
        name: ``USER/REPOSITORY``.
        commit: the commit.
        sizes: bytes of each file by its path.
    """

    name: str
    commit: str
    sizes: dict[str, int]

    def download(self, folder: Path, patterns: list[str]) -> None:
        """Download the files that fit a pattern, as they are in this commit."""
        download_repository(self.name, folder, kind="dataset", revision=self.commit, patterns=patterns)


def list_repository(name: str) -> Repository:
    """List the files of a dataset on the Hub.

    Raises:
        DownloadError: the Hub cannot be reached, or has no such dataset.
    """
    check_online(f"hf:{name}")
    with one_line(f"hf:{name}"):
        from huggingface_hub import HfApi

        api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
        info = api.dataset_info(name, files_metadata=True)
    return Repository(name, info.sha, {file.rfilename: file.size or 0 for file in info.siblings or ()})


def is_complete(folder: Path) -> bool:
    """Tell whether all splits are in the folder of a dataset."""
    return all((folder / split / COCO_FILE).is_file() for split in SPLITS)


def count_bytes(addresses: tuple[str, ...], work: Path) -> int:
    """Count the bytes of the repository. For arguments and errors see :func:`fetch`."""
    return sum(list_repository(addresses[0].removeprefix("hf:")).sizes.values())


def fetch(addresses: tuple[str, ...], work: Path, folder: Path) -> None:
    """Fetch a dataset.

    Args:
        addresses: ``hf:USER/REPOSITORY``.
        work: a folder for what arrives, kept from one call to the next until the dataset is complete.
        folder: the folder of the dataset, which gets a folder for each split.

    Raises:
        DownloadError, WriteError, DataError: see :func:`egtr.hub.datasets.get_dataset`.
    """
    if folder.exists() and any(folder.iterdir()):
        raise WriteError(f"{folder}: holds something, but not the whole dataset. Move or delete it")
    repository = list_repository(addresses[0].removeprefix("hf:"))
    note = work / "commit"
    if note.is_file() and note.read_text("utf-8") != repository.commit:
        logger.warning("%s: has changed since the download began, which begins again", addresses[0])
        remove_folder(work)
        work.mkdir()
    _write(note, repository.commit)
    ready = work / "ready"
    shards = {file: _SPLIT_NAMES[found[1]] for file in sorted(repository.sizes) if (found := _SHARD.fullmatch(file))}
    coco = {file: _SPLIT_NAMES[found[1]] for file in sorted(repository.sizes) if (found := _COCO.fullmatch(file))}
    files = coco or shards
    if missing := [split for split in SPLITS if split not in files.values()]:
        raise DownloadError(
            f"{addresses[0]}: has no {' and no '.join(missing)}: neither <split>/{COCO_FILE} nor "
            "data/<split>-*.parquet. Its publisher has changed it: update egtr, which may know the new layout"
        )
    ready.mkdir(exist_ok=True)
    (_fetch_coco if coco else _fetch_shards)(repository, files, work, ready)
    os.replace(ready, folder)


def _fetch_coco(repository: Repository, files: Mapping[str, str], work: Path, ready: Path) -> None:
    """Fetch a repository whose images lie beside the annotations."""
    folders = {os.path.dirname(file): split for file, split in files.items()}
    wanted = {file: size for file, size in repository.sizes.items() if os.path.dirname(file) in folders}
    arriving = work / "files"
    check_space(work, sum(size for file, size in wanted.items() if not (arriving / file).is_file()))
    patterns = [f"{folder}/*" for folder in folders]
    repository.download(arriving, patterns)
    for folder, split in folders.items():
        if not (ready / split).is_dir():
            os.replace(arriving / folder, ready / split)


def _fetch_shards(repository: Repository, shards: Mapping[str, str], work: Path, ready: Path) -> None:
    """Fetch a repository of parquet files: one at a time, so that images need the disk once."""
    check_installed()
    rows = work / "rows"
    rows.mkdir(exist_ok=True)
    done = {file: rows / f"{file.replace('/', '--')}.json" for file in shards}
    left = [repository.sizes[file] for file in shards if not done[file].is_file()]
    # Unpacked images are about as large as the files that they come in.
    check_space(work, sum(left) + max(left, default=0))
    arriving = work / "files"
    repository.download(arriving, [CATEGORIES])
    categories = _read_categories(arriving / CATEGORIES, repository.name)
    for number, (file, split) in enumerate(shards.items(), 1):
        if done[file].is_file():
            continue
        logger.info("%s: file %d of %d, %s", repository.name, number, len(shards), file)
        repository.download(arriving, [file])
        content = unpack_shard(arriving / file, ready / split)
        _write(done[file], json.dumps(content))
        (arriving / file).unlink()
    for split in sorted(set(shards.values())):
        parts = [json.loads(done[file].read_text("utf-8")) for file, of in shards.items() if of == split]
        content = categories | {key: [row for part in parts for row in part[key]] for key in parts[0]}
        _write(ready / split / COCO_FILE, json.dumps(_with_unique_ids(content, repository.name)))


def _read_categories(path: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
        return {key: content[key] for key in ("categories", "rel_categories")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"hf:{name}/{CATEGORIES}: names no categories and rel_categories ({error!r:.100}). Its publisher has "
            "changed it: update egtr, which may know the new layout"
        ) from error


def _with_unique_ids(content: dict[str, Any], name: str) -> dict[str, Any]:
    """Number objects through all images, if each image numbers its own."""
    objects = content["annotations"]
    if len({each["id"] for each in objects}) == len(objects):
        return content
    numbers = {(each["image_id"], each["id"]): number for number, each in enumerate(objects, 1)}
    if len(numbers) != len(objects):
        raise DataError(f"hf:{name}: an image has two objects of one id, so that its relations can mean either")
    for each in objects:
        each["id"] = numbers[each["image_id"], each["id"]]
    for each in content["rel_annotations"]:
        for key in ("subject_id", "object_id"):
            # A number that no object of the image has stays, so that `egtr data check` names it.
            each[key] = numbers.get((each["image_id"], each[key]), -1)
    return content


def _write(path: Path, content: str) -> None:
    with writing(path), replacing(path) as file:
        file.write(content.encode())
