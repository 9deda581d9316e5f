"""EGTR: scene graphs out of the self-attention of a DETR decoder, as a Detectron2 plugin.

Importing the package registers everything: the meta-architecture ``EGTR``, the timm backbones, relation and
connectivity heads, the data sets, and the ``egtr://`` paths of what comes with it.
"""

# _detectron2 comes first: it checks that Detectron2 is there before anything else imports it.
from . import _detectron2, data, modeling, model_zoo  # noqa: F401  isort: skip
from .config import add_egtr_config, get_egtr_cfg
from .modeling import (
    CONNECTIVITY_HEAD_REGISTRY,
    EGTR,
    PAIR_FUNCTION_REGISTRY,
    RELATION_HEAD_REGISTRY,
    EGTROutput,
    PairFeatures,
)
from .structures import EGTRError, Prediction, SceneGraph
from .version import __version__

__all__ = [
    "CONNECTIVITY_HEAD_REGISTRY",
    "EGTR",
    "PAIR_FUNCTION_REGISTRY",
    "RELATION_HEAD_REGISTRY",
    "EGTRError",
    "EGTROutput",
    "PairFeatures",
    "Prediction",
    "SceneGraph",
    "__version__",
    "add_egtr_config",
    "data",
    "get_egtr_cfg",
    "model_zoo",
]
