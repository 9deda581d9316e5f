"""Rankings and hits of :mod:`tests.evaluation.oracle`, likewise written down literally."""

import math


def softmax(logits):
    top = max(logits)
    exponentials = [math.exp(v - top) for v in logits]
    return [e / sum(exponentials) for e in exponentials]


def sigmoid(logits):
    return [1 / (1 + math.exp(-v)) for v in logits]


def iou(a, b, plus_one, area_plus_one=None):
    extra = 1.0 if plus_one else 0.0
    area_extra = extra if area_plus_one is None else float(area_plus_one)
    width = min(a[2], b[2]) - max(a[0], b[0]) + extra
    height = min(a[3], b[3]) - max(a[1], b[1]) + extra
    if width <= 0 or height <= 0:
        return 0.0
    area_a = (a[2] - a[0] + area_extra) * (a[3] - a[1] + area_extra)
    area_b = (b[2] - b[0] + area_extra) * (b[3] - b[1] + area_extra)
    union = area_a + area_b - width * height
    return width * height / union if union > 0 else 0.0


def union_box(a, b):
    return [min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])]


def objects(prediction, protocol):
    """Score and class of each query."""
    scores, classes = [], []
    for logits in prediction.logits.tolist():
        values = softmax(logits) if protocol.object_score == "softmax" else sigmoid(logits)
        scores.append(max(values))
        classes.append(logits.index(max(logits)))
    return scores, classes


def taking_part(prediction, protocol):
    """Queries that are no repetition of a better one of the same class."""
    scores, classes = objects(prediction, protocol)
    chosen, boxes = [], prediction.boxes.tolist()
    plus_one = protocol.iou_plus_one, protocol.iou_plus_one and protocol.iou_area_plus_one
    for query in sorted(range(len(scores)), key=lambda query: -scores[query]):
        if not any(
            classes[query] == classes[better]
            and iou(boxes[query], boxes[better], *plus_one) >= protocol.iou_threshold
            for better in chosen
        ):
            chosen.append(query)
    return chosen if protocol.single_instance else range(len(scores))


def rows(prediction, protocol):
    """(i, j, value of each predicate) of each row, the value being the triplet's score."""
    scores, _ = objects(prediction, protocol)
    queries = set(taking_part(prediction, protocol))
    return [
        (i, j, [value * connectivity * scores[i] * scores[j] for value in relation])
        for (i, j), connectivity, relation in zip(
            prediction.pairs.tolist(), prediction.connectivity.tolist(), prediction.relation.tolist(), strict=True
        )
        if i in queries and j in queries
    ]


def one_row_a_pair(listed):
    merged = {}
    for i, j, values in listed:
        merged[i, j] = [max(two) for two in zip(values, merged.get((i, j), values), strict=True)]
    return [(i, j, values) for (i, j), values in merged.items()]


def ranking(prediction, protocol, graph_constraint, only_pairs=None):
    """All (subject, object, predicate), best first, ties by these three numbers."""
    listed = [row for row in rows(prediction, protocol) if row[0] != row[1]]
    if only_pairs is not None:
        listed = [row for row in listed if row[:2] in only_pairs]
    if protocol.entries == "pair":
        listed = one_row_a_pair(listed)
    entries = []
    for i, j, values in listed:
        allowed = 1 if graph_constraint else protocol.ng_predicates
        for p in sorted(range(len(values)), key=lambda p, values=values: -values[p])[:allowed]:
            entries.append((-values[p], i, j, p))
    ranked = [entry[1:] for entry in sorted(entries)]
    if protocol.entries == "triplet":
        ranked = [entry for n, entry in enumerate(ranked) if entry not in ranked[:n]]
    return ranked


def same_names(triplet, predicted, classes, truth):
    (subject, object_, predicate), (i, j, p) = triplet, predicted
    named = (truth.classes[subject], truth.classes[object_], predicate)
    return named == (classes[i], classes[j], p)


def overlaps(triplet, predicted, prediction, truth, plus_one, area_plus_one=None):
    """IoU of subjects, of objects, and of the boxes around both."""
    boxes, gt_boxes = prediction.boxes.tolist(), truth.boxes.tolist()
    subject, object_ = boxes[predicted[0]], boxes[predicted[1]]
    gt_subject, gt_object = gt_boxes[triplet[0]], gt_boxes[triplet[1]]
    return (
        iou(subject, gt_subject, plus_one, area_plus_one),
        iou(object_, gt_object, plus_one, area_plus_one),
        iou(union_box(subject, object_), union_box(gt_subject, gt_object), plus_one, area_plus_one),
    )


def hits(triplets, ranked, prediction, truth, protocol, phrase=False):
    """For each triplet, True if it is hit."""
    found = hit_table(triplets, ranked, prediction, truth, protocol, phrase)
    return [any(row[n] for row in found) for n in range(len(triplets))]


def hit_table(triplets, ranked, prediction, truth, protocol, phrase=False, any_predicate=False):
    """For each ranked triplet a list, for each annotated triplet, True if it is hit."""
    _, classes = objects(prediction, protocol)

    plus_one = protocol.iou_plus_one, protocol.iou_plus_one and protocol.iou_area_plus_one

    def stands_for(query, target):
        """False if the query overlaps another annotated object of its class more, and only the best one counts."""
        if protocol.matching == "all":
            return True
        ious = [
            iou(prediction.boxes[query].tolist(), box, *plus_one) if label == classes[query] else -1
            for box, label in zip(truth.boxes.tolist(), truth.classes.tolist(), strict=True)
        ]
        return ious.index(max(ious)) == target

    def is_hit(triplet, predicted):
        if any_predicate:
            predicted = (*predicted[:2], triplet[2])
        if not same_names(triplet, predicted, classes, truth):
            return False
        subject, object_, union = overlaps(triplet, predicted, prediction, truth, *plus_one)
        if phrase:
            return union >= protocol.iou_threshold
        chosen = stands_for(predicted[0], triplet[0]) and stands_for(predicted[1], triplet[1])
        return chosen and min(subject, object_) >= protocol.iou_threshold

    return [[is_hit(triplet, predicted) for triplet in triplets] for predicted in ranked]
