"""From dense tensors to what leaves the model: detections, and the record that graphs are ranked from."""

from dataclasses import replace

import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from egtr.layers import box_cxcywh_to_xyxy
from egtr.structures import Prediction, all_pairs
from egtr.structures.prediction import OBJECT_SCORES

from .outputs import EGTROutput
from .relation.part import RelationPart
from .relation.pruning import search_best_pairs


def scale_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """(N, 4) cxcywh in 0..1 to xyxy in pixels of a height x width image."""
    x1, y1, x2, y2 = box_cxcywh_to_xyxy(boxes.float()).unbind(-1)
    return torch.stack([x1 * width, y1 * height, x2 * width, y2 * height], dim=-1)


def build_instances(logits: Tensor, boxes: Tensor, image_size: tuple[int, int], top_k: int) -> Instances:
    """The ``top_k`` best (query, class) by sigmoid, as Detectron2's evaluators read detections.

    Args:
        logits: (N, C).
        boxes: (N, 4) xyxy in pixels.
        image_size: (height, width).

    Returns:
        Instances with pred_boxes, scores (descending), pred_classes and query_index, (K,) each.
    """
    scores = logits.float().sigmoid().flatten()
    scores, best = scores.topk(min(top_k, len(scores)))
    instances = Instances(image_size)
    instances.query_index = torch.div(best, logits.shape[-1], rounding_mode="floor")
    instances.pred_boxes = Boxes(boxes[instances.query_index])
    instances.scores = scores
    instances.pred_classes = best % logits.shape[-1]
    return instances


def build_prediction(output: EGTROutput, index: int, image_size: tuple[int, int]) -> Prediction:
    """Image ``index`` of a batch as a record, every pair of queries in it.

    Args:
        output: dense output; without relation part the record has no pairs.
        index: position in the batch.
        image_size: (height, width) that boxes are scaled to.
    """
    objects = _build_objects(output, index, image_size)
    if output.relation_logits is None:
        return objects
    return replace(
        objects,
        pairs=all_pairs(objects.num_queries),
        connectivity=_connectivity(output, index),
        relation=_numpy(output.relation_logits[index].float().sigmoid().flatten(0, 1)),
    )


def build_pruned_prediction(
    output: EGTROutput, index: int, image_size: tuple[int, int], part: RelationPart, max_rank: int
) -> Prediction:
    """The same record with the pairs that rankings of up to ``max_rank`` triplets can need.

    Rankings come out as with all pairs, for both ways to score an object, with graph constraint or without, pairs
    (i, i) included or not.

    Args:
        output: its ``relation_logits`` are not read.
        index, image_size: as for :func:`build_prediction`.
        part: made ``output.pairs``, and scores single pairs.
        max_rank: at least 1.
    """
    objects = _build_objects(output, index, image_size)
    num_queries, connectivity = objects.num_queries, _connectivity(output, index)
    pairs, classes = output.pairs.of_image(index), output.logits[index].argmax(-1)

    def evaluate(rows: np.ndarray) -> np.ndarray:
        ends = torch.from_numpy(np.stack(np.divmod(rows, num_queries))).to(classes.device)
        return _numpy(part.relation_scores(pairs, classes, *ends))

    pair_scores = []
    for kind in OBJECT_SCORES:
        scores, _ = objects.object_scores(kind)
        pair_scores.append(np.outer(scores, scores).reshape(-1) * connectivity)
    related = ~np.eye(num_queries, dtype=bool).reshape(-1)
    found = search_best_pairs(pair_scores, related, max_rank, evaluate)
    if found is None:
        logits = part.frequency_bias.adjust(part.relation_logits(pairs, output.logits[index : index + 1]))
        return replace(
            objects,
            pairs=all_pairs(num_queries),
            connectivity=connectivity,
            relation=_numpy(logits[0].float().sigmoid().flatten(0, 1)),
        )
    rows, relation = found
    return replace(
        objects,
        pairs=np.stack(np.divmod(rows, num_queries), axis=1),
        connectivity=connectivity[rows],
        relation=relation,
        max_rank=max_rank,
    )


def _build_objects(output: EGTROutput, index: int, image_size: tuple[int, int]) -> Prediction:
    """A record without pairs."""
    return Prediction(
        logits=_numpy(output.logits[index]),
        boxes=_numpy(scale_boxes(output.pred_boxes[index], *image_size)),
        pairs=all_pairs(0),
        connectivity=np.zeros(0),
        relation=np.zeros((0, 0)),
        image_size=image_size,
    )


def _connectivity(output: EGTROutput, index: int) -> np.ndarray:
    """(N * N,) probabilities that any relation joins a pair; ones without a connectivity head."""
    if output.connectivity_logits is None:
        return np.ones(output.logits.shape[1] ** 2, dtype=np.float32)
    return _numpy(output.connectivity_logits[index].float().sigmoid().flatten())


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
