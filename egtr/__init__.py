"""EGTR: scene graphs out of the self-attention of a DETR decoder, as a Detectron2 plugin."""

# _detectron2 comes first: it checks that Detectron2 is there before anything else imports it.
from . import _detectron2, data, model_zoo  # noqa: F401
from .version import __version__

__all__ = ["__version__", "data", "model_zoo"]
