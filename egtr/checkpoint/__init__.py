"""Reading weights and settings of the released implementation."""

from .. import _detectron2  # noqa: F401 - says how to install Detectron2 where it is missing
from .reference import config_from_reference, convert_name, convert_state_dict

__all__ = ["config_from_reference", "convert_name", "convert_state_dict"]
