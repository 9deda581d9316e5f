"""EGTR: scene graphs out of the self-attention of a DETR decoder, as a Detectron2 plugin.

Importing the package is light: each name below loads its part of the library when it is first used, so neither torch
nor Detectron2 is imported before something needs them. :func:`register` makes the library known to Detectron2.

``egtr.structures``, ``egtr.evaluation`` and ``egtr.visualization`` work without Detectron2 and torch, so that saved
predictions can be scored anywhere. Every other name then raises an ``ImportError`` that says how to install what is
missing.
"""

import importlib

try:
    import lazy_loader
except ModuleNotFoundError as error:
    # The first package that is missing where the wheel was installed without its requirements.
    raise ModuleNotFoundError(
        "egtr needs the package lazy-loader and others: pip install -r requirements-lite.txt (without torch, see "
        "docs/deployment.md) or -r requirements.txt",
        name=error.name,
    ) from None

from . import _deprecated
from .version import __version__

# Importing these modules adds to the registries and catalogs of Detectron2. They are named as text, because they
# import this package, and it must not import them back.
_REGISTERING_MODULES = ("egtr.modeling", "egtr.data.datasets.builtin")
_PATH_HANDLER_MODULE = "egtr.hub.path_handler"

_load, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "checkpoint",
        "config",
        "data",
        "engine",
        "evaluation",
        "experiments",
        "hub",
        "inference",
        "layers",
        "modeling",
        "structures",
        "visualization",
    ],
    submod_attrs={
        "config": ["add_egtr_config", "get_egtr_cfg"],
        "inference": ["EGTRPredictor", "explain", "explain_graph", "predict"],
        "modeling": [
            "CONNECTIVITY_HEAD_REGISTRY",
            "EGTR",
            "PAIR_FUNCTION_REGISTRY",
            "RELATION_HEAD_REGISTRY",
            "EGTROutput",
            "PairFeatures",
        ],
        "structures": ["EGTRError", "Prediction", "SceneGraph"],
    },
)
__all__ += ["__version__", "register"]
__getattr__ = _deprecated.moved(__name__, {"model_zoo": "egtr.hub.model_zoo"}, _load)


def register() -> None:
    """Register everything that Detectron2 finds by name; calling it again changes nothing.

    It registers the meta-architecture ``EGTR``, the timm backbones, heads, pair functions and transformers, the
    datasets of the library under ``DETECTRON2_DATASETS``, and the ``egtr://`` paths of the files that ship.
    :func:`add_egtr_config`, :func:`get_egtr_cfg`, :class:`EGTRPredictor` and :func:`predict` call it.

    Raises:
        MissingDetectron2Error: Detectron2 or torch is not installed; the message says how to install it.
    """
    importlib.import_module("egtr._detectron2")
    for name in _REGISTERING_MODULES:
        importlib.import_module(name)
    importlib.import_module(_PATH_HANDLER_MODULE).register_path_handler()
