"""The last step of inference: from dense tensors to detections, and to the record from which graphs are ranked."""

import logging

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from egtr.layers import box_cxcywh_to_xyxy
from egtr.structures import Prediction, all_pairs
from egtr.structures.prediction import OBJECT_SCORES, choose_object_score, object_scores

from .outputs import EGTROutput
from .relation.part import RelationPart
from .relation.pruning import search_best_pairs

logger = logging.getLogger(__name__)


def scale_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """Convert (N, 4) cxcywh in 0..1 to xyxy in pixels of a height x width image."""
    x1, y1, x2, y2 = box_cxcywh_to_xyxy(boxes.float()).unbind(-1)
    return torch.stack([x1 * width, y1 * height, x2 * width, y2 * height], dim=-1)


def build_instances(logits: Tensor, boxes: Tensor, image_size: tuple[int, int], top_k: int) -> Instances:
    """Choose the ``top_k`` best (query, class) by sigmoid, as Detectron2's evaluators read detections.

    Args:
        logits: (N, C).
        boxes: (N, 4) xyxy in pixels.
        image_size: (height, width).
        top_k: number K of detections; fewer if there are fewer (query, class).

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
    """Make the record of one image of a batch, with every pair of queries.

    Args:
        output: dense output; without relation part the record has no pairs.
        index: position in the batch.
        image_size: (height, width) of the image that boxes are scaled to.
    """
    if output.relation_logits is None:
        return _record(output, index, image_size, all_pairs(0), torch.zeros(0), torch.zeros(0, 0))
    return _dense_record(output, index, image_size, output.relation_logits[index])


def build_pruned_prediction(
    output: EGTROutput, index: int, image_size: tuple[int, int], part: RelationPart, max_rank: int
) -> Prediction:
    """Make the same record with only the pairs that rankings of up to ``max_rank`` triplets need.

    Rankings are the same as with all pairs: for both ways to score an object, with graph constraint or without, with
    pairs (i, i) or without.

    Args:
        output: dense output; its ``relation_logits`` are not read.
        index, image_size: as for :func:`build_prediction`.
        part: the relation part that made ``output.pairs``, which can score single pairs.
        max_rank: length of the longest ranking, at least 1.
    """
    pairs, classes = output.pairs.of_image(index), output.logits[index].argmax(-1)
    logits, connectivity = _host(output.logits[index]), _connectivity(output, index)
    num_queries = len(logits)

    def evaluate(rows: Tensor) -> Tensor:
        rows = rows.to(classes.device)
        subjects, objects = torch.div(rows, num_queries, rounding_mode="floor"), rows % num_queries
        return _host(part.relation_scores(pairs, classes, subjects, objects))

    pair_scores = []
    for kind in OBJECT_SCORES:
        # Exactly the numbers that rankings multiply.
        scores = torch.from_numpy(object_scores(logits.numpy(), kind)[0])
        pair_scores.append(torch.outer(scores, scores).flatten() * connectivity)
    related = ~torch.eye(num_queries, dtype=torch.bool).flatten()
    found = search_best_pairs(pair_scores, related, max_rank, evaluate)
    if found is None:
        relation_logits = part.frequency_bias.adjust(part.relation_logits(pairs, output.logits[index : index + 1]))
        return _dense_record(output, index, image_size, relation_logits[0])
    rows, relation = found
    rankable = all_pairs(num_queries)[rows.numpy()], connectivity[rows], relation
    return _record(output, index, image_size, *rankable, max_rank)


def _dense_record(output: EGTROutput, index: int, image_size: tuple[int, int], relation_logits: Tensor) -> Prediction:
    relation = relation_logits.float().sigmoid().flatten(0, 1)
    everything = all_pairs(len(relation_logits)), _connectivity(output, index), relation
    return _record(output, index, image_size, *everything)


def _record(output, index, image_size, pairs, connectivity, relation, max_rank=None) -> Prediction:
    logits, boxes = output.logits[index], scale_boxes(output.pred_boxes[index], *image_size)
    numbers = (_host(tensor).numpy() for tensor in (connectivity, relation))
    return Prediction(_host(logits).numpy(), _host(boxes).numpy(), pairs, *numbers, image_size, max_rank)


def _connectivity(output: EGTROutput, index: int) -> Tensor:
    """Compute the probability that any relation joins a pair, (N * N,); 1 without a connectivity head."""
    if output.connectivity_logits is None:
        return torch.ones(output.logits.shape[1] ** 2)
    return _host(output.connectivity_logits[index].float().sigmoid().flatten())


def _host(tensor: Tensor) -> Tensor:
    return tensor.detach().float().cpu()


def read_object_score(cfg) -> str:
    """Resolve TEST.SCENE_GRAPH.OBJECT_SCORE, and say what scores objects where the key leaves it open or misleads."""
    key, num_classes = cfg.TEST.SCENE_GRAPH.OBJECT_SCORE, cfg.MODEL.EGTR.NUM_CLASSES
    kind = choose_object_score(key, num_classes)
    if key == "auto" and num_classes == 1:
        logger.info("TEST.SCENE_GRAPH.OBJECT_SCORE auto: objects are scored by sigmoid, since there is one class")
    elif kind == "softmax" and num_classes == 1:
        logger.warning(
            "TEST.SCENE_GRAPH.OBJECT_SCORE softmax gives every object score 1, since there is one class; take auto"
        )
    return kind
