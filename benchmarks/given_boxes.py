"""The relations of given boxes, compared with what a model finds by itself."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from tqdm import tqdm

from egtr.data import build_test_loader
from egtr.data.mapper import given_objects
from egtr.evaluation import Scorer, get_protocols
from egtr.evaluation.matching import match_objects, match_pairs
from egtr.inference.predictor import EGTRPredictor
from egtr.structures import ConfigurationError, GroundTruth, Prediction, SceneGraph, rank_triplets

TOP_K = (20, 50)
# Overlap of a moved box with its former place.
MOVED_IOU = 0.7
# The best edges of a graph that are compared.
EDGES = 20
# Row of the table to the task that scores it.
TASKS = {"sgdet": "sgdet", "sgcls": "sgcls"} | dict.fromkeys(("predcls", "moved", "right", "first"), "predcls")
# Wrong predicates that are listed, the most frequent ones.
SHOWN = 10


def measure_given_boxes(cfg: CfgNode, images: int | None = None) -> dict[str, Any]:
    """Evaluate MODEL.WEIGHTS on DATASETS.TEST[0] with and without given boxes, under the first of the protocols.

    Args:
        images: use only this number of images, from the first; None: all.

    Returns:
        "images" and "protocol"; "given_by", how the model learns of boxes; "recall": for each of TASKS the metrics
        "R@20" and "R@50", in percent. "moved" is PredCls with boxes that overlap the annotated ones by MOVED_IOU,
        "right" and "first" are :func:`correct` of PredCls. "wrong": the SHOWN most frequent wrong predicates of
        PredCls, see :func:`count_wrong_predicates`, as (annotated predicate, best predicate, number, annotated
        triplets of this predicate), with names if they are known.
        "located": annotated pairs whose two objects SGDet finds; "right": the share of these whose best predicate is
        annotated. "jaccard": the model's own objects are given to it, with their classes and scores: of the EDGES
        best edges of both graphs, the number in both divided by the number in any, mean over images.

    Raises:
        WeightsError: the weights cannot be read.
        DataError: the dataset cannot be read.
        ConfigurationError: the model has no relation part.
    """
    cfg = cfg.clone()
    cfg.defrost()
    # Records of given objects are whole, and the share of right predicates looks at every pair.
    cfg.MODEL.EGTR.RELATION.PRUNE_PAIRS, cfg.TEST.SCENE_GRAPH.TASKS = False, ["sgdet"]
    predictor = EGTRPredictor(cfg)
    model = predictor.model.eval()
    if model.relation is None:
        raise ConfigurationError("MODEL.EGTR.RELATION.ENABLED is False: boxes have no relations; set it to True")
    protocol, *_ = get_protocols(cfg.TEST.SCENE_GRAPH.PROTOCOLS)
    scorers = {name: Scorer(protocol, TOP_K, task=task) for name, task in TASKS.items()}
    scores: dict[str, list] = {name: [] for name in TASKS}
    pairs, shares, ways, wrong, annotated = [], [], set(), Counter(), Counter()
    loader = islice(build_test_loader(cfg, cfg.DATASETS.TEST[0]), images)
    for number, (record,) in enumerate(tqdm(loader, unit="image", disable=None, leave=False)):
        truth = GroundTruth.from_dict(record)
        moved = given_objects(record, with_classes=True)
        boxes = move_boxes(truth.boxes, MOVED_IOU, moved.image_size, np.random.default_rng(number))
        moved.pred_boxes = Boxes(torch.from_numpy(boxes).float())
        found = predict(model, record)
        graphs = {
            "sgdet": found,
            "sgcls": predict(model, record, given_objects(record, with_classes=False)),
            "predcls": predict(model, record, given_objects(record, with_classes=True)),
            "moved": predict(model, record, moved),
        }
        for name, graph in graphs.items():
            scores[name].append(scorers[name].score(graph.prediction, truth))
        for name in ("right", "first"):
            corrected = correct(graphs["predcls"].prediction, truth, name == "first")
            scores[name].append(scorers[name].score(corrected, truth))
        wrong += count_wrong_predicates(graphs["predcls"].prediction, truth)
        annotated.update(np.unique(truth.triplets, axis=0)[:, 2].tolist())
        pairs.append(count_right_pairs(found.prediction, truth))
        again = predict(model, record, as_given(found))
        shares.append(jaccard(best_edges(found), best_edges(again)))
        ways.add(again.given_by)
    metrics = {name: next(iter(scorer.summarize(scores[name]).values())) for name, scorer in scorers.items()}
    located, right = np.sum(pairs, axis=0).tolist()
    names = predictor.predicate_names or range(cfg.MODEL.EGTR.NUM_PREDICATES)
    return {
        "images": len(shares),
        "protocol": protocol.name,
        "given_by": ", ".join(sorted(ways)),
        "recall": {n: {f"R@{k}": 100 * found[f"R@{k}"] for k in TOP_K} for n, found in metrics.items()},
        "located": located,
        "right": right / max(located, 1),
        "jaccard": float(np.mean(shares)),
        "wrong": [(names[a], names[b], count, annotated[a]) for (a, b), count in wrong.most_common(SHOWN)],
    }


def predict(model: torch.nn.Module, record: dict[str, Any], given: Instances | None = None) -> SceneGraph:
    """Return the graph of one image, of the given objects if there are any."""
    with torch.inference_mode():
        return model([record if given is None else record | {"given": given}])[0]["scene_graph"]


def as_given(graph: SceneGraph) -> Instances:
    """Turn the objects of a graph into given ones, with classes and scores."""
    given = Instances(graph.image_size)
    given.pred_boxes = Boxes(torch.from_numpy(graph.boxes))
    given.pred_classes = torch.from_numpy(graph.classes)
    given.scores = torch.from_numpy(graph.scores)
    return given


def move_boxes(
    boxes: np.ndarray, iou: float, image_size: tuple[int, int], generator: np.random.Generator
) -> np.ndarray:
    """Move boxes in random directions, so that each overlaps its former place by exactly ``iou``.

    A box that would leave the image in every one of four directions shrinks instead, about its centre.

    Args:
        boxes: (n, 4) xyxy in pixels, inside the image.
        iou: above 0 and at most 1.
        image_size: (height, width).
        generator: decides directions.

    Returns:
        (n, 4) float64.
    """
    moved = boxes.astype(np.float64)
    height, width = image_size
    # Moved by a and b of its sides, a box shares (1 - a)(1 - b) =: kept of its area, and kept / (2 - kept) = iou.
    kept = 2 * iou / (1 + iou)
    for box in moved:
        x1, y1, x2, y2 = box
        a = generator.uniform(0, 1 - kept)
        step = np.array([a * (x2 - x1), (1 - kept / (1 - a)) * (y2 - y1)])
        for signs in generator.permutation([(-1, -1), (-1, 1), (1, -1), (1, 1)]):
            dx, dy = signs * step
            if 0 <= x1 + dx and x2 + dx <= width and 0 <= y1 + dy and y2 + dy <= height:
                box += dx, dy, dx, dy
                break
        else:
            dx, dy = (1 - np.sqrt(iou)) / 2 * np.array([x2 - x1, y2 - y1])
            box += dx, dy, -dx, -dy
    return moved


def count_right_pairs(prediction: Prediction, truth: GroundTruth) -> tuple[int, int]:
    """Count annotated pairs whose objects both are found, and those of them whose best predicate is annotated.

    Of several predicted pairs that match an annotated one, the one with the best triplet counts. An object is found
    if its class is right and its box overlaps by an IoU of at least 0.5.

    Args:
        prediction: with all pairs.
        truth: the annotations.
    """
    ranked = rank_triplets(prediction, max(len(prediction.pairs), 1), graph_constraint=True)
    matches = match_objects(prediction.boxes, prediction.object_scores()[1], truth.boxes, truth.classes)
    annotated = {tuple(triplet) for triplet in truth.triplets.tolist()}
    pairs = np.unique(truth.triplets[:, :2], axis=0)
    joined = match_pairs(ranked, matches, pairs)
    located = np.flatnonzero(joined.any(axis=0))
    best = [int(ranked.predicates[joined[:, pair].argmax()]) for pair in located]
    right = [(*pairs[p].tolist(), predicate) in annotated for p, predicate in zip(located, best, strict=True)]
    return len(located), sum(right)


def correct(prediction: Prediction, truth: GroundTruth, annotated_first: bool = False) -> Prediction:
    """Return a prediction of PredCls in which the best predicate of every annotated pair is an annotated one.

    If it was another one, both exchange their scores; so the pairs keep their ranks.

    Args:
        prediction: its queries are the annotated objects, in their order.
        truth: the annotations.
        annotated_first: also rank annotated pairs before all others.
    """
    relation, connectivity = prediction.relation.copy(), prediction.connectivity.copy()
    if annotated_first:
        connectivity[:] = 0
    for row, predicates in _annotated_rows(prediction, truth):
        best = relation[row].argmax()
        if best not in predicates:
            relation[row, [best, predicates[0]]] = relation[row, [predicates[0], best]]
        if annotated_first:
            connectivity[row] = 1
    return replace(prediction, relation=relation, connectivity=connectivity)


def count_wrong_predicates(prediction: Prediction, truth: GroundTruth) -> Counter[tuple[int, int]]:
    """Count (annotated predicate, best predicate of the pair) where the best one is not annotated.

    Args:
        prediction: its queries are the annotated objects, in their order.
        truth: the annotations.
    """
    wrong: Counter[tuple[int, int]] = Counter()
    for row, predicates in _annotated_rows(prediction, truth):
        best = int(prediction.relation[row].argmax())
        if best not in predicates:
            wrong.update((predicate, best) for predicate in predicates)
    return wrong


def _annotated_rows(prediction: Prediction, truth: GroundTruth) -> Iterator[tuple[int, list[int]]]:
    """Find the row of each annotated pair that the prediction has, and the annotated predicates."""
    rows = {tuple(pair): row for row, pair in enumerate(prediction.pairs.tolist())}
    annotated: dict[tuple[int, int], list[int]] = {}
    for subject, object, predicate in np.unique(truth.triplets, axis=0).tolist():
        annotated.setdefault((subject, object), []).append(predicate)
    for pair, predicates in annotated.items():
        # Two objects of one query have no relation, see egtr.modeling.given_boxes.
        if pair in rows:
            yield rows[pair], predicates


def best_edges(graph: SceneGraph) -> set[tuple[int, int, int]]:
    """Return the EDGES best edges as (object, object, predicate)."""
    return {tuple(triplet) for triplet in graph.triplets[:EDGES].tolist()}


def jaccard(first: set, second: set) -> float:
    """Divide the number of elements in both sets by the number in any; 1 if both are empty."""
    return len(first & second) / len(first | second) if first | second else 1.0
