"""Names of the data sets that the library knows, registered when ``egtr`` is imported.

They live under the folder that the environment variable DETECTRON2_DATASETS names (default ``./datasets``)::

    vg150/     Visual Genome 150 in EGTR's JSON layout    vg150_train, vg150_val, vg150_test
    scenes/    the data set that the library draws        scenes_train, scenes_val, scenes_test

Each folder holds ``images/``, ``train.json``, ``val.json``, ``test.json`` and ``rel.json``.
"""

import os

from detectron2.data import DatasetCatalog, MetadataCatalog

from egtr.data.datasets.scenes import SCENES_CLASSES, SCENES_PREDICATES
from egtr.data.datasets.visual_genome import SPLITS, register_visual_genome

_DATASETS = {
    "vg150": {
        "remedy": "Put images/, train.json, val.json, test.json and rel.json of Visual Genome, as the "
        "authors of EGTR publish them, into that folder."
    },
    "scenes": {
        "thing_classes": SCENES_CLASSES,
        "predicate_classes": SCENES_PREDICATES,
        "remedy": "Draw the data set with `python tools/prepare_scenes.py`.",
    },
}


def register_builtin_datasets(root: str | None = None) -> None:
    """Register the data sets above; calling it again changes nothing unless ``root`` is another folder.

    Args:
        root: parent folder of ``vg150`` and ``scenes``; None: DETECTRON2_DATASETS, or ``./datasets``.
    """
    if root is None:
        root = os.environ.get("DETECTRON2_DATASETS") or "datasets"
    root = os.path.expanduser(root)
    for folder, options in _DATASETS.items():
        for split in SPLITS:
            name = f"{folder}_{split}"
            if name in DatasetCatalog:
                image_root = os.path.join(root, folder, "images")
                if MetadataCatalog.get(name).get("image_root") == image_root:
                    continue
                DatasetCatalog.remove(name)
                MetadataCatalog.remove(name)
            register_visual_genome(name, os.path.join(root, folder), split, **options)
