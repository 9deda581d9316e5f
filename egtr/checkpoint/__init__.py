"""Reading weights and settings of the released implementation."""

from .reference import config_from_reference, convert_name, convert_state_dict

__all__ = ["config_from_reference", "convert_name", "convert_state_dict"]
