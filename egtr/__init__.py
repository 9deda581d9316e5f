"""EGTR: scene graphs out of the self-attention of a DETR decoder, as a Detectron2 plugin.

Importing the package registers everything: the meta-architecture ``EGTR``, the timm backbones, relation and
connectivity heads, the data sets, and the ``egtr://`` paths of what comes with it.

Where Detectron2 or torch is not installed, ``egtr.structures`` and ``egtr.evaluation`` work all the same, so that
saved predictions can be scored anywhere; whatever else is asked for says how to install what is missing.
"""

from typing import Any

from .structures import EGTRError, Prediction, SceneGraph
from .structures.errors import MissingDetectron2Error
from .version import __version__

try:
    from . import _detectron2  # noqa: F401 - before anything else imports Detectron2
except MissingDetectron2Error:
    pass
else:
    from . import data, model_zoo, modeling  # noqa: F401 - importing is registering
    from .config import add_egtr_config, get_egtr_cfg
    from .engine import EGTRPredictor, explain, explain_graph, predict
    from .modeling import (
        CONNECTIVITY_HEAD_REGISTRY,
        EGTR,
        PAIR_FUNCTION_REGISTRY,
        RELATION_HEAD_REGISTRY,
        EGTROutput,
        PairFeatures,
    )

__all__ = [
    "CONNECTIVITY_HEAD_REGISTRY",
    "EGTR",
    "PAIR_FUNCTION_REGISTRY",
    "RELATION_HEAD_REGISTRY",
    "EGTRError",
    "EGTROutput",
    "EGTRPredictor",
    "PairFeatures",
    "Prediction",
    "SceneGraph",
    "__version__",
    "add_egtr_config",
    "data",
    "explain",
    "explain_graph",
    "get_egtr_cfg",
    "model_zoo",
    "predict",
]


def __getattr__(name: str) -> Any:
    # Asked only for names that are not there: with Detectron2, for none of the above.
    if name in __all__:
        from . import _detectron2  # noqa: F401 - raises, and says how to install it
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
