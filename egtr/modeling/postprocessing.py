"""From dense tensors to what leaves the model: detections, and the record that graphs are ranked from."""

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ..layers import box_cxcywh_to_xyxy
from ..structures import Prediction, all_pairs
from .outputs import EGTROutput


def scale_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """(N, 4) cxcywh in 0..1 to xyxy in pixels of a height x width picture."""
    return box_cxcywh_to_xyxy(boxes.float()) * boxes.new_tensor([width, height, width, height], dtype=torch.float32)


def build_instances(logits: Tensor, boxes: Tensor, image_size: tuple[int, int], topk: int) -> Instances:
    """The ``topk`` best (query, class) by sigmoid, as Detectron2's evaluators read detections.

    Args:
        logits: (N, C).
        boxes: (N, 4) xyxy in pixels.
        image_size: (height, width).

    Returns:
        Instances with pred_boxes, scores (descending), pred_classes and query_index, (K,) each.
    """
    scores = logits.float().sigmoid().flatten()
    scores, best = scores.topk(min(topk, len(scores)))
    instances = Instances(image_size)
    instances.query_index = torch.div(best, logits.shape[-1], rounding_mode="floor")
    instances.pred_boxes = Boxes(boxes[instances.query_index])
    instances.scores = scores
    instances.pred_classes = best % logits.shape[-1]
    return instances


def build_prediction(output: EGTROutput, index: int, image_size: tuple[int, int]) -> Prediction:
    """Picture ``index`` of a batch as a record, every pair of queries in it.

    Args:
        output: dense output; without relation part the record has no pairs.
        index: position in the batch.
        image_size: (height, width) that boxes are scaled to.
    """

    def numpy(tensor: Tensor):
        return tensor.detach().float().cpu().numpy()

    num_queries = output.logits.shape[1]
    if output.relation_logits is None:
        pairs, relation = all_pairs(0), torch.zeros(0, 0)
        connectivity = torch.zeros(0)
    else:
        pairs = all_pairs(num_queries)
        relation = output.relation_logits[index].float().sigmoid().flatten(0, 1)
        if output.connectivity_logits is None:
            connectivity = torch.ones(len(pairs))
        else:
            connectivity = output.connectivity_logits[index].float().sigmoid().flatten()
    return Prediction(
        logits=numpy(output.logits[index]),
        boxes=numpy(scale_boxes(output.pred_boxes[index], *image_size)),
        pairs=pairs,
        connectivity=numpy(connectivity),
        relation=numpy(relation),
        image_size=image_size,
    )
