"""The datasets that the library knows by name; ``egtr.register()`` registers them.

They live under the folder that the environment variable DETECTRON2_DATASETS names (default ``./datasets``)::

    scenes/       drawn by the library, EGTR's JSON layout
      images/  train.json  val.json  test.json  rel.json                  scenes_train, scenes_val, scenes_test
    vg150/        Visual Genome 150 in EGTR's JSON layout
      images/  train.json  val.json  test.json  rel.json                  vg150_train, vg150_val, vg150_test
    vg150_h5/     Visual Genome 150 as HDF5
      VG-SGG-with-attri.h5  VG-SGG-dicts-with-attri.json  image_data.json
      images/     the images, or VG_100K/ and VG_100K_2/                vg150_h5_train, vg150_h5_val, vg150_h5_test
    oiv6/         Open Images V6
      annotations/  vrd-{train,val,test}-anno.json  categories_dict.json
      images/                                                             oiv6_train, oiv6_val, oiv6_test
                    read as the released code does (``open_images``)      oiv6_detector_train: for detectors
    psg/          Panoptic Scene Graph
      psg.json
    coco/         its images
      train2017/  val2017/                                                psg_train, psg_test
    vg150_coco/   fetched by ``egtr data get vg150``, COCO-SG             vg150_coco_train, vg150_coco_val, ..._test
      train/  val/  test/, each with its images and _annotations.coco.json
    psg_coco/, indoorvg_coco/                                             the same

The modules of the formats in this package describe the files.
"""

import os
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from ..scenes.generate import SCENES_CLASSES, SCENES_PREDICATES
from .egtr_json import SPLITS
from .formats import register_dataset

_OIV6 = ("oiv6/annotations/vrd-{split}-anno.json", "oiv6/images")
_OIV6_REMEDY = (
    "Put annotations/ and images/ of Open Images V6 with relationships, as the authors of BGNN publish them, "
    "into that folder."
)

# Dataset: format, annotation file, folder of the images, splits, and further arguments of register_dataset.
_DATASETS: dict[str, tuple[str, str, str, tuple[str, ...], dict[str, Any]]] = {
    "scenes": (
        "egtr",
        "scenes/{split}.json",
        "scenes/images",
        SPLITS,
        {
            "thing_classes": SCENES_CLASSES,
            "predicate_classes": SCENES_PREDICATES,
            "remedy": "Draw the dataset with `egtr data prepare-scenes`.",
        },
    ),
    "vg150": (
        "egtr",
        "vg150/{split}.json",
        "vg150/images",
        SPLITS,
        {
            "remedy": "Put images/, train.json, val.json, test.json and rel.json of Visual Genome, as the authors of "
            "EGTR publish them, into that folder, or fetch both with `egtr data get vg150 --annotations egtr`."
        },
    ),
    "vg150_h5": (
        "vg_h5",
        "vg150_h5/VG-SGG-with-attri.h5#{split}",
        "vg150_h5/images",
        SPLITS,
        {
            "remedy": "Put VG-SGG-with-attri.h5, VG-SGG-dicts-with-attri.json and image_data.json, as "
            "Scene-Graph-Benchmark publishes them, into that folder, and Visual Genome's images into images/."
        },
    ),
    "oiv6": ("oiv6", *_OIV6, SPLITS, {"remedy": _OIV6_REMEDY, "as_released": "boxes"}),
    # The released code leaves out images of many boxes only where it learns relations.
    "oiv6_detector": ("oiv6", *_OIV6, ("train",), {"remedy": _OIV6_REMEDY, "as_released": "boxes"}),
    "psg": (
        "psg",
        "psg/psg.json#{split}",
        "coco",
        ("train", "test"),
        {"remedy": "Put psg.json of OpenPSG into psg/ and COCO's train2017/ and val2017/ into coco/."},
    ),
}

# The folders of `egtr data get`, in egtr.hub.datasets.
_DATASETS |= {
    f"{name}_coco": (
        "coco_sg",
        f"{name}_coco/{{split}}/_annotations.coco.json",
        f"{name}_coco/{{split}}",
        SPLITS,
        {"remedy": f"Fetch the dataset with `egtr data get {name}`."},
    )
    for name in ("vg150", "psg", "indoorvg")
}


def register_builtin_datasets(root: str | None = None) -> None:
    """Register the datasets above; calling it again changes nothing unless ``root`` is another folder.

    Args:
        root: parent folder of ``scenes``, ``vg150``, ...; None: DETECTRON2_DATASETS, or ``./datasets``.
    """
    setting = os.environ.get("DETECTRON2_DATASETS")
    where = f"is {setting!r}" if setting else "is not set (default: ./datasets)"
    hint = (
        f"The library looks for its datasets in the folder DETECTRON2_DATASETS, an environment variable that {where}."
    )
    root = os.path.expanduser(root or setting or "datasets")
    for dataset, (format, json_file, image_root, splits, options) in _DATASETS.items():
        for split in splits:
            name, folder = f"{dataset}_{split}", os.path.join(root, image_root.format(split=split))
            if name in DatasetCatalog:
                if MetadataCatalog.get(name).get("image_root") == folder:
                    continue
                DatasetCatalog.remove(name)
                MetadataCatalog.remove(name)
            remedy = f"{hint} {options['remedy']}"
            path = os.path.join(root, json_file.format(split=split))
            more = {"as_released": "training"} if name == "oiv6_train" else {}
            register_dataset(name, format, path, folder, **options | {"remedy": remedy} | more)


register_builtin_datasets()
