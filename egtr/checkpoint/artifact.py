"""Trained models of other projects: EGTR's and FROSS's released ones, and detectors that both can start from."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor

import egtr.modeling  # noqa: F401 - registers the architecture
from egtr.data import get_metadata
from egtr.structures import ConfigurationError, DataError, EGTRError, ModelInfo, WeightsError, WriteError
from egtr.structures.files import write_text
from egtr.structures.known_names import get_known_names
from egtr.structures.model_info import FILE_NAME

from .checkpointer import load_checkpoint_file
from .class_names import read_names
from .files import export_weights
from .foreign import is_safetensors, refuse_foreign
from .model_info import describe_model
from .pickles import load_torch_file
from .reference import config_from_reference, convert_state_dict, family, unknown_names
from .rtdetr_config import config_from_weights
from .rtdetr_config import is_config as is_rtdetr_config
from .rtdetr_names import has_names as has_rtdetr_names
from .wrappers import clean_names, find_weights

logger = logging.getLogger(__name__)

# In order of preference: if there are both, the file that cannot hold code is read.
_HUGGING_FACE_FILES = ("model.safetensors", "pytorch_model.bin")
_COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class Conversion:
    """The files written by :func:`convert_artifact`.

    Attributes:
        source: the file from which the weights were read.
        checkpoint, safetensors, config_file, info_file: the files written.
        num_tensors: number of tensors in each of the first two.
        class_names, predicate_names: the names in the configuration; empty if none are known.
    """

    source: Path
    checkpoint: Path
    safetensors: Path
    config_file: Path
    info_file: Path
    num_tensors: int
    class_names: list[str]
    predicate_names: list[str]


def load_reference(
    artifact_dir: str | Path, *, strict: bool = True, unsafe_pickle: bool = False
) -> tuple[CfgNode, dict[str, Tensor]]:
    """Read the configuration and the weights of a released model, of EGTR or of FROSS, or of a detector.

    The folder holds ``config.json`` and one of

    - ``checkpoints/epoch=*.ckpt``, as written by the released code, of EGTR or of only the detector; the one of the
      highest epoch is read;
    - ``model.safetensors`` or ``pytorch_model.bin``: a Hugging Face Deformable DETR on a timm backbone, or an RT-DETR
      or RT-DETRv2.

    In place of a folder it may be a ``.pth`` file of RT-DETR's authors, whose settings follow from its weights; its
    moving average is read if it has one.

    The weights decide whether there is a relation part, because the config.json of a detector may mention one, too.
    Counters of batch norms (``num_batches_tracked``) that the model does not have are dropped silently.

    Args:
        artifact_dir: the folder, or a file of RT-DETR's authors.
        strict: refuse weights that the model does not know, lacks or has in another shape. Otherwise they are logged,
            and unknown or misshapen weights are left out.
        unsafe_pickle: read a file of objects that are not known to be harmless. Reading it may run any code.

    Returns:
        cfg: the configuration, without MODEL.WEIGHTS; MODEL.EGTR.CLASS_NAMES has the class names of config.json.
        state_dict: the weights under the names of this library, for ``build_model(cfg).load_state_dict``.

    Raises:
        WeightsError: a file is missing or cannot be read safely, or names do not fit.
        ConfigurationError: config.json has a setting that is not supported.
    """
    cfg, state_dict, _ = _load(Path(artifact_dir), strict, unsafe_pickle)
    return cfg, state_dict


def convert_artifact(
    artifact_dir: str | Path,
    output_dir: str | Path,
    *,
    dataset: str = "",
    names_files: Sequence[str | Path] = (),
    info: ModelInfo | None = None,
    strict: bool = True,
    unsafe_pickle: bool = False,
) -> Conversion:
    """Write a released model as ``model.pth``, ``model.safetensors``, ``config.yaml`` and ``model_info.json``.

    Names of classes and predicates go into the configuration: from ``dataset``, else from ``names_files``, else class
    names from config.json. A model of the released code that has the numbers of classes and predicates of Visual
    Genome 150 gets its names. Without any names the model prints numbers.

    Args:
        artifact_dir, strict, unsafe_pickle: see :func:`load_reference`.
        output_dir: folder for the four files, made if it does not exist.
        dataset: a registered dataset, which also becomes DATASETS.TEST.
        names_files: see :func:`~egtr.checkpoint.class_names.read_names`.
        info: what else is known of the model, for ``model_info.json``.

    Raises:
        WeightsError, ConfigurationError: see :func:`load_reference`.
        DataError: the number of names is not that of the model's classes or predicates.
        WriteError: the folder cannot be made.
    """
    cfg, state_dict, source = _load(Path(artifact_dir), strict, unsafe_pickle)
    set_names(cfg, names_files, dataset)
    if dataset:
        cfg.DATASETS.TEST = (dataset,)
    if source.suffix == ".ckpt":
        _set_visual_genome_names(cfg, source)
    output_dir = Path(output_dir)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(
            f"{output_dir}: cannot be made ({error.strerror}). Name another folder (--output)"
        ) from error
    files = [output_dir / name for name in ("model.pth", "model.safetensors", "config.yaml", FILE_NAME)]
    info = describe_model(cfg).merged(info or ModelInfo())
    for path in files[:2]:
        export_weights(state_dict, path, info=info)
    info.save(files[3])
    # Absolute, so that the configuration can be used from any folder.
    cfg.MODEL.WEIGHTS = str(files[0].resolve())
    cfg.OUTPUT_DIR = f"output/{output_dir.resolve().name}"
    write_text(files[2], cfg.dump())
    egtr = cfg.MODEL.EGTR
    return Conversion(source, *files, len(state_dict), egtr.CLASS_NAMES, egtr.PREDICATE_NAMES)


def _load(folder: Path, strict: bool, unsafe_pickle: bool) -> tuple[CfgNode, dict[str, Tensor], Path]:
    if folder.is_file():
        source, weights = folder, _read_weights(folder, unsafe_pickle)
        if not has_rtdetr_names(weights):
            raise WeightsError(
                f"{folder}: only RT-DETR weights of its authors can be read without config.json. Name the folder "
                "that has both"
            )
        config = config_from_weights(weights)
    else:
        config, source = _read_config(folder), _find_weights(folder)
        weights = _read_weights(source, unsafe_pickle)
    unknown, models = unknown_names(weights), family(weights)
    weights = convert_state_dict({n: v for n, v in weights.items() if n not in unknown})
    if not any(name.startswith("relation.") for name in weights):
        config.pop("num_rel_labels", None)
    if is_rtdetr_config(config) and "transformer.class_heads.0.bias" in weights:
        config["num_labels"] = len(weights["transformer.class_heads.0.bias"])
    try:
        cfg = config_from_reference(config)
    except EGTRError as error:
        raise ConfigurationError(f"{folder}: {error}") from error
    cfg.MODEL.EGTR.CLASS_NAMES = _names_in(config, cfg.MODEL.EGTR.NUM_CLASSES)
    # Ordinary batch norms count their batches, frozen ones do not.
    downsample = any(".downsample." in name and name.endswith(_COUNTER) for name in weights)
    cfg.MODEL.EGTR.BACKBONE.FREEZE_DOWNSAMPLE_NORM = not downsample

    expected = _shapes(cfg)
    weights = {n: v for n, v in weights.items() if n in expected or not n.endswith(_COUNTER)}
    _share_class_head(weights, expected)
    unexpected = [name for name in weights if name not in expected]
    misshapen = [n for n, v in weights.items() if n in expected and v.shape != expected[n]]
    problems = {
        f"no {models} checkpoint has": unknown,
        "the model that config.json describes has no": unexpected,
        "the file lacks": [name for name in expected if name not in weights],
        "config.json asks for another shape of": [
            f"{n} {tuple(weights[n].shape)}, not {tuple(expected[n])}" for n in misshapen
        ],
    }
    report = [f"{what}: {', '.join(names)}" for what, names in problems.items() if names]
    if report and strict:
        raise WeightsError(
            f"{source}: weights and model do not fit; " + "; ".join(report) + ". If config.json is the right one, "
            "strict=False (--allow-mismatch) loads the weights that fit"
        )
    for line in report:
        logger.warning("%s: %s", source, line)
    refused = {*unexpected, *misshapen}
    return cfg, {n: v for n, v in weights.items() if n not in refused}, source


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot be read ({error.strerror}). An artifact is a folder with config.json and "
            "checkpoints/epoch=*.ckpt, model.safetensors or pytorch_model.bin"
        ) from error
    except ValueError as error:
        raise WeightsError(f"{path}: not a JSON file ({error}). Copy it again") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path}: holds a {type(config).__name__}, expected the settings of a model")
    return config


def _find_weights(folder: Path) -> Path:
    checkpoints = {}
    for path in (folder / "checkpoints").glob("*.ckpt"):
        # macOS adds files that begin with "._" and hold no weights.
        if path.name[0] != "." and (epoch := re.search(r"epoch=(\d+)", path.stem)):
            checkpoints.setdefault(int(epoch.group(1)), []).append(path)
    if checkpoints:
        last = sorted(checkpoints[max(checkpoints)])
        if len(last) > 1:
            raise WeightsError(
                f"{folder}: {' and '.join(path.name for path in last)} are of the same epoch. Keep one of them in "
                "checkpoints/"
            )
        return last[0]
    for name in _HUGGING_FACE_FILES:
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(f"{folder}: has neither checkpoints/epoch=*.ckpt nor {' nor '.join(_HUGGING_FACE_FILES)}")


def _read_weights(path: Path, unsafe_pickle: bool) -> dict[str, Tensor]:
    refuse_foreign(path)
    if is_safetensors(path):
        return load_checkpoint_file(str(path))["model"]
    advice = "If you trust its origin, read it with unsafe_pickle=True (--unsafe-pickle)"
    content = load_torch_file(path, advice, unsafe_pickle)
    # RT-DETR's authors evaluate the moving average.
    average = find_weights(content.get("ema")) if isinstance(content, dict) else None
    found = average if average and has_rtdetr_names(average[0]) else find_weights(content)
    if found is None or not found[0]:
        raise WeightsError(f'{path}: holds no weights: expected a dict of tensors, or one under "state_dict"')
    return clean_names(found[0])


def _shapes(cfg: CfgNode) -> dict[str, torch.Size]:
    cfg = cfg.clone()
    # Only shapes are needed: this saves the memory, and the time to draw random weights.
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return {name: value.shape for name, value in build_model(cfg).state_dict().items()}


def _share_class_head(weights: dict[str, Tensor], expected: Mapping[str, torch.Size]) -> None:
    """Give each layer the one class head that files of transformers 5 have with box refinement (in place)."""
    heads = [name for name in expected if name.startswith("transformer.class_heads.")]
    if {name for name in heads if name in weights} == {name for name in heads if ".class_heads.0." in name}:
        for name in heads:
            weights[name] = weights[re.sub(r"\d+", "0", name, count=1)]


def _names_in(config: dict[str, Any], number: int) -> list[str]:
    """Read the class names of config.json; transformers fills it with LABEL_0, LABEL_1, ... if there are none."""
    names = config.get("id2label") or {}
    names = [str(names.get(str(k), f"LABEL_{k}")) for k in range(number)]
    return [] if all(re.fullmatch(r"LABEL_\d+", name) for name in names) else names


def set_names(cfg: CfgNode, names_files: Sequence[str | Path] = (), dataset: str = "") -> None:
    """Set MODEL.EGTR.CLASS_NAMES and PREDICATE_NAMES (in place); names that are not given stay.

    Args:
        cfg: a configuration.
        names_files: see :func:`~egtr.checkpoint.class_names.read_names`.
        dataset: a registered dataset, whose names are taken instead.

    Raises:
        DataError: the number of names is not that of the model's classes or predicates.
    """
    egtr = cfg.MODEL.EGTR
    classes, predicates = read_names(names_files)
    if dataset:
        metadata = get_metadata(dataset)
        classes, predicates = metadata.get("thing_classes"), metadata.get("predicate_classes")
    if not egtr.RELATION.ENABLED:
        predicates = None
    where = f"dataset {dataset!r}" if dataset else " and ".join(map(str, names_files))
    for key, names, what, number in (
        ("CLASS_NAMES", classes, "classes", egtr.NUM_CLASSES),
        ("PREDICATE_NAMES", predicates, "predicates", egtr.NUM_PREDICATES),
    ):
        if names and len(names) != number:
            raise DataError(
                f"{where}: names {len(names)} {what}, but the model has {number}. Name the dataset that it was "
                "trained on"
            )
        if names:
            egtr[key] = list(names)


def _set_visual_genome_names(cfg: CfgNode, source: Path) -> None:
    """Name what is still without names if the numbers are those of Visual Genome 150 (in place).

    The released code trains on two datasets only, and saves no names.
    """
    egtr = cfg.MODEL.EGTR
    classes, predicates = get_known_names("vg150")
    related = egtr.RELATION.ENABLED
    if egtr.NUM_CLASSES != len(classes) or (related and egtr.NUM_PREDICATES != len(predicates)):
        return
    if egtr.CLASS_NAMES and egtr.CLASS_NAMES != classes:
        # Another dataset of the same numbers.
        return
    for key, names in (("CLASS_NAMES", classes), ("PREDICATE_NAMES", predicates if related else [])):
        if names and not egtr[key]:
            logger.info("%s: %d names of Visual Genome 150 become MODEL.EGTR.%s", source, len(names), key)
            egtr[key] = names
