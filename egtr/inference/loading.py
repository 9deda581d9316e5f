"""The model of a configuration, with its weights, its record and its names."""

import logging

from egtr import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.utils.file_io import PathManager

from egtr.checkpoint.checkpointer import EGTRCheckpointer
from egtr.data import get_metadata
from egtr.modeling.names import get_names
from egtr.structures import EGTRError, ModelInfo, WeightsError

logger = logging.getLogger(__name__)


def load_model(cfg: CfgNode) -> tuple[torch.nn.Module, ModelInfo | None]:
    """Build the model of a configuration, in evaluation mode, and load MODEL.WEIGHTS.

    Returns:
        The model, and the record beside the weights, if there is one.

    Raises:
        WeightsError: MODEL.WEIGHTS is empty, cannot be read or lacks parameters of the model.
    """
    weights = cfg.MODEL.WEIGHTS
    if not weights:
        raise WeightsError(
            "MODEL.WEIGHTS is empty, so there is no trained model to predict with. Set it in the configuration, or "
            "add MODEL.WEIGHTS FILE to the options"
        )
    model = build_model(cfg)
    checkpointer = EGTRCheckpointer(model)
    checkpointer.load(weights)
    checkpointer.check_complete(weights)
    return model.eval(), ModelInfo.find(PathManager.get_local_path(weights))


def read_names(cfg: CfgNode) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Read the names of classes and predicates from a configuration, else from the files of DATASETS.TEST[0].

    Returns:
        Class names and predicate names; None where no names that fit the model are known.
    """
    if len(cfg.DATASETS.TEST) and not (cfg.MODEL.EGTR.CLASS_NAMES and cfg.MODEL.EGTR.PREDICATE_NAMES):
        # Prediction needs no dataset; without one, only names are missing.
        try:
            get_metadata(cfg.DATASETS.TEST[0])
        except EGTRError as error:
            logger.info("Names of classes and predicates may be missing: %s", error)
    return get_names(cfg)
