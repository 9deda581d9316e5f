"""Sharing of models: a folder, or a repository of the Hugging Face Hub, from a predictor and back."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from detectron2.config import CfgNode
from huggingface_hub import ModelCard, ModelHubMixin

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


class Sharing(ModelHubMixin):
    """Sharing of a predictor: huggingface_hub's mixin, with ``config.yaml`` and a record in place of ``config.json``.

    The three methods for users replace those of the mixin, which read, write or delete a ``config.json``, make the
    repository before the model is saved, and do not know the record. Their arguments have the names of the mixin.

    Attributes:
        cfg, model, class_names, predicate_names, weights, cfg_is_complete: see :class:`egtr.inference.EGTRPredictor`.
    """

    cfg: CfgNode
    model: torch.nn.Module
    class_names: tuple[str, ...] | None
    predicate_names: tuple[str, ...] | None
    weights: str
    cfg_is_complete: bool

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make an instance without the mixin's copy of the arguments, which would keep ``cfg`` for a config.json."""
        return object.__new__(cls)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        opts: Sequence[str] = (),
        *,
        revision: str | None = None,
        update: bool = False,
        force_download: bool = False,
        local_files_only: bool = False,
        cache_dir: str | os.PathLike | None = None,
        token: str | bool | None = None,
    ) -> Self:
        """Make a predictor from a shared model: a folder of :meth:`save_pretrained`, or a repository of the Hub.

        Args:
            pretrained_model_name_or_path: a folder, or ``USER/REPOSITORY`` on the Hugging Face Hub if there is no
                such folder.
            opts: keys and values in turn, such as ``["MODEL.DEVICE", "cpu"]``.
            revision, update, local_files_only, cache_dir, token: see :func:`egtr.hub.shared.get_shared_model`.
            force_download: the mixin's word for ``update``.

        Raises:
            WeightsError: the folder or repository holds no model of this library.
            ConfigurationError, DownloadError, WriteError: see :func:`egtr.hub.shared.get_shared_model`.
        """
        return cls._from_pretrained(
            model_id=pretrained_model_name_or_path,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download or update,
            local_files_only=local_files_only,
            token=token,
            opts=opts,
        )

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str | os.PathLike,
        revision: str | None,
        cache_dir: str | os.PathLike | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        opts: Sequence[str] = (),
    ) -> Self:
        folder = Path(model_id).expanduser()
        if folder.is_dir():
            check_shared_model(folder, str(folder))
        elif isinstance(model_id, os.PathLike) or model_id.count("/") != 1:
            raise WeightsError(f"{model_id}: is neither a folder nor USER/REPOSITORY on the Hugging Face Hub")
        else:
            folder = get_shared_model(
                model_id,
                revision=revision,
                update=force_download,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
                token=token,
            )
        return cls(load_config(str(folder / CONFIG), opts))

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        info: ModelInfo | None = None,
        *,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        **push_to_hub_kwargs: Any,
    ) -> Path | str:
        """Write the model into a folder that can be shared, and that :meth:`from_pretrained` reads.

        The folder gets ``config.yaml``, ``model.safetensors``, ``model_info.json`` with the names, and ``README.md``,
        the card of the model. Files of these names are replaced.

        Args:
            save_directory: the folder, made if it does not exist.
            info: what is known of the model beyond its configuration and the record beside the weights that it was
                loaded from: metrics, domain, dataset, licence.
            push_to_hub: whether to upload the model, too.
            repo_id: ``USER/REPOSITORY`` for the upload.
            push_to_hub_kwargs: further arguments of :meth:`push_to_hub`.

        Returns:
            The folder; with ``push_to_hub``, what :meth:`push_to_hub` returns.

        Raises:
            ConfigurationError: the predictor was made of a built model, so that its configuration is not known; or
                arguments of an upload are given, but no ``push_to_hub``, or ``push_to_hub`` without ``repo_id``.
            WriteError: the folder cannot be written.
        """
        if push_to_hub_kwargs and not push_to_hub:
            names = ", ".join(push_to_hub_kwargs)
            raise ConfigurationError(f"{names}: is for uploads only. Add push_to_hub=True, or leave it out")
        if push_to_hub and repo_id is None:
            raise ConfigurationError("push_to_hub=True needs a repository; add repo_id='USER/REPOSITORY'")
        folder = Path(save_directory).expanduser()
        self._save_pretrained(folder, info)
        if push_to_hub:
            return self.push_to_hub(repo_id, info, **push_to_hub_kwargs)
        return folder

    def _save_pretrained(self, save_directory: Path, info: ModelInfo | None = None, repo_id: str = "") -> None:
        cfg = _shared_config(self)
        record = _find_record(self, cfg, info)
        try:
            save_directory.mkdir(parents=True, exist_ok=True)
            # Nothing is replaced before everything is written.
            with tempfile.TemporaryDirectory(dir=save_directory, prefix=".egtr-") as staged:
                new = Path(staged)
                export_weights(self.model, new / WEIGHTS, info=record)
                record.save(new / FILE_NAME)
                (new / CONFIG).write_text(cfg.dump(), "utf-8")
                card = write_model_card(record, repo_id or save_directory.resolve().name)
                (new / CARD).write_text(card, "utf-8")
                for file in FILES:
                    os.replace(new / file, save_directory / file)
        except (OSError, WriteError) as error:
            reason = describe_write_error(error)
            raise WriteError(
                f"{save_directory}: cannot be written ({reason}); name a folder that has room and is open"
            ) from error

    def push_to_hub(
        self,
        repo_id: str,
        info: ModelInfo | None = None,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        commit_message: str = "Upload a model of egtr",
        create_pr: bool = False,
        delete_patterns: Sequence[str] | str | None = None,
    ) -> str:
        """Upload the model to the Hugging Face Hub, as :meth:`save_pretrained` writes it.

        Args:
            repo_id: ``USER/REPOSITORY``; the repository is made if necessary.
            info: see :meth:`save_pretrained`.
            private, token, branch, commit_message, create_pr, delete_patterns: see
                :func:`egtr.hub.shared.upload_model`.

        Returns:
            The address of the repository, or of the pull request.

        Raises:
            ConfigurationError, DownloadError, WriteError: see :meth:`save_pretrained` and
                :func:`egtr.hub.shared.upload_model`.
        """
        with tempfile.TemporaryDirectory() as folder:
            self._save_pretrained(Path(folder), info, parse_name(repo_id))
            return upload_model(
                folder,
                repo_id,
                private=private,
                token=token,
                branch=branch,
                commit_message=commit_message,
                create_pr=create_pr,
                delete_patterns=delete_patterns,
            )

    def generate_model_card(self, info: ModelInfo | None = None, repo_id: str = "USER/REPOSITORY") -> ModelCard:
        """Make the card that :meth:`save_pretrained` writes.

        Args:
            info: see :meth:`save_pretrained`.
            repo_id: the name of the model.
        """
        return ModelCard(write_model_card(_find_record(self, _shared_config(self), info), repo_id))


def _shared_config(predictor: Sharing) -> CfgNode:
    """Return the configuration without what belongs to this machine: paths, datasets of its own, its device."""
    if not predictor.cfg_is_complete:
        raise ConfigurationError(
            "The model was given without its configuration, which a shared model needs. Make the predictor by "
            "EGTRPredictor(cfg, model)"
        )
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


def _find_record(predictor: Sharing, cfg: CfgNode, info: ModelInfo | None) -> ModelInfo:
    """Return what ``info`` says over what ``cfg`` and the record beside the weights say."""
    from detectron2.utils.file_io import PathManager

    found = None
    if predictor.weights and PathManager.isfile(predictor.weights):
        found = ModelInfo.find(PathManager.get_local_path(predictor.weights))
    return (found or ModelInfo()).merged(describe_model(cfg)).merged(info or ModelInfo())
