"""The record of a model, as far as its configuration has it."""

from detectron2.config import CfgNode

from egtr.modeling.names import get_names
from egtr.structures import ModelInfo
from egtr.version import __version__


def describe_model(cfg: CfgNode) -> ModelInfo:
    """Make the record of the model that ``cfg`` describes: names, preprocessing and the version of the library."""
    class_names, predicate_names = get_names(cfg)
    return ModelInfo(
        class_names=class_names,
        predicate_names=predicate_names if cfg.MODEL.EGTR.RELATION.ENABLED else None,
        preprocessing={
            "format": cfg.INPUT.FORMAT,
            "min_size": cfg.INPUT.MIN_SIZE_TEST,
            "max_size": cfg.INPUT.MAX_SIZE_TEST,
            "pixel_mean": [float(value) for value in cfg.MODEL.PIXEL_MEAN],
            "pixel_std": [float(value) for value in cfg.MODEL.PIXEL_STD],
        },
        library_version=__version__,
    )
