"""Names of the classes and predicates of a model."""

import logging

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from egtr.structures import ConfigurationError

logger = logging.getLogger(__name__)

# Key of the configuration, field of a dataset's metadata, key of the number.
_SOURCES = (
    ("CLASS_NAMES", "thing_classes", "NUM_CLASSES"),
    ("PREDICATE_NAMES", "predicate_classes", "NUM_PREDICATES"),
)


def get_names(cfg: CfgNode) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Look up the names of the C classes and R predicates of the model that ``cfg`` describes.

    They are in MODEL.EGTR.CLASS_NAMES and PREDICATE_NAMES; if these are empty, in the metadata of DATASETS.TEST[0].

    Returns:
        class names and predicate names; None if no names that fit the model are known, which then prints numbers.

    Raises:
        ConfigurationError: the number of names in the configuration is not NUM_CLASSES or NUM_PREDICATES.
    """
    metadata = MetadataCatalog.get(cfg.DATASETS.TEST[0]) if len(cfg.DATASETS.TEST) else None
    found = []
    for key, field, number in _SOURCES:
        own, wanted = cfg.MODEL.EGTR[key], cfg.MODEL.EGTR[number]
        if own and len(own) != wanted:
            raise ConfigurationError(f"MODEL.EGTR.{key} holds {len(own)} names, but MODEL.EGTR.{number} is {wanted}")
        names = own or getattr(metadata, field, None)
        if names and len(names) != wanted:
            logger.warning(
                "Dataset %r (DATASETS.TEST) has %d %s, but the model has %d: numbers are printed instead of names",
                metadata.name, len(names), field, wanted,
            )  # fmt: skip
            names = None
        found.append(tuple(names) if names else None)
    return found[0], found[1]
