"""Protocol `reference` the way its formulas read: every score of every pair sorted, one pass for each metric.

This is how evaluation code of the field is usually written: a dense (N, N, R) array of scores, a full sort, a loop
over ground-truth triplets, and all of it again for each predicate. It is plain, but can run at full size. It shares
no code with the library. Tests compare the library's numbers with it; ``python -m benchmarks evaluation`` compares
the time. For tiny scenes, tests/evaluation/oracle.py writes down the conventions of all protocols without NumPy.
"""

import contextlib
import io
import itertools
import math
from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

MAX_RANK = 100


def object_scores(logits):
    """Return score and class of each query: (N,) and (N,)."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities.max(axis=1), probabilities.argmax(axis=1)


def score_array(prediction, scores):
    """Build (N, N, R) scores of all triplets; pairs that the record does not hold are at -1."""
    num_queries = len(scores)
    array = np.full((num_queries, num_queries, prediction.relation.shape[1]), -1.0, dtype=np.float32)
    subjects, objects = prediction.pairs.T
    array[subjects, objects] = prediction.relation * prediction.connectivity[:, None]
    array[subjects, objects] *= (scores[subjects] * scores[objects])[:, None]
    return array


def rank(array, graph_constraint):
    """Rank an (N, N, R) array of scores: the 100 best (subject, object, predicate), as rows."""
    without_diagonal = array.copy()
    without_diagonal[np.diag_indices(len(array))] = -1
    if graph_constraint:
        best = without_diagonal.max(axis=2)
        order = np.argsort(-best, axis=None, kind="stable")
        subjects, objects = np.unravel_index(order[best.reshape(-1)[order] >= 0][:MAX_RANK], best.shape)
        return np.stack([subjects, objects, array[subjects, objects].argmax(axis=1)], axis=1)
    order = np.argsort(-without_diagonal, axis=None, kind="stable")
    kept = order[without_diagonal.reshape(-1)[order] >= 0][:MAX_RANK]
    return np.stack(np.unravel_index(kept, array.shape), axis=1)


def iou(box, boxes, plus_one=1.0, area_plus_one=1.0):
    """Compute the IoU of one box with (K, 4) others: (K,)."""
    width = np.minimum(box[2], boxes[:, 2]) - np.maximum(box[0], boxes[:, 0]) + plus_one
    height = np.minimum(box[3], boxes[:, 3]) - np.maximum(box[1], boxes[:, 1]) + plus_one
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    area = (box[2] - box[0] + area_plus_one) * (box[3] - box[1] + area_plus_one)
    areas = (boxes[:, 2] - boxes[:, 0] + area_plus_one) * (boxes[:, 3] - boxes[:, 1] + area_plus_one)
    return np.where(intersection > 0, intersection / np.where(intersection > 0, area + areas - intersection, 1), 0)


def union_box(a, b):
    return np.concatenate([np.minimum(a[..., :2], b[..., :2]), np.maximum(a[..., 2:], b[..., 2:])], axis=-1)


def hits(ranked, classes, boxes, truth, triplets, phrase=False):
    """List, for each ranked triplet, the ground-truth triplets (rows of ``triplets``) that it hits."""
    found = [[] for _ in ranked]
    ranked_classes = np.stack([classes[ranked[:, 0]], classes[ranked[:, 1]], ranked[:, 2]], axis=1)
    truth_boxes = truth.boxes.astype(np.float64)
    for number, (subject, object_, predicate) in enumerate(triplets):
        wanted = [truth.classes[subject], truth.classes[object_], predicate]
        rows = np.flatnonzero((ranked_classes == wanted).all(axis=1))
        subject_box, object_box = truth_boxes[subject], truth_boxes[object_]
        subject_boxes, object_boxes = boxes[ranked[rows, 0]], boxes[ranked[rows, 1]]
        if phrase:
            overlap = iou(union_box(subject_box, object_box), union_box(subject_boxes, object_boxes))
        else:
            overlap = np.minimum(iou(subject_box, subject_boxes), iou(object_box, object_boxes))
        for row in rows[overlap >= 0.5]:
            found[row].append(number)
    return found


def recall_at(found, num_triplets, k):
    return len(set(itertools.chain.from_iterable(found[:k]))) / num_triplets


def mean(values):
    return sum(values) / len(values) if values else math.nan


def mean_of_predicates(recalls, members):
    """Average over predicates; a predicate that no image has counts 0."""
    return sum(0.0 if math.isnan(recalls[p]) else recalls[p] for p in members) / len(members)


class LiteralScorer:
    """Drop-in for :class:`egtr.evaluation.Scorer`, protocol `reference`: metrics have the same names.

    Args:
        num_predicates: R.
        top_k: the K of R@K.
        training: TripletCounts of the training set, for zero-shot recall and head, body and tail; or None.
    """

    def __init__(self, num_predicates, top_k=(20, 50, 100), training=None):
        self.num_predicates, self.top_k, self.training = num_predicates, top_k, training
        self.seen = None if training is None else {tuple(row) for row in training.triplets.tolist()}

    def score(self, prediction, truth):
        # A triplet that is annotated twice counts once.
        truth = replace(truth, triplets=np.unique(truth.triplets, axis=0))
        scores, classes = object_scores(prediction.logits.astype(np.float64))
        prediction_boxes = prediction.boxes.astype(np.float64)
        array = score_array(prediction, scores)
        return Image(
            truth=truth,
            recalls={
                prefix: self._recalls(rank(array, graph_constraint), classes, prediction_boxes, truth)
                for prefix, graph_constraint in (("", True), ("ng-", False))
            },
            candidates=open_images_candidates(array, classes, prediction_boxes, truth),
            per_class=best_of_all_classes(prediction.logits.astype(np.float64), prediction_boxes),
            per_query=(prediction_boxes, scores, classes),
        )

    def _recalls(self, ranked, classes, boxes, truth):
        """Map (name, predicate or None) to the recall of each K."""
        triplets = truth.triplets
        named = [(truth.classes[s], truth.classes[o], p) for s, o, p in triplets]
        parts = {("R", None): triplets, ("phr-R", None): triplets}
        parts |= {("R", p): triplets[triplets[:, 2] == p] for p in range(self.num_predicates)}
        if self.seen is not None:
            new = [triplet not in self.seen for triplet in named]
            parts["zR", None] = triplets[np.array(new, dtype=bool)]
        recalls = {}
        for (name, predicate), part in parts.items():
            if len(part):
                found = hits(ranked, classes, boxes, truth, part, phrase=name == "phr-R")
                recalls[name, predicate] = [recall_at(found, len(part), k) for k in self.top_k]
        return recalls

    def summarize(self, images):
        """Map metric name to fraction, and "per_predicate" to R@K's name to a list of R."""
        metrics = {"per_predicate": {}}
        for (column, k), prefix in itertools.product(enumerate(self.top_k), ("", "ng-")):

            def average(name, predicate=None, prefix=prefix, column=column):
                recalls = [image.recalls[prefix].get((name, predicate)) for image in images]
                return mean([recall[column] for recall in recalls if recall is not None])

            each = [average("R", predicate) for predicate in range(self.num_predicates)]
            recall, mean_recall = average("R"), mean_of_predicates(each, range(self.num_predicates))
            metrics["per_predicate"][f"{prefix}R@{k}"] = each
            metrics[f"{prefix}R@{k}"], metrics[f"{prefix}mR@{k}"] = recall, mean_recall
            metrics[f"{prefix}F1@{k}"] = 2 * recall * mean_recall / (recall + mean_recall or 1)
            metrics[f"{prefix}phr-R@{k}"] = average("phr-R")
            if self.training is not None:
                metrics[f"{prefix}zR@{k}"] = average("zR")
                for group, members in self.training.predicate_groups().items():
                    metrics[f"{prefix}{group}-mR@{k}"] = mean_of_predicates(each, members)
        truths = [image.truth for image in images]
        ap = object_ap([image.per_class for image in images], truths)
        metrics |= {name: ap[name] for name in ("AP", "AP50", "AP75")}
        ap = object_ap([image.per_query for image in images], truths, plus_one=1.0, first_id=0)
        return metrics | {f"oi/{name}": value for name, value in (open_images_metrics(images) | ap).items()}


class Image(NamedTuple):
    """The contribution of one image."""

    truth: Any
    recalls: dict
    candidates: list
    per_class: tuple
    per_query: tuple


class Candidate(NamedTuple):
    """One of the Open Images block, with the ground-truth triplets it hits and the one it claims, or None."""

    predicate: int
    score: float
    hits: list
    claims: dict


def open_images_candidates(array, classes, boxes, truth):
    """List the candidates, best first: every pair, (i, i) included, enters with its two best predicates."""
    two_best = np.argsort(-array, axis=2, kind="stable")[:, :, :2]
    kept = np.full_like(array, -1)
    np.put_along_axis(kept, two_best, np.take_along_axis(array, two_best, axis=2), axis=2)
    flat = kept.reshape(-1)
    order = np.argsort(-flat, kind="stable")[:MAX_RANK]
    order = order[flat[order] > 1e-5]
    ranked = np.stack(np.unravel_index(order, array.shape), axis=1)
    found = hits(ranked, classes, boxes, truth, truth.triplets)
    return [
        Candidate(row[2], score, hit, {kind: claim(kind, *row, classes, boxes, truth) for kind in ("rel", "phr")})
        for row, score, hit in zip(ranked.tolist(), flat[order].tolist(), found, strict=True)
    ]


def claim(kind, subject, object_, predicate, classes, boxes, truth):
    """Find the ground-truth triplet of equal classes and predicate that overlaps most, by more than a half."""
    best, claimed = 0.5, None
    for number, (s, o, p) in enumerate(truth.triplets):
        if (classes[subject], classes[object_], predicate) != (truth.classes[s], truth.classes[o], p):
            continue
        subject_box, object_box = truth.boxes[[s]].astype(np.float64), truth.boxes[[o]].astype(np.float64)
        if kind == "phr":
            mine = union_box(boxes[subject], boxes[object_])
            overlap = iou(mine, union_box(subject_box, object_box), area_plus_one=0.0)[0]
        else:
            overlap = min(
                iou(boxes[subject], subject_box, area_plus_one=0.0)[0],
                iou(boxes[object_], object_box, area_plus_one=0.0)[0],
            )
        if overlap > best:
            best, claimed = overlap, number
    return claimed


def open_images_metrics(images):
    num_triplets = [len(image.truth.triplets) for image in images]
    num_hits = [len(set().union(*(c.hits for c in image.candidates[:50]))) for image in images]
    total = sum(num_triplets)
    metrics = {
        "microR@50": sum(num_hits) / total if total else math.nan,
        "R@50": mean([found / there for found, there in zip(num_hits, num_triplets, strict=True) if there]),
    }
    counts = Counter(p for image in images for p in image.truth.triplets[:, 2].tolist())
    for kind in ("rel", "phr"):
        area = 0.0
        for predicate, share in counts.items():
            detections = [
                (c.score, None if c.claims[kind] is None else (number, c.claims[kind]))
                for number, image in enumerate(images)
                for c in image.candidates
                if c.predicate == predicate
            ]
            area += share * average_precision(detections, share)
        metrics[f"wmAP_{kind}"] = area / total if total else math.nan
    metrics["score"] = 0.4 * metrics["wmAP_rel"] + 0.4 * metrics["wmAP_phr"] + 0.2 * metrics["microR@50"]
    return metrics


def average_precision(detections, num_triplets):
    """Compute the area under the interpolated precision-recall curve of one predicate's (score, claim)."""
    taken, points = set(), []
    for number, (_, claimed) in enumerate(sorted(detections, key=lambda d: -d[0]), start=1):
        taken.add(claimed)
        found = len(taken - {None})
        points.append((found / num_triplets, found / number))
    recalls, precisions = [0.0, *(recall for recall, _ in points)], [precision for _, precision in points]
    steps = np.diff(recalls)
    return float(sum(step * max(precisions[index:]) for index, step in enumerate(steps) if step))


def best_of_all_classes(logits, boxes):
    """Pick the 100 best (query, class) by sigmoid score: boxes, scores and classes."""
    order = np.argsort(-logits, axis=None, kind="stable")[:MAX_RANK]
    queries, classes = np.unravel_index(order, logits.shape)
    return boxes[queries], 1 / (1 + np.exp(-logits[queries, classes])), classes


def object_ap(detections, truths, plus_one=0.0, first_id=1):
    """Compute AP, AP50, AP75, APs, APm and APl by pycocotools."""

    def xywh(boxes):
        return [[x1, y1, x2 - x1 + plus_one, y2 - y1 + plus_one] for x1, y1, x2, y2 in boxes.tolist()]

    def coco(rows):
        built = COCO()
        fields = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "score")
        built.dataset = {
            "images": [{"id": image} for image in range(len(truths))],
            "categories": [
                {"id": int(c)} for c in np.unique(np.concatenate([(*t.classes, *t.crowd_classes) for t in truths]))
            ],
            "annotations": [dict(zip(fields, row, strict=True)) for row in rows],
        }
        built.createIndex()
        return built

    def rows(per_image, number, iscrowd=0):
        for image, (boxes, scores, classes) in enumerate(per_image):
            for box, score, label in zip(xywh(boxes), scores, classes, strict=True):
                yield next(number), image, int(label), box, box[2] * box[3], iscrowd, float(score)

    number = itertools.count(first_id)
    objects = [(t.boxes.astype(np.float64), np.ones(len(t.boxes)), t.classes) for t in truths]
    crowds = [(t.crowd_boxes.astype(np.float64), np.ones(len(t.crowd_boxes)), t.crowd_classes) for t in truths]
    annotated = [*rows(objects, number), *rows(crowds, number, iscrowd=1)]
    detected = rows(detections, itertools.count(1))
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(coco(annotated), coco(detected), iouType="bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl")
    return {n: float(v) if v >= 0 else math.nan for n, v in zip(names, evaluation.stats, strict=False)}
