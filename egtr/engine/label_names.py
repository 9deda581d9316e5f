"""Names of labels: those of weights beside those of datasets."""

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from egtr.config.keys import NO_WEIGHTS
from egtr.config.loading import load_config
from egtr.config.paths import fetch
from egtr.structures import ConfigurationError, EGTRError, ModelInfo, WeightsError

logger = logging.getLogger(__name__)

# The kind of label; its names in a model record and in a configuration; their number; its names in a dataset.
LABELS = (
    ("class", "class_names", "CLASS_NAMES", "NUM_CLASSES", "thing_classes"),
    ("predicate", "predicate_names", "PREDICATE_NAMES", "NUM_PREDICATES", "predicate_classes"),
)

Names = Sequence[str]


def check_names(cfg: CfgNode, datasets: Iterable[str], *, with_weights: bool) -> None:
    """Compare the names of the model with those of datasets that were read; equal numbers say nothing of the order.

    Args:
        cfg: its MODEL.EGTR.CLASS_NAMES and PREDICATE_NAMES are the model's names.
        datasets: registered names.
        with_weights: where these keys are empty, take the names of MODEL.WEIGHTS, if they are known.

    Raises:
        ConfigurationError: the names are the same in another order. Other names are only a warning, since a label may
            have been translated.
    """
    for kind, field, key, _, metadata in LABELS:
        if kind == "predicate" and not cfg.MODEL.EGTR.RELATION.ENABLED:
            continue
        own = cfg.MODEL.EGTR[key]
        if not own and with_weights and cfg.MODEL.WEIGHTS:
            own = names_of_weights(cfg.MODEL.WEIGHTS, field, key, metadata)
        for dataset in datasets:
            theirs = MetadataCatalog.get(dataset).get(metadata)
            if not own or not theirs or len(own) != len(theirs):
                continue
            old, new = [plain(name) for name in own], [plain(name) for name in theirs]
            if old == new:
                continue
            place = next(k for k in range(len(old)) if old[k] != new[k])
            text = f"{kind} {place} is {own[place]!r} in the model, but {theirs[place]!r} in dataset {dataset!r}"
            if sorted(old) == sorted(new):
                raise ConfigurationError(
                    f"{text}: the same names in another order, so that nothing would fit. Number the dataset as the "
                    f"model, or correct MODEL.EGTR.{key}"
                )
            logger.warning("%s. Are they the same labels? MODEL.EGTR.%s has the names of the model.", text, key)


def plain(name: str) -> str:
    """Write a name so that upper and lower case, spaces, ``_`` and ``-`` make no other name."""
    return " ".join(re.split(r"[\s_-]+", name.strip().casefold()))


def names_of_dataset(cfg: CfgNode, field: str) -> Names | None:
    """Look up the names of DATASETS.TRAIN[0] in its metadata; None if it is not registered or not read yet."""
    name = cfg.DATASETS.TRAIN[0] if len(cfg.DATASETS.TRAIN) else None
    return MetadataCatalog.get(name).get(field) if name in DatasetCatalog else None


def names_of_weights(weights: str, field: str, key: str, metadata: str) -> Names | None:
    """Look the names up in the record of the weights, else in the configuration beside them, else in its dataset."""
    local = Path(fetch(weights.partition("?")[0], NO_WEIGHTS, WeightsError))
    try:
        if local.suffix in (".yaml", ".yml"):
            config = local
            local = Path(fetch(load_config(str(config)).MODEL.WEIGHTS, NO_WEIGHTS, WeightsError))
        else:
            config = local.with_name("config.yaml")
        record = ModelInfo.find(local)
        if record is not None and getattr(record, field):
            return getattr(record, field)
        if not config.is_file():
            return None
        cfg = load_config(str(config))
    except EGTRError as error:
        logger.info("MODEL.WEIGHTS: its names are not known (%s)", error)
        return None
    return cfg.MODEL.EGTR[key] or names_of_dataset(cfg, metadata)
