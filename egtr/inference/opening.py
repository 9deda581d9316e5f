"""One call from the name of any model to a predictor, in the runtime that the model needs."""

import logging
import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from egtr.config.arguments import DEFAULT_MODEL
from egtr.config.exported import is_exported
from egtr.hub.model_zoo import EXPORTED, get_exported_file
from egtr.structures import ConfigurationError, Predictor

if TYPE_CHECKING:
    from detectron2.config import CfgNode

logger = logging.getLogger(__name__)


def open_predictor(
    model: "str | CfgNode" = DEFAULT_MODEL, opts: Sequence[str] = (), *, providers: Sequence[str] = ()
) -> Predictor:
    """Open a model: an exported file with :mod:`egtr.lite`, everything else in PyTorch.

    A model that ships is opened as an exported file, too, if torch or Detectron2 is not installed.

    Args:
        model: an exported file; a name or file for :meth:`egtr.inference.EGTRPredictor.from_config_file`; or a
            configuration with MODEL.WEIGHTS.
        opts: keys and values in turn, for models in PyTorch.
        providers: see :class:`egtr.lite.LitePredictor`, for exported files.

    Returns:
        A predictor; only a model in PyTorch has the method ``explain``.

    Raises:
        ConfigurationError: ``opts`` for an exported file, or ``providers`` for a model in PyTorch; or the runtime is
            not installed.
        MissingDetectron2Error: the model needs PyTorch, and torch or Detectron2 is missing.
        EGTRError: the model cannot be loaded.
    """
    if isinstance(model, str) and runs_without_torch(model):
        # Here, since a model in PyTorch needs no onnxruntime.
        from egtr.lite import LitePredictor

        path = model
        if not is_exported(model):
            path = get_exported_file(model)
            logger.info("torch or Detectron2 is missing, so %s runs as an exported model: %s", model, path)
        if opts:
            raise ConfigurationError(
                f"{model}: {opts[0]} is a key for models in PyTorch, and an exported model has no keys. Leave it out"
            )
        return LitePredictor(path, providers or None)
    if providers:
        raise ConfigurationError(
            f"{model if isinstance(model, str) else 'model'}: runs in PyTorch, which has no provider "
            f"{', '.join(providers)}. Set MODEL.DEVICE, or name an exported model (.onnx, .xml)"
        )
    from .predictor import EGTRPredictor

    return EGTRPredictor.from_config_file(model, opts) if isinstance(model, str) else EGTRPredictor(model)


def runs_without_torch(name: str) -> bool:
    """Tell whether :func:`open_predictor` opens a model without PyTorch.

    It does so with exported models, and with a model that ships if torch or Detectron2 is missing.

    Args:
        name: the name of a model, or a file.
    """
    if is_exported(name):
        return True
    return name in EXPORTED and not os.path.isfile(name) and not has_torch()


def has_torch() -> bool:
    """Tell whether torch and Detectron2 are installed, without importing them."""
    return find_spec("torch") is not None and find_spec("detectron2") is not None
