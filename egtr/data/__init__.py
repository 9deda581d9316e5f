"""Datasets, from files to batches.

- ``datasets``    readers, writers and names of datasets in every usual format
- ``scenes``      the drawn dataset, which the library makes itself
- ``transforms``  DETR's resize rule and the paper's augmentation recipes
- ``mapper``      turns a dataset dict into a model input; relations stay right through filtering, flip and crop
- ``annotated_image``  images of datasets, as training and evaluation read them
- ``image``       images of any format and mode, from files, bytes or arrays, as RGB
- ``sources``     folders, videos, cameras, pixels and lists of them as one stream of images
- ``sampler``     the order of training images, which a resumed run continues
- ``resampling``  shows rare predicates more often
- ``statistics``  triplet counts, for the frequency bias and for scoring, cached beside the annotations
- ``catalog``     metadata of a dataset by its name
- ``broken``      leaves out images that cannot be used, and counts them
- ``check``       finds errors in a dataset, images included
- ``problems``    problems of annotations, as readers and checks report them
- ``coco_fields``  fields of COCO annotations that other programs write in other ways
- ``worker``      ends a loader's worker whose batch is lost
- ``convert``     converts one annotation format to another
- ``build``       loaders, statistics and checks from a configuration
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "build": [
            "build_test_loader",
            "build_train_loader",
            "build_triplet_counts",
            "check_dataset_matches_config",
            "get_order_seed",
            "skip_batches",
        ],
        "catalog": ["get_metadata"],
        "datasets": [
            "register_builtin_datasets",
            "register_coco_sg",
            "register_dataset",
            "register_egtr_json",
            "register_open_images",
            "register_psg",
            "register_vg_h5",
        ],
        "mapper": ["SceneGraphMapper"],
        "statistics": ["count_triplets", "load_triplet_counts"],
        "transforms": ["DETRResize", "build_augmentation", "detr_resize_shape"],
    },
)
