"""Losses over a dataset of evaluation, as the released code watches them."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.evaluation import inference_context
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from torch import nn

from egtr.structures import ConfigurationError, GroundTruth

logger = logging.getLogger(__name__)


def add_validation_losses(
    results: dict[str, Any], cfg: CfgNode, model: nn.Module, build_loader: Callable[[CfgNode, str], Iterable[Any]]
) -> None:
    """Add the losses on each of DATASETS.TEST to the results of an evaluation, as the task "validation"."""
    for name in cfg.DATASETS.TEST:
        losses = validation_losses(model, build_loader(cfg, name))
        if comm.is_main_process():
            # Detectron2 leaves the name out where there is one dataset.
            (results if len(cfg.DATASETS.TEST) == 1 else results[name])["validation"] = losses


@torch.no_grad()
def validation_losses(model: nn.Module, loader: Iterable[list[dict[str, Any]]]) -> dict[str, float]:
    """Compute the mean losses of images, in evaluation mode; all processes must call it together.

    In evaluation mode loss_rel is the mean over all pairs, none of them sampled. Logit adjustment takes no part.
    Losses of a batch are divided by its own objects; a batch of the test loader is one image, where the released code
    takes four.

    Args:
        model: an EGTR.
        loader: batches of dicts with ``image``, ``height``, ``width``, ``annotations`` and ``relations``, such as
            from :func:`egtr.data.build_test_loader`.

    Returns:
        "loss", the weighted sum, and each loss before it is weighted, such as "loss_ce"; empty without batches.

    Raises:
        ConfigurationError: the model has no losses of its own.
    """
    if not hasattr(model, "losses"):
        raise ConfigurationError(
            f"TEST.VALIDATION_LOSS is True, but {type(model).__name__} has no method losses, as EGTR has"
        )
    sums: Counter[str] = Counter()
    batches = 0
    criterion = model.criterion
    # Processes may have different numbers of batches, so that no batch may wait for the others' objects.
    normalizer, criterion.normalizer = criterion.normalizer, "process"
    try:
        with inference_context(model):
            for batch in loader:
                losses, _ = model.losses([_with_instances(record) for record in batch])
                total = sum(criterion.weighted(losses).values())
                sums.update({"loss": float(total)} | {name: float(value) for name, value in losses.items()})
                batches += 1
    finally:
        criterion.normalizer = normalizer
    parts = comm.all_gather((dict(sums), batches))
    count = sum(part for _, part in parts)
    names = dict.fromkeys(name for part, _ in parts for name in part)
    means = {name: sum(part.get(name, 0.0) for part, _ in parts) / count for name in names}
    logger.info("Validation losses: %s", ", ".join(f"{name} {value:.4f}" for name, value in means.items()))
    return means


def _with_instances(record: dict[str, Any]) -> dict[str, Any]:
    """Add the objects and relations that losses read; boxes in pixels of the image file, which losses divide by."""
    truth = GroundTruth.from_dict(record)
    instances = Instances((record["height"], record["width"]))
    instances.gt_boxes = Boxes(torch.from_numpy(truth.boxes))
    instances.gt_classes = torch.from_numpy(truth.classes)
    triplets = torch.from_numpy(truth.triplets)
    return record | {"instances": instances, "relations": torch.unique(triplets, dim=0)}
