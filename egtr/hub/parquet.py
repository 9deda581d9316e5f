"""Scene graph datasets in parquet files of the Hugging Face Hub: images as files, annotations as COCO-SG.

A row is an image: ``image`` (a record with ``bytes``), ``image_id``, ``file_name``, ``width``, ``height``,
``objects`` (records with ``id``, ``category_id``, ``bbox``, ``area``, ``iscrowd``) and ``relations`` (records with
``id``, ``subject_id``, ``object_id``, ``predicate_id``). A list of records may also be a record of lists.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from egtr.structures.errors import ConfigurationError, DataError

_OBJECT = ("id", "category_id", "bbox", "area", "iscrowd")
_RELATION = ("id", "subject_id", "object_id", "predicate_id")
# Rows in memory at a time, with their images.
_ROWS = 64


def check_installed() -> None:
    """Check that pyarrow is installed, before a download that would be in vain.

    Raises:
        ConfigurationError: it is not.
    """
    if find_spec("pyarrow") is None:
        raise ConfigurationError("Parquet files need pyarrow, which is not installed. Type: pip install pyarrow")


def unpack_shard(path: Path, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Write the images of a parquet file, and return its annotations.

    Args:
        path: the file.
        folder: the folder for the images, made if it does not exist.

    Returns:
        "images", "annotations" and "rel_annotations" of COCO-SG.

    Raises:
        DataError: the file is damaged, or a row lacks a column.
    """
    import pyarrow
    from pyarrow.parquet import ParquetFile

    content: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": [], "rel_annotations": []}
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS):
                for row in batch.to_pylist():
                    _add_row(row, folder, content)
    except (pyarrow.ArrowException, KeyError, TypeError) as error:
        reason = f"no column {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise DataError(
            f"{path}: row {len(content['images'])}: is no image with objects and relations ({reason:.200}). Its "
            "publisher has changed it: update egtr, which may know the new layout"
        ) from error
    return content


def _add_row(row: Mapping[str, Any], folder: Path, content: dict[str, list[dict[str, Any]]]) -> None:
    image_id, name, pixels = row["image_id"], row["file_name"], row["image"]["bytes"]
    if pixels is None:
        raise TypeError(f"the image {name} is not in the file")
    target = folder / _check_name(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(pixels)
    objects = [{key: each[key] for key in _OBJECT} | {"image_id": image_id} for each in _records(row["objects"])]
    relations = [
        {key: each[key] for key in _RELATION} | {"image_id": image_id} for each in _records(row["relations"])
    ]
    size = {key: row[key] for key in ("width", "height")}
    content["images"].append({"id": image_id, "file_name": name} | size)
    content["annotations"] += objects
    content["rel_annotations"] += relations


def _check_name(name: str) -> str:
    inner = PurePosixPath(name)
    if inner.is_absolute() or ".." in inner.parts or not inner.parts or "\\" in name:
        raise TypeError(f"the name {name!r} leads out of its folder")
    return name


def _records(column: Any) -> list[Mapping[str, Any]]:
    if isinstance(column, Mapping):
        return [dict(zip(column, values, strict=True)) for values in zip(*column.values(), strict=True)]
    return column or []
