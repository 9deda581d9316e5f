"""Showing rare predicates more often: images are repeated, and frequent predicates thinned out on them."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data.samplers import RepeatFactorTrainingSampler

from egtr.structures import EGTRError

logger = logging.getLogger(__name__)

METHODS = ("none", "repeat_factor", "bilevel")


@dataclass(frozen=True)
class PredicateResampling:
    """How often images come and which of their relations are left out, by how rare their predicates are.

    A predicate p that the share f_p of images has is worth r_p = max(1, sqrt(t / f_p)) repetitions, and an image
    as many as the rarest of its predicates (repeat-factor sampling: Gupta et al., LVIS, CVPR 2019, there of object
    classes). Frequent predicates come along on repeated images. Bi-level resampling (Li et al., BGNN, CVPR 2021)
    leaves each of their relations out with probability gamma * (r - r_p) / r, r being that of the image.

    BGNN's released code takes the share of relations for f_p in place of the share of images; the same t repeats
    more images there.

    Attributes:
        predicate_repeats: r_p for predicates 0..P-1, (P,) float64; 1 for predicates that do not occur.
        drop: gamma, at least 0; 0 leaves all relations in.
    """

    predicate_repeats: np.ndarray
    drop: float = 0.0

    @classmethod
    def from_dataset_dicts(
        cls, dataset_dicts: Sequence[dict[str, Any]], threshold: float, drop: float = 0.0
    ) -> "PredicateResampling":
        """Repetitions over the images of a training set.

        Args:
            dataset_dicts: dicts with ``relations``, each one image.
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
        """What DATALOADER.PREDICATE_RESAMPLING asks for; None for METHOD "none".

        Raises:
            EGTRError: see :func:`check_resampling`.
        """
        check_resampling(cfg)
        keys = cfg.DATALOADER.PREDICATE_RESAMPLING
        if keys.METHOD == "none":
            return None
        drop = keys.DROP if keys.METHOD == "bilevel" else 0.0
        return cls.from_dataset_dicts(dataset_dicts, keys.THRESHOLD, drop)

    def repeats(self, relations: Iterable[Sequence[int]]) -> float:
        """r of an image with these relations: repetitions an epoch, in the mean; 1 where it has none."""
        return float(self.predicate_repeats[_predicates(relations)].max(initial=1.0))

    def build_sampler(self, dataset_dicts: Sequence[dict[str, Any]], seed: int | None) -> RepeatFactorTrainingSampler:
        """Endless indices of the images, epoch by epoch in another order; fractions of r are rounded at random."""
        repeats = np.array([self.repeats(record.get("relations", [])) for record in dataset_dicts])
        logger.info(
            "Resampling by rare predicates: an epoch has about %d images instead of %d; those with the rarest come "
            "%.1f times",
            round(repeats.sum()),
            len(repeats),
            repeats.max(initial=1.0),
        )
        return RepeatFactorTrainingSampler(torch.as_tensor(repeats, dtype=torch.float32), seed=seed)

    def thin_out(self, relations: np.ndarray, image_repeats: float) -> np.ndarray:
        """The relations that stay this time, drawn by numpy's global generator, as augmentations are.

        Args:
            relations: (T, 3) int64 of one image, (subject, object, predicate).
            image_repeats: :meth:`repeats` of the image as it is annotated.

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
        EGTRError: a key holds a value that means nothing, or DATALOADER.SAMPLER_TRAIN asks for another sampling.
    """
    section, keys = "DATALOADER.PREDICATE_RESAMPLING", cfg.DATALOADER.PREDICATE_RESAMPLING
    if keys.METHOD not in METHODS:
        raise EGTRError(f"{section}.METHOD is {keys.METHOD!r}; choose one of {', '.join(METHODS)}")
    if not 0 < keys.THRESHOLD <= 1:
        raise EGTRError(f"{section}.THRESHOLD is {keys.THRESHOLD}; it is a share of images, above 0 and at most 1")
    if not keys.DROP >= 0:
        raise EGTRError(f"{section}.DROP is {keys.DROP}; it must be 0 or more")
    sampler = cfg.DATALOADER.SAMPLER_TRAIN
    if keys.METHOD != "none" and sampler != "TrainingSampler":
        raise EGTRError(
            f"{section}.METHOD {keys.METHOD} and DATALOADER.SAMPLER_TRAIN {sampler} both say how often images "
            f"come; set {section}.METHOD none or DATALOADER.SAMPLER_TRAIN TrainingSampler"
        )


def _predicates(relations: Iterable[Sequence[int]]) -> np.ndarray:
    return np.array([predicate for _, _, predicate in relations], dtype=np.int64)
