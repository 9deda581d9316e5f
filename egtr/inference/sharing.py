"""Sharing of models: a folder, or a repository of the Hugging Face Hub, from a predictor and back."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from detectron2.config import CfgNode

from egtr.checkpoint import describe_model, export_weights
from egtr.checkpoint.files import describe_write_error
from egtr.config.defaults import get_egtr_cfg
from egtr.config.loading import load_config
from egtr.hub.model_card import write_model_card
from egtr.hub.shared import (
    CARD,
    CONFIG,
    FILES,
    WEIGHTS,
    check_shared_model,
    get_shared_model,
    parse_name,
    upload_model,
)
from egtr.structures import ConfigurationError, ModelInfo, WeightsError, WriteError
from egtr.structures.model_info import FILE_NAME


class Sharing:
    """Sharing of a predictor: ``save_pretrained``, ``from_pretrained`` and ``push_to_hub``, as of other libraries.

    Attributes:
        cfg, model, class_names, predicate_names, weights, cfg_is_complete: see :class:`egtr.inference.EGTRPredictor`.
    """

    cfg: CfgNode
    model: torch.nn.Module
    class_names: tuple[str, ...] | None
    predicate_names: tuple[str, ...] | None
    weights: str
    cfg_is_complete: bool

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike,
        opts: Sequence[str] = (),
        *,
        revision: str | None = None,
        update: bool = False,
    ) -> Self:
        """Make a predictor from a shared model: a folder of :meth:`save_pretrained`, or a repository of the Hub.

        Args:
            name: a folder, or ``USER/REPOSITORY`` on the Hugging Face Hub if there is no such folder.
            opts: keys and values in turn, such as ``["MODEL.DEVICE", "cpu"]``.
            revision, update: see :func:`egtr.hub.shared.get_shared_model`.

        Raises:
            WeightsError: the folder or repository holds no model of this library.
            ConfigurationError, DownloadError, WriteError: see :func:`egtr.hub.shared.get_shared_model`.
        """
        folder = Path(name).expanduser()
        if folder.is_dir():
            check_shared_model(folder, str(folder))
        elif isinstance(name, os.PathLike) or name.count("/") != 1:
            raise WeightsError(f"{name}: is neither a folder nor USER/REPOSITORY on the Hugging Face Hub")
        else:
            folder = get_shared_model(name, revision=revision, update=update)
        return cls(load_config(str(folder / CONFIG), opts))

    def save_pretrained(self, folder: str | os.PathLike, info: ModelInfo | None = None) -> Path:
        """Write the model into a folder that can be shared, and that :meth:`from_pretrained` reads.

        The folder gets ``config.yaml``, ``model.safetensors``, ``model_info.json`` with the names, and ``README.md``,
        the card of the model. Files of these names are replaced.

        Args:
            folder: the folder, made if it does not exist.
            info: what is known of the model beyond its configuration and the record beside the weights that it was
                loaded from: metrics, domain, dataset, licence.

        Returns:
            The folder.

        Raises:
            ConfigurationError: the predictor was made of a built model, so that its configuration is not known.
            WriteError: the folder cannot be written.
        """
        return _save(self, folder, info)

    def push_to_hub(
        self,
        name: str,
        info: ModelInfo | None = None,
        *,
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        message: str = "Upload a model of egtr",
    ) -> str:
        """Upload the model to the Hugging Face Hub, as :meth:`save_pretrained` writes it.

        Args:
            name: ``USER/REPOSITORY``; the repository is made if necessary.
            info: see :meth:`save_pretrained`.
            private, token, branch, message: see :func:`egtr.hub.shared.upload_model`.

        Returns:
            The address of the repository.

        Raises:
            ConfigurationError: see :meth:`save_pretrained`, or ``name`` is none of a repository.
            WriteError: the Hub cannot be reached, or refuses.
        """
        with tempfile.TemporaryDirectory() as folder:
            _save(self, folder, info, name=parse_name(name))
            return upload_model(folder, name, private=private, token=token, branch=branch, message=message)


def _save(predictor: Sharing, folder: str | os.PathLike, info: ModelInfo | None, name: str = "") -> Path:
    if not predictor.cfg_is_complete:
        raise ConfigurationError(
            "The model was given without its configuration, which a shared model needs. Make the predictor by "
            "EGTRPredictor(cfg, model)"
        )
    folder = Path(folder)
    cfg = _shared_config(predictor)
    record = _find_info(predictor.weights).merged(describe_model(cfg)).merged(info or ModelInfo())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Nothing is replaced before everything is written.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".egtr-") as staged:
            new = Path(staged)
            export_weights(predictor.model, new / WEIGHTS, info=record)
            record.save(new / FILE_NAME)
            (new / CONFIG).write_text(cfg.dump(), "utf-8")
            card = write_model_card(record, name or folder.resolve().name)
            (new / CARD).write_text(card, "utf-8")
            for file in FILES:
                os.replace(new / file, folder / file)
    except (OSError, WriteError) as error:
        reason = describe_write_error(error)
        raise WriteError(
            f"{folder}: cannot be written ({reason}); name a folder that has room and is open"
        ) from error
    return folder


def _shared_config(predictor: Sharing) -> CfgNode:
    """Return the configuration without what belongs to this machine: paths, datasets of its own, its device."""
    cfg, defaults = predictor.cfg.clone(), get_egtr_cfg()
    cfg.defrost()
    own = {row[0] for row in cfg.DATASETS.REGISTER}
    for key in ("TRAIN", "TEST"):
        cfg.DATASETS[key] = tuple(name for name in cfg.DATASETS[key] if name not in own)
    cfg.DATASETS.REGISTER = []
    cfg.MODEL.WEIGHTS = WEIGHTS
    cfg.MODEL.DEVICE = defaults.MODEL.DEVICE
    cfg.MODEL.EGTR.DETECTOR_CACHE = defaults.MODEL.EGTR.DETECTOR_CACHE
    cfg.OUTPUT_DIR = defaults.OUTPUT_DIR
    cfg.MODEL.EGTR.CLASS_NAMES = list(predictor.class_names or ())
    cfg.MODEL.EGTR.PREDICATE_NAMES = list(predictor.predicate_names or ())
    return cfg


def _find_info(weights: str) -> ModelInfo:
    """Read the record beside the weights, if there are weights and a record."""
    from detectron2.utils.file_io import PathManager

    if not weights or not PathManager.isfile(weights):
        return ModelInfo()
    return ModelInfo.find(PathManager.get_local_path(weights)) or ModelInfo()
