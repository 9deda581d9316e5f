"""From any picture to its scene graph, in one call."""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.evaluation.evaluator import inference_context
from detectron2.modeling import build_model

import egtr.modeling  # noqa: F401 - registers the architecture
from egtr import model_zoo
from egtr.data import build_augmentation, get_metadata
from egtr.data.image import ImageSource, load_image
from egtr.modeling.names import get_names
from egtr.structures import EGTRError, SceneGraph

from .checkpointer import EGTRCheckpointer
from .defaults import fall_back_to_cpu, load_config, without_pretrained

logger = logging.getLogger(__name__)

DEFAULT_CONFIG = "scenes/egtr.yaml"


class EGTRPredictor:
    """A trained model, ready for pictures.

    Unlike Detectron2's ``DefaultPredictor`` it takes pictures in any form, resizes them by the rule the model was
    evaluated with and returns the graph alone, with names.

    Args:
        cfg: a configuration with MODEL.WEIGHTS set. Names come from MODEL.EGTR.CLASS_NAMES and PREDICATE_NAMES, or
            from the metadata of DATASETS.TEST[0] or its files, where they are there. Where MODEL.DEVICE is a GPU and
            there is none, the CPU serves.
        model: a built model in place of a new one; MODEL.WEIGHTS is not loaded then. It may be in training: each
            call leaves it in the mode in which it was.

    Attributes:
        cfg, model: as used.
        class_names, predicate_names: tuples, or None where none are known that fit the model.

    Raises:
        EGTRError: MODEL.WEIGHTS is empty, cannot be read or lacks parameters of the model.
    """

    def __init__(self, cfg: CfgNode, model: torch.nn.Module | None = None):
        cfg = cfg.clone()
        cfg.defrost()
        fall_back_to_cpu(cfg)
        self.cfg = cfg = without_pretrained(cfg)
        if cfg.INPUT.FORMAT not in ("RGB", "BGR"):
            raise EGTRError(f"INPUT.FORMAT is {cfg.INPUT.FORMAT!r}; take 'RGB' or 'BGR'")
        if len(cfg.DATASETS.TEST) and not (cfg.MODEL.EGTR.CLASS_NAMES and cfg.MODEL.EGTR.PREDICATE_NAMES):
            _read_names(cfg.DATASETS.TEST[0])
        self.class_names, self.predicate_names = get_names(cfg)
        if model is None:
            model = _load_model(cfg).eval()
        self.model = model
        self.augmentations = T.AugmentationList(build_augmentation(cfg, is_train=False))

    @classmethod
    def from_config_file(cls, name: str = DEFAULT_CONFIG, opts: Sequence[str] = ()) -> Self:
        """A predictor for a YAML file.

        Args:
            name: a path, or a configuration that comes with EGTR (:func:`egtr.model_zoo.list_configs`); by default
                the shipped model of the ``scenes`` data set.
            opts: keys and values in turn, such as ``["MODEL.DEVICE", "cpu"]``.

        Raises:
            EGTRError: there is no such file, key or checkpoint.
        """
        if "://" not in name and not os.path.isfile(name):
            name = model_zoo.get_config_file(name)
        return cls(load_config(name, opts))

    @torch.no_grad()
    def __call__(self, source: ImageSource, channel_order: str | None = None) -> SceneGraph:
        """The scene graph of one picture: all queries, and triplets by descending score.

        Args:
            source, channel_order: see :func:`egtr.data.image.load_image`.

        Returns:
            A graph with boxes in pixels of the picture turned upright. ``graph.filter(...)`` and
            :func:`egtr.visualization.select_for_display` leave what is worth reading.

        Raises:
            EGTRError: the picture cannot be read, or the model has no relation part.
        """
        image = load_image(source, channel_order)
        height, width = image.shape[:2]
        if self.cfg.INPUT.FORMAT == "BGR":
            image = image[:, :, ::-1]
        aug_input = T.AugInput(np.ascontiguousarray(image))
        self.augmentations(aug_input)
        pixels = torch.from_numpy(np.ascontiguousarray(aug_input.image.transpose(2, 0, 1)))
        with inference_context(self.model):
            result = self.model([{"image": pixels, "height": height, "width": width}])[0]
        if "scene_graph" not in result:
            raise EGTRError("MODEL.EGTR.RELATION.ENABLED is False: the model detects objects but finds no relations")
        graph = result["scene_graph"]
        return replace(
            graph,
            class_names=graph.class_names or self.class_names,
            predicate_names=graph.predicate_names or self.predicate_names,
        )


def _load_model(cfg: CfgNode) -> torch.nn.Module:
    if not cfg.MODEL.WEIGHTS:
        raise EGTRError(
            "MODEL.WEIGHTS is empty, so there is no trained model to predict with. Set it in the configuration, or "
            "add MODEL.WEIGHTS FILE to the options"
        )
    model = build_model(cfg)
    checkpointer = EGTRCheckpointer(model)
    checkpointer.load(cfg.MODEL.WEIGHTS)
    checkpointer.check_complete(cfg.MODEL.WEIGHTS)
    return model


def _read_names(dataset_name: str) -> None:
    """Prediction needs no data set; names are all that is missing where there is none."""
    try:
        get_metadata(dataset_name)
    except EGTRError as error:
        logger.info("Names of classes and predicates may be missing: %s", error)
