"""Relations between boxes that the caller gives, in place of objects that the model finds.

In evaluation mode an input record of :class:`~egtr.modeling.EGTR` may hold

- given: Instances of size (height, width), the size that output boxes refer to, with ``pred_boxes`` (n, 4) xyxy in
  pixels, ``pred_classes`` (n,) int64, -1 where a class is unknown, and, if wanted, ``scores`` (n,) in 0..1.
- refine_boxes: True: the graph has the boxes as the model corrects them, not as they were given.
- with_found: True: the objects that the model finds itself follow the given ones, one for each query.

The first n objects of the "scene_graph" are then the given ones, in their order. A given class is kept, and its score
is the given one, or 1. An unknown class is the one of highest logit, with the model's own score. How the model learns
of the boxes (``given_by`` of the graph) depends on its training:

"box_queries". Each box is one more query of the decoder, beside the N own ones, which do not see it
(:mod:`egtr.modeling.transformer.box_queries`). Denoising trains exactly such queries, so this needs a model with
MODEL.EGTR.DENOISING, and with its UNKNOWN_LABEL if a class is unknown:

    reference = r_i cut to the image,    content = E[c_i], or E["unknown"]

A box that is the model's own detection (IoU at least 0.99, and the same class if one is given) keeps its own query.
So a graph whose objects are given back stays as it was, and after a correction by hand the others keep relations.

"assignment". Any other model: the own queries are assigned to the boxes with the least total cost, which is that of
matching in training (:class:`~egtr.modeling.matcher.HungarianMatcher`), and a box has the features of its query:

    s = argmin over one-to-one maps s of the sum over i of cost(i, s(i))
    cost(i, q) = cost_class * class cost(c_i, q)    with the query's best class where c_i is unknown
                 + cost_bbox * |r_i - b_q|_1 - cost_giou * GIoU(r_i, b_q)

If there are more boxes than queries, the N boxes that can be served at the least cost get a query each, and then the
next ones, again from all N queries. Boxes that are equal, with equal classes, share a query. Between two objects of
one query the model can tell no relation, so there is none.

In both ways the order of the boxes changes nothing, not even which of equal scores are among the best: the model
works on sorted boxes, and only the finished graph has them as they were given.

The relation part is the same as ever, and reads the by-products of these queries.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.structures import Boxes, pairwise_iou
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from egtr.layers import box_cxcywh_to_xyxy, box_xyxy_to_cxcywh
from egtr.structures import ConfigurationError, Prediction, SceneGraph, all_pairs
from egtr.structures.prediction import object_scores

from .matcher import HungarianMatcher
from .outputs import EGTROutput
from .postprocessing import scale_boxes
from .target import Target
from .transformer.box_queries import BoxQueries, make_box_queries
from .transformer.build import TransformerOutput

BOX_QUERIES, ASSIGNMENT = "box_queries", "assignment"
# A box that overlaps a detection as much is that detection, rounded to a tenth of a pixel on its way, say.
SAME_IOU = 0.99


@dataclass
class GivenBoxes:
    """The given boxes of one image, n of them, sorted.

    Attributes:
        order: (n,) int64, the place among the given ones of each box.
        pixels: (n, 4) xyxy in pixels of the output.
        boxes: (n, 4) cxcywh in 0..1 of the image; they may reach beyond it.
        classes: (n,) int64, -1 where the class is unknown.
        scores: (n,) float32 in 0..1, scores of the given classes.
        refine, with_found: see the module.
    """

    order: np.ndarray
    pixels: Tensor
    boxes: Tensor
    classes: Tensor
    scores: Tensor
    refine: bool
    with_found: bool


def read_given(record: dict[str, Any], image_size: tuple[int, int], device: torch.device) -> GivenBoxes | None:
    """Read the given boxes of an input record; None if it has none.

    Args:
        record: see the module.
        image_size: (height, width) of ``record["image"]``.
        device: the model's device.

    Raises:
        ConfigurationError: the boxes refer to an image of another size than the output.
    """
    given = record.get("given")
    if given is None:
        return None
    height, width = int(record.get("height", image_size[0])), int(record.get("width", image_size[1]))
    if tuple(given.image_size) != (height, width):
        raise ConfigurationError(
            f"given: its boxes are of an image of {given.image_size[1]} x {given.image_size[0]} pixels, the output "
            f"of one of {width} x {height} (fields width and height of the record); scale the boxes to that size"
        )
    pixels, classes = given.pred_boxes.tensor.float(), given.pred_classes
    scores = given.scores.float() if given.has("scores") else torch.ones(len(pixels))
    order = np.lexsort((scores.cpu(), classes.cpu(), *pixels.T.cpu()))
    pixels, classes, scores = (rows[torch.from_numpy(order)].to(device) for rows in (pixels, classes, scores))
    return GivenBoxes(
        order=order,
        pixels=pixels,
        boxes=box_xyxy_to_cxcywh(pixels) / pixels.new_tensor([width, height, width, height]),
        classes=classes,
        scores=scores,
        refine=bool(record.get("refine_boxes", False)),
        with_found=bool(record.get("with_found", False)),
    )


def choose_path(model: nn.Module, given: GivenBoxes) -> str:
    """Choose how the model learns of the boxes: BOX_QUERIES if it was trained for it, else ASSIGNMENT."""
    if not model.takes_box_queries:
        return ASSIGNMENT
    knows_unknown = model.denoising is not None and model.denoising.unknown_label > 0
    return BOX_QUERIES if knows_unknown or bool((given.classes >= 0).all()) else ASSIGNMENT


def choose_box_queries(model: nn.Module, given: list[GivenBoxes | None]) -> BoxQueries | None:
    """Make the box queries of a batch; None if no image needs any."""
    boxes, classes = [], []
    for image in given:
        if image is not None and choose_path(model, image) == BOX_QUERIES:
            boxes.append(box_xyxy_to_cxcywh(box_cxcywh_to_xyxy(image.boxes).clamp(0, 1)).cpu())
            classes.append(image.classes.cpu())
        else:
            boxes.append(torch.zeros(0, 4))
            classes.append(None)
    if not any(len(rows) for rows in boxes):
        return None
    return make_box_queries(boxes, classes, model.transformer.label_embed.num_embeddings - 1, model.device)


def assign_queries(matcher: HungarianMatcher, logits: Tensor, pred_boxes: Tensor, given: GivenBoxes) -> Tensor:
    """Assign a query to each given box, as the module says.

    Args:
        matcher: measures the cost.
        logits: (N, C).
        pred_boxes: (N, 4) cxcywh in 0..1.
        given: the n boxes.

    Returns:
        (n,) int64 queries.
    """
    if len(given.classes) == 0:
        return given.classes
    # Sorted and without repetition, so that neither the order of the boxes nor ties between equal ones matter.
    rows = torch.cat([given.boxes, given.classes[:, None].float()], dim=1)
    rows, places = torch.unique(rows, dim=0, return_inverse=True)
    none = rows.new_zeros(0, 3, dtype=torch.int64)
    target = Target(classes=rows[:, 4].long(), boxes=rows[:, :4], relations=none)
    cost = matcher.cost_matrix(logits[None], pred_boxes[None], [target]).double().cpu().numpy()
    queries = np.zeros(len(cost), dtype=np.int64)
    waiting = np.arange(len(cost))
    while len(waiting):
        served, chosen = linear_sum_assignment(cost[waiting])
        queries[waiting[served]] = chosen
        waiting = np.delete(waiting, served)
    return torch.from_numpy(queries).to(logits.device)[places]


def find_own_queries(given: GivenBoxes, output: EGTROutput, index: int, image_size: tuple[int, int]) -> Tensor:
    """Find the own query whose detection a given box is: the box overlaps by SAME_IOU, and a given class is the same.

    Args:
        given: the n boxes.
        output, index, image_size: see :func:`build_given_graph`.

    Returns:
        (n,) int64 queries, the one that overlaps most; -1 for boxes that are no detection of the model.
    """
    found = scale_boxes(output.pred_boxes[index], *image_size)
    overlap = pairwise_iou(Boxes(given.pixels), Boxes(found))
    differs = given.classes[:, None] != output.logits[index].argmax(-1)[None]
    best, query = overlap.masked_fill(differs & (given.classes >= 0)[:, None], 0.0).max(dim=1)
    return torch.where(best >= SAME_IOU, query, -1)


class _Objects(NamedTuple):
    """Logits, boxes and by-products of n objects of one image, as a batch of one."""

    logits: Tensor
    boxes: Tensor
    hidden_state: Tensor
    queries: list[Tensor]
    keys: list[Tensor]

    def rows(self, image: int, rows: Tensor) -> "_Objects":
        """Choose objects of one image of a batch."""

        def choose(x: Tensor) -> Tensor:
            return x[image : image + 1, rows]

        by_products = [[choose(layer) for layer in layers] for layers in (self.queries, self.keys)]
        return _Objects(choose(self.logits), choose(self.boxes), choose(self.hidden_state), *by_products)

    def joined(self, other: "_Objects") -> "_Objects":
        """Append other objects of the same image."""
        by_products = [
            [torch.cat(pair, dim=1) for pair in zip(mine, theirs, strict=True)]
            for mine, theirs in ((self.queries, other.queries), (self.keys, other.keys))
        ]
        first = (torch.cat(pair, dim=1) for pair in zip(self[:3], other[:3], strict=True))
        return _Objects(*first, *by_products)


def _objects_of(output: EGTROutput | TransformerOutput) -> _Objects:
    last = (output.logits, output.pred_boxes)
    logits, boxes = last if isinstance(output, EGTROutput) else (layers[-1] for layers in last)
    return _Objects(logits, boxes, output.hidden_states[-1], output.queries, output.keys)


def build_given_graph(
    model: nn.Module, given: GivenBoxes, output: EGTROutput, index: int, image_size: tuple[int, int]
) -> SceneGraph:
    """Make the graph of the given boxes of one image.

    Args:
        model: an EGTR with a relation part, in evaluation mode.
        given: the n boxes.
        output: the model's output for the batch; its ``relation_logits`` are not read.
        index: position of the image in the batch.
        image_size: (height, width) that output boxes refer to.
    """
    path, count, own = choose_path(model, given), len(given.classes), _objects_of(output)
    device, num_queries = given.boxes.device, output.logits.shape[1]
    every_query = torch.arange(num_queries, device=device)
    # The query behind each object: own ones count from 0, box queries after them.
    if path == BOX_QUERIES:
        places = torch.arange(count, device=device)
        everything = own.rows(index, every_query)
        # Without any box in the batch there is no output of box queries.
        if output.boxed is not None:
            everything = everything.joined(_objects_of(output.boxed).rows(index, places))
        detected = find_own_queries(given, output, index, image_size)
        sources = torch.where(detected < 0, places + num_queries, detected)
        objects = everything.rows(0, sources)
    else:
        sources = assign_queries(model.criterion.matcher, output.logits[index], output.pred_boxes[index], given)
        objects = own.rows(index, sources)
    boxes = scale_boxes(objects.boxes[0], *image_size) if given.refine else given.pixels
    if given.with_found:
        objects, sources = objects.joined(own.rows(index, every_query)), torch.cat([sources, every_query])
        boxes = torch.cat([boxes, scale_boxes(output.pred_boxes[index], *image_size)])

    logits = _host(objects.logits[0])
    scores, classes = object_scores(logits, model.object_score)
    known = np.flatnonzero(given.classes.cpu().numpy() >= 0)
    classes[known] = given.classes.cpu().numpy()[known]
    scores[known] = _host(given.scores)[known]
    relation, connectivity = _relations(model, objects, torch.from_numpy(classes).to(device))
    # A query that stands for two objects has no relation between them.
    pairs, sources = all_pairs(len(classes)), sources.cpu().numpy()
    kept = (pairs[:, 0] == pairs[:, 1]) | (sources[pairs[:, 0]] != sources[pairs[:, 1]])
    # Without a given class, evaluation may score objects in its own way.
    labels = (classes, scores) if len(known) else (None, None)
    prediction = Prediction(
        logits, _host(boxes), pairs[kept], connectivity[kept], relation[kept], image_size, None, *labels
    )
    presence = object_scores(logits, "sigmoid")[0]
    presence[:count] = 1.0
    is_given = np.arange(len(classes)) < count
    graph = replace(model.make_graph(prediction), presence=presence, given=is_given, given_by=path)
    return _reorder(graph, np.concatenate([given.order, np.arange(count, len(classes))]))


def _reorder(graph: SceneGraph, order: np.ndarray) -> SceneGraph:
    """Move object i to place ``order[i]``, and name the pairs and triplets by the new places."""
    record, old = graph.prediction, np.argsort(order)
    labels = {name: None if (rows := getattr(record, name)) is None else rows[old] for name in ("classes", "scores")}
    record = replace(record, logits=record.logits[old], boxes=record.boxes[old], pairs=order[record.pairs], **labels)
    fields = {name: getattr(graph, name)[old] for name in ("boxes", "classes", "scores", "presence", "given")}
    triplets = np.column_stack([order[graph.triplets[:, :2]], graph.triplets[:, 2]])
    return replace(graph, **fields, triplets=triplets, triplet_queries=None, prediction=record)


def _relations(model: nn.Module, objects: _Objects, classes: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Compute the probabilities of predicates, (n * n, R), and of any relation, (n * n,), of all pairs of objects."""
    part, count = model.relation, len(classes)
    bias = part.frequency_bias
    if count == 0:
        return np.zeros((0, bias.table.shape[-1]), dtype=np.float32), np.zeros(0, dtype=np.float32)
    pairs = part.source(objects.queries, objects.keys, objects.hidden_state)
    logits = bias.adjust(bias.add(part.relation_head(pairs), classes[:, None], classes[None]))
    connectivity = np.ones(count**2, dtype=np.float32)
    if part.connectivity_head is not None:
        connectivity = _host(part.connectivity_head(pairs)[0].float().sigmoid().flatten())
    return _host(logits[0].float().sigmoid().flatten(0, 1)), connectivity


def _host(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
