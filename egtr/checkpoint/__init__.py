"""Weight files: the checkpoints of a run, and the files of released implementations.

- ``checkpointer``  loads weights into models, and reports what does not fit
- ``files``         checkpoint files: written whole, verified, found again
- ``reference``     names and settings of the released EGTR and of Hugging Face's Deformable DETR
- ``artifact``      converts a released folder; ``class_names`` reads its class names, ``pickles`` its weights
- ``model_info``    the record of a model, from its configuration
"""

from egtr import _detectron2  # noqa: F401 - says how to install Detectron2 where it is missing

from .artifact import Conversion, convert_artifact, load_reference, set_names
from .checkpointer import EGTRCheckpointer, find_new_parameters, load_checkpoint_file
from .class_names import read_names
from .files import export_weights
from .model_info import describe_model
from .reference import config_from_reference, convert_name, convert_state_dict

__all__ = [
    "Conversion",
    "EGTRCheckpointer",
    "config_from_reference",
    "convert_artifact",
    "convert_name",
    "convert_state_dict",
    "describe_model",
    "export_weights",
    "find_new_parameters",
    "load_checkpoint_file",
    "load_reference",
    "read_names",
    "set_names",
]
