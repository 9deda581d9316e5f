"""The scoring rules written down literally, one picture, one pair, one triplet at a time: slow and plain.

Nothing here is shared with the library: it is what the fast code is held against.
"""

import math


def softmax(logits):
    top = max(logits)
    exponentials = [math.exp(v - top) for v in logits]
    return [e / sum(exponentials) for e in exponentials]


def iou(a, b, plus_one):
    extra = 1.0 if plus_one else 0.0
    width = min(a[2], b[2]) - max(a[0], b[0]) + extra
    height = min(a[3], b[3]) - max(a[1], b[1]) + extra
    if width <= 0 or height <= 0:
        return 0.0
    area_a = (a[2] - a[0] + extra) * (a[3] - a[1] + extra)
    area_b = (b[2] - b[0] + extra) * (b[3] - b[1] + extra)
    return width * height / (area_a + area_b - width * height)


def ranking(prediction, graph_constraint, k):
    """The first k of (subject, object, predicate), ties by these three numbers."""
    scores, classes = [], []
    for logits in prediction.logits.tolist():
        probabilities = softmax(logits)
        scores.append(max(probabilities))
        classes.append(probabilities.index(max(probabilities)))
    candidates = []
    for (i, j), connectivity, relation in zip(
        prediction.pairs.tolist(), prediction.connectivity.tolist(), prediction.relation.tolist(), strict=True
    ):
        if i == j:
            continue
        predicates = range(len(relation))
        if graph_constraint:
            predicates = [relation.index(max(relation))]
        for p in predicates:
            candidates.append((-relation[p] * connectivity * scores[i] * scores[j], i, j, p))
    return [(i, j, p) for _, i, j, p in sorted(candidates)[:k]], classes


def is_hit(triplet, predicted, classes, prediction, truth, plus_one, threshold):
    (gt_subject, gt_object, gt_predicate), (i, j, p) = triplet, predicted
    if p != gt_predicate:
        return False
    for query, annotated in ((i, gt_subject), (j, gt_object)):
        if classes[query] != truth.classes[annotated]:
            return False
        boxes = prediction.boxes[query].tolist(), truth.boxes[annotated].tolist()
        if iou(*boxes, plus_one) < threshold:
            return False
    return True


def evaluate(predictions, ground_truth, topk, protocol):
    """R@K, mR@K, ng-R@K, ng-mR@K and the recall of each predicate."""
    num_predicates = predictions[0].relation.shape[1]
    metrics = {}
    for prefix, graph_constraint in (("", True), ("ng-", False)):
        for k in topk:
            recalls = []
            by_predicate = [[] for _ in range(num_predicates)]
            for prediction, truth in zip(predictions, ground_truth, strict=True):
                triplets = [tuple(t) for t in truth.triplets.tolist()]
                if protocol.deduplicate_ground_truth:
                    triplets = sorted(set(triplets))
                if not triplets:
                    continue
                if protocol.skip_images_without_pairs and all(i == j for i, j in prediction.pairs.tolist()):
                    continue
                first, classes = ranking(prediction, graph_constraint, k)
                hits = [
                    any(
                        is_hit(t, f, classes, prediction, truth, protocol.iou_plus_one, protocol.iou_threshold)
                        for f in first
                    )
                    for t in triplets
                ]
                recalls.append(sum(hits) / len(hits))
                for p in range(num_predicates):
                    mine = [hit for hit, triplet in zip(hits, triplets, strict=True) if triplet[2] == p]
                    if mine:
                        by_predicate[p].append(sum(mine) / len(mine))
            means = [sum(values) / len(values) if values else math.nan for values in by_predicate]
            present = [m for m in means if not math.isnan(m)]
            count = num_predicates if protocol.absent_predicates_count else len(present)
            metrics[f"{prefix}R@{k}"] = sum(recalls) / len(recalls) if recalls else math.nan
            metrics[f"{prefix}mR@{k}"] = sum(present) / count if present else math.nan
            metrics[f"{prefix}R@{k} of each predicate"] = means
    return metrics
