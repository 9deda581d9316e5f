"""Input of the losses: ground truth, and the match between queries and objects, by image and joined for a batch."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from egtr.layers import box_xyxy_to_cxcywh


@dataclass
class Target:
    """Ground truth of one image. G objects, T triplets.

    Attributes:
        classes: (G,) int64.
        boxes: (G, 4) cxcywh in 0..1.
        relations: (T, 3) int64, (subject, object, predicate); subject and object index the G objects.
    """

    classes: Tensor
    boxes: Tensor
    relations: Tensor


def read_targets(records: list[dict], device: torch.device) -> list[Target]:
    """Read the ground truth from the inputs of :class:`~egtr.modeling.EGTR`, and copy it to a device."""
    instances = [record["instances"] for record in records]
    counts = [len(objects) for objects in instances]
    boxes = torch.cat([objects.gt_boxes.tensor for objects in instances])
    sizes = np.array(
        [objects.image_size[::-1] * 2 for objects in instances], dtype=np.float32
    )  # width, height, twice
    relations = [record.get("relations") for record in records]
    relations = [boxes.new_zeros(0, 3, dtype=torch.int64) if rows is None else rows for rows in relations]
    # Images are processed and copied together, because each operation and each copy takes time of its own.
    boxes = box_xyxy_to_cxcywh(boxes) / to_device(np.repeat(sizes, counts, axis=0), boxes.device)
    joined = (torch.cat([objects.gt_classes for objects in instances]), boxes, torch.cat(relations))
    classes, boxes, relations_of = (
        part.to(device, non_blocking=True).split(lengths)
        for part, lengths in zip(joined, (counts, counts, [len(rows) for rows in relations]), strict=True)
    )
    return [Target(*parts) for parts in zip(classes, boxes, relations_of, strict=True)]


class Match(NamedTuple):
    """Matched pairs of one image, M = min(N, G) of them.

    Attributes:
        queries: (M,) int64 query indices.
        objects: (M,) int64 indices of ground-truth objects.
        costs: (M,) float32 matching costs, without gradient.
        fits: (M,) float32 in 0..1, probability of the object's class times IoU of the boxes, without gradient.
    """

    queries: Tensor
    objects: Tensor
    costs: Tensor
    fits: Tensor


class JoinedTargets(NamedTuple):
    """Ground truth of a batch of B images in one piece: losses then need no loop over images.

    Attributes:
        classes: (G,) int64, objects of the first image first.
        boxes: (G, 4) cxcywh in 0..1.
        relations: (T, 3) int64; subject and object index the G objects of the batch.
        relation_images: (T,) int64, the image of each relation.
        counts: number of objects of each image.
        most_relations: the largest number of relations of an image.
    """

    classes: Tensor
    boxes: Tensor
    relations: Tensor
    relation_images: Tensor
    counts: list[int]
    most_relations: int


class JoinedMatches(NamedTuple):
    """Matched pairs of a batch.

    Attributes:
        images: (M,) int64.
        queries: (M,) int64, index the queries of that image.
        objects: (M,) int64, index the objects of :class:`JoinedTargets`.
        costs, fits: (M,) float32, see :class:`Match`.
    """

    images: Tensor
    queries: Tensor
    objects: Tensor
    costs: Tensor
    fits: Tensor


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array to a device without waiting for the device."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)


def object_starts(counts: list[int]) -> np.ndarray:
    """Compute the index, in the batch, of each image's first object."""
    return np.cumsum([0, *counts[:-1]])[: len(counts)]


def join_targets(targets: list[Target]) -> JoinedTargets:
    """Join the ground truth of the images of a batch."""
    counts = [len(target.classes) for target in targets]
    lengths = [len(target.relations) for target in targets]
    relations = torch.cat([target.relations for target in targets])
    images = np.repeat(np.arange(len(targets)), lengths)
    host = to_device(np.stack([images, object_starts(counts)[images]]), relations.device)
    return JoinedTargets(
        classes=torch.cat([target.classes for target in targets]),
        boxes=torch.cat([target.boxes for target in targets]),
        relations=torch.cat([relations[:, :2] + host[1, :, None], relations[:, 2:]], dim=1),
        relation_images=host[0],
        counts=counts,
        most_relations=max(lengths, default=0),
    )


def join_matches(matches: list[Match], counts: list[int]) -> JoinedMatches:
    """Join the matches of a batch.

    Args:
        matches: one for each of B images, or several times B, for as many sets of predictions of the same images.
        counts: number of objects of each of the B images.

    Returns:
        The pairs; ``images`` counts on from one set of predictions to the next, ``objects`` does not.
    """
    lengths = [len(match.queries) for match in matches]
    images = np.repeat(np.arange(len(matches)), lengths)
    starts = object_starts(counts)[images % len(counts)]
    queries, objects, costs, fits = (torch.cat(parts) for parts in zip(*matches, strict=True))
    host = to_device(np.stack([images, starts]), queries.device)
    return JoinedMatches(images=host[0], queries=queries, objects=objects + host[1], costs=costs, fits=fits)
