"""Reading weights and settings of the released implementation, and of Hugging Face's Deformable DETR."""

from .. import _detectron2  # noqa: F401 - says how to install Detectron2 where it is missing
from .artifact import Conversion, convert_artifact, load_reference
from .names import read_names
from .reference import config_from_reference, convert_name, convert_state_dict

__all__ = [
    "Conversion",
    "config_from_reference",
    "convert_artifact",
    "convert_name",
    "convert_state_dict",
    "load_reference",
    "read_names",
]
