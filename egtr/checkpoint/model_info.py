"""The record of a model: what its configuration has of it, and changes to it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils.file_io import PathManager
from safetensors import safe_open
from safetensors.torch import save_file

from egtr.modeling.names import get_names
from egtr.structures import ModelInfo, WeightsError
from egtr.structures.files import writing
from egtr.structures.model_info import FILE_NAME, METADATA_KEY
from egtr.version import __version__


def describe_model(cfg: CfgNode) -> ModelInfo:
    """Make the record of the model that ``cfg`` describes: names, preprocessing and the version of the library."""
    class_names, predicate_names = get_names(cfg)
    return ModelInfo(
        class_names=class_names,
        predicate_names=predicate_names if cfg.MODEL.EGTR.RELATION.ENABLED else None,
        preprocessing={
            "format": cfg.INPUT.FORMAT,
            "min_size": cfg.INPUT.MIN_SIZE_TEST,
            "max_size": cfg.INPUT.MAX_SIZE_TEST,
            "pixel_mean": [float(value) for value in cfg.MODEL.PIXEL_MEAN],
            "pixel_std": [float(value) for value in cfg.MODEL.PIXEL_STD],
        },
        library_version=__version__,
    )


def update_model_info(cfg: CfgNode, changes: Mapping[str, Any]) -> Path:
    """Change fields of the record of MODEL.WEIGHTS, where :meth:`egtr.structures.ModelInfo.find` looks for it.

    That is the metadata of a ``.safetensors`` that has a record, else ``<stem>.model_info.json`` beside the weights.
    A ``model_info.json`` may be that of other weights in the folder, too, and stays as it is.

    Args:
        cfg: describes the model where it has no record yet.
        changes: field to value.

    Returns:
        The file that was written.

    Raises:
        WeightsError: there are no weights, or a record that cannot be used.
        WriteError: the file cannot be written.
    """
    weights = Path(PathManager.get_local_path(cfg.MODEL.WEIGHTS)) if cfg.MODEL.WEIGHTS else Path()
    if not weights.is_file():
        raise WeightsError(f"MODEL.WEIGHTS is {cfg.MODEL.WEIGHTS!r}, which is no file; name the weights of the model")
    info = replace(ModelInfo.find(weights) or describe_model(cfg), **changes)
    if weights.suffix == ".safetensors":
        with safe_open(weights, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        if METADATA_KEY in metadata:
            part = weights.with_name(f"{weights.name}.part")
            with writing(weights):
                save_file(tensors, part, metadata | {METADATA_KEY: info.to_json()})
                part.replace(weights)
            return weights
    path = weights.with_name(f"{weights.stem}.{FILE_NAME}")
    info.save(path)
    return path
