"""From files to batches.

- ``datasets``    readers, writers and names of data sets in every usual format; ``scenes``, drawn by the library
- ``transforms``  DETR's resize rule and the paper's augmentation recipes
- ``mapper``      one dataset dict to one model input, relations kept right through filtering, flip and crop
- ``image``       pictures of any format and mode, from files, bytes or arrays, as RGB
- ``sources``     folders, videos, cameras, pixels and lists of them as one stream of pictures
- ``sampler``     the order of training pictures, which a resumed run goes on with
- ``resampling``  rare predicates more often
- ``statistics``  triplet counts, for the frequency bias and for scoring, cached beside the annotations
- ``catalog``     class names of a registered data set
- ``broken``      going on past pictures that cannot be used, and counting them
- ``check``       what is wrong with a data set, its pictures included
- ``build``       loaders, statistics and checks from a configuration

Importing this package registers the built-in data sets under DETECTRON2_DATASETS.
"""

from egtr import _detectron2  # noqa: F401 - says how to install Detectron2 where it is missing
from egtr.data.build import (
    build_test_loader,
    build_train_loader,
    build_triplet_counts,
    check_dataset_matches_config,
    get_order_seed,
    skip_batches,
)
from egtr.data.catalog import get_metadata
from egtr.data.datasets import (
    register_builtin_datasets,
    register_coco_sg,
    register_dataset,
    register_egtr_json,
    register_open_images,
    register_psg,
    register_vg_h5,
)
from egtr.data.mapper import SceneGraphMapper
from egtr.data.statistics import count_triplets, load_triplet_counts
from egtr.data.transforms import DETRResize, build_augmentation, detr_resize_shape

register_builtin_datasets()

__all__ = [
    "DETRResize",
    "SceneGraphMapper",
    "build_augmentation",
    "build_test_loader",
    "build_train_loader",
    "build_triplet_counts",
    "check_dataset_matches_config",
    "count_triplets",
    "detr_resize_shape",
    "get_metadata",
    "load_triplet_counts",
    "register_builtin_datasets",
    "register_coco_sg",
    "register_dataset",
    "register_egtr_json",
    "register_open_images",
    "register_psg",
    "register_vg_h5",
    "get_order_seed",
    "skip_batches",
]
