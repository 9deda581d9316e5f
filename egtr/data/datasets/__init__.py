"""Readers of datasets, one module for each format, and the datasets that the library knows by name.

- ``annotations``     the contents of an annotation file, its problems, and the records that training reads
- ``egtr_json``       EGTR's JSON layout, such as Visual Genome 150
- ``vg_h5``           Visual Genome 150 as HDF5, the usual form in scene graph code
- ``open_images``     Open Images V6 with visual relationships
- ``psg``             the boxes of Panoptic Scene Graph
- ``coco_sg``         COCO JSON with relations, for your own data
- ``label_studio``    exports of Label Studio, for conversion
- ``formats``         the formats by name
- ``registration``    entries in Detectron2's catalogs, and reading by name
- ``builtin``         the datasets that the library registers
"""

from egtr import _detectron2  # noqa: F401 - says how to install Detectron2 where it is missing

from .annotations import ImageAnnotations, Problem, SceneGraphAnnotations, to_dataset_dicts
from .builtin import register_builtin_datasets
from .coco_sg import read_coco_sg, register_coco_sg
from .egtr_json import read_egtr_json, register_egtr_json
from .formats import FORMATS, Format, get_format, register_dataset, register_rows
from .open_images import read_open_images, register_open_images
from .psg import read_psg, register_psg
from .registration import read_annotations, read_dataset, register_reader
from .vg_h5 import read_vg_h5, register_vg_h5

__all__ = [
    "FORMATS",
    "Format",
    "ImageAnnotations",
    "Problem",
    "SceneGraphAnnotations",
    "get_format",
    "read_coco_sg",
    "read_egtr_json",
    "read_open_images",
    "read_psg",
    "read_annotations",
    "read_dataset",
    "read_vg_h5",
    "register_builtin_datasets",
    "register_coco_sg",
    "register_dataset",
    "register_egtr_json",
    "register_open_images",
    "register_psg",
    "register_reader",
    "register_rows",
    "register_vg_h5",
    "to_dataset_dicts",
]
