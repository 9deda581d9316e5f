"""Resampling of rare predicates: their images are repeated, and frequent predicates are thinned out there."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode

from egtr.structures import ConfigurationError

logger = logging.getLogger(__name__)

METHODS = ("none", "repeat_factor", "bilevel")


@dataclass(frozen=True)
class PredicateResampling:
    """Decides how often each image appears, and which of its relations are left out.

    A predicate p that occurs in the share f_p of images is worth r_p = max(1, sqrt(t / f_p)) repetitions. The rarest
    predicate of an image decides the repetitions r of the image (repeat-factor sampling: Gupta et al., LVIS, CVPR
    2019, there for object classes). Repeated images also show frequent predicates more often. Bi-level resampling
    (Li et al., BGNN, CVPR 2021) therefore leaves out each relation with predicate p with probability
    gamma * (r - r_p) / r.

    BGNN's released code uses the share of relations for f_p, not the share of images; there the same t repeats more
    images.

    Attributes:
        predicate_repeats: (P,) float64, r_p of predicates 0..P-1; 1 for predicates that do not occur.
        drop: gamma, at least 0; 0 keeps all relations.
    """

    predicate_repeats: np.ndarray
    drop: float = 0.0

    @classmethod
    def from_dataset_dicts(
        cls, dataset_dicts: Sequence[dict[str, Any]], threshold: float, drop: float = 0.0
    ) -> "PredicateResampling":
        """Count the predicates of a training set.

        Args:
            dataset_dicts: one dict with ``relations`` for each image.
            threshold: t, the share of images below which a predicate is rare.
            drop: gamma.
        """
        predicates_of = [np.unique(_predicates(record.get("relations", []))) for record in dataset_dicts]
        num_images = np.bincount(np.concatenate([np.zeros(0, dtype=np.int64), *predicates_of]))
        share = num_images / max(len(predicates_of), 1)
        # A predicate without images repeats none.
        rarity = np.divide(threshold, share, out=np.ones_like(share), where=share > 0)
        return cls(np.maximum(1.0, np.sqrt(rarity)), drop)

    @classmethod
    def from_config(cls, cfg: CfgNode, dataset_dicts: Sequence[dict[str, Any]]) -> "PredicateResampling | None":
        """Create the resampling that DATALOADER.PREDICATE_RESAMPLING asks for; None for METHOD "none".

        Raises:
            ConfigurationError: see :func:`check_resampling`.
        """
        check_resampling(cfg)
        keys = cfg.DATALOADER.PREDICATE_RESAMPLING
        if keys.METHOD == "none":
            return None
        drop = keys.DROP if keys.METHOD == "bilevel" else 0.0
        return cls.from_dataset_dicts(dataset_dicts, keys.THRESHOLD, drop)

    def repeats(self, relations: Iterable[Sequence[int]]) -> float:
        """Return r of an image with these relations: the mean number of repetitions an epoch; 1 without relations."""
        return float(self.predicate_repeats[_predicates(relations)].max(initial=1.0))

    def repeat_factors(self, dataset_dicts: Sequence[dict[str, Any]]) -> torch.Tensor:
        """Compute r of each image, (number of images,) float32, for ``RepeatFactorTrainingSampler``."""
        repeats = np.array([self.repeats(record.get("relations", [])) for record in dataset_dicts])
        logger.info(
            "Resampling by rare predicates: an epoch has about %d images instead of %d; images with the rarest "
            "predicates come %.1f times",
            round(repeats.sum()),
            len(repeats),
            repeats.max(initial=1.0),
        )
        return torch.as_tensor(repeats, dtype=torch.float32)

    def thin_out(self, relations: np.ndarray, image_repeats: float) -> np.ndarray:
        """Draw the relations that stay this time, with numpy's global generator, as augmentations do.

        Args:
            relations: (T, 3) int64 of one image, (subject, object, predicate).
            image_repeats: :meth:`repeats` of the image with all its relations.

        Returns:
            (U, 3), rows of ``relations`` in the same order.
        """
        if self.drop == 0 or image_repeats == 1:
            return relations
        chance = self.drop * (1.0 - self.predicate_repeats[relations[:, 2]] / image_repeats)
        return relations[np.random.rand(len(relations)) >= chance]


def check_resampling(cfg: CfgNode) -> None:
    """Check DATALOADER.PREDICATE_RESAMPLING.

    Raises:
        ConfigurationError: a key holds a meaningless value, or DATALOADER.SAMPLER_TRAIN asks for another sampling.
    """
    section, keys = "DATALOADER.PREDICATE_RESAMPLING", cfg.DATALOADER.PREDICATE_RESAMPLING
    if keys.METHOD not in METHODS:
        raise ConfigurationError(f"{section}.METHOD is {keys.METHOD!r}; choose one of {', '.join(METHODS)}")
    if not 0 < keys.THRESHOLD <= 1:
        raise ConfigurationError(
            f"{section}.THRESHOLD is {keys.THRESHOLD}; it is a share of images, above 0 and at most 1"
        )
    if not keys.DROP >= 0:
        raise ConfigurationError(f"{section}.DROP is {keys.DROP}; it must be 0 or more")
    sampler = cfg.DATALOADER.SAMPLER_TRAIN
    if keys.METHOD != "none" and sampler != "TrainingSampler":
        raise ConfigurationError(
            f"{section}.METHOD {keys.METHOD} and DATALOADER.SAMPLER_TRAIN {sampler} both say how often images "
            f"come; set {section}.METHOD none or DATALOADER.SAMPLER_TRAIN TrainingSampler"
        )


def _predicates(relations: Iterable[Sequence[int]]) -> np.ndarray:
    return np.array([predicate for _, _, predicate in relations], dtype=np.int64)
