"""The scoring rules of every convention written down literally, one image, one pair, one triplet at a time.

Plain Python, for tiny scenes; nothing here is shared with the library: it is what the fast code is held against.
"""

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


def rows(prediction, protocol):
    """(i, j, value of each predicate) of each row, the value being the triplet's score."""
    scores, _ = objects(prediction, protocol)
    return [
        (i, j, [value * connectivity * scores[i] * scores[j] for value in relation])
        for (i, j), connectivity, relation in zip(
            prediction.pairs.tolist(), prediction.connectivity.tolist(), prediction.relation.tolist(), strict=True
        )
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
        for p in [values.index(max(values))] if graph_constraint else range(len(values)):
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
    _, classes = objects(prediction, protocol)

    def is_hit(triplet, predicted):
        if not same_names(triplet, predicted, classes, truth):
            return False
        subject, object_, union = overlaps(triplet, predicted, prediction, truth, protocol.iou_plus_one)
        return (union if phrase else min(subject, object_)) >= protocol.iou_threshold

    return [any(is_hit(triplet, predicted) for predicted in ranked) for triplet in triplets]


def counted_scenes(predictions, ground_truth, protocol):
    """Prediction, ground truth and its triplets, of the images that a protocol looks at."""
    scenes = []
    for prediction, truth in zip(predictions, ground_truth, strict=True):
        triplets = [tuple(t) for t in truth.triplets.tolist()]
        if protocol.deduplicate_ground_truth:
            triplets = sorted(set(triplets))
        if any(i != j for i, j in prediction.pairs.tolist()) or not protocol.skip_images_without_pairs:
            scenes.append((prediction, truth, triplets))
    return scenes


def mean(values):
    return sum(values) / len(values) if values else math.nan


def mean_of_predicates(means, protocol):
    present = [m for m in means if not math.isnan(m)]
    count = len(means) if protocol.absent_predicates_count else len(present)
    return sum(present) / count if present else math.nan


def evaluate(predictions, ground_truth, top_k, protocol, training, task="sgdet"):
    """Every metric but object AP, and under "R@K of each predicate" lists."""
    scenes = counted_scenes(predictions, ground_truth, protocol)
    num_predicates = predictions[0].relation.shape[1]
    seen = [tuple(row) for row in training.triplets.tolist()]
    metrics = {}

    rankings = {c: [ranking(prediction, protocol, c) for prediction, _, _ in scenes] for c in (True, False)}

    def recall(k, graph_constraint, wanted=lambda triplet: True, phrase=False):
        """Mean over images of the recall of the wanted (subject class, object class, predicate)."""
        recalls = []
        for (prediction, truth, triplets), ranked in zip(scenes, rankings[graph_constraint], strict=True):
            part = [t for t in triplets if wanted((truth.classes[t[0]], truth.classes[t[1]], t[2]))]
            if part:
                recalls.append(mean(hits(part, ranked[:k], prediction, truth, protocol, phrase)))
        return mean(recalls)

    for prefix, graph_constraint in (("", True), ("ng-", False)):
        for k in top_k:
            means = [recall(k, graph_constraint, lambda t, p=p: t[2] == p) for p in range(num_predicates)]
            r, mr = recall(k, graph_constraint), mean_of_predicates(means, protocol)
            metrics[f"{prefix}R@{k} of each predicate"] = means
            metrics[f"{prefix}R@{k}"], metrics[f"{prefix}mR@{k}"] = r, mr
            metrics[f"{prefix}F1@{k}"] = 2 * r * mr / (r + mr) if r + mr != 0 else 0.0
            metrics[f"{prefix}zR@{k}"] = recall(k, graph_constraint, lambda t: t not in seen)
            metrics[f"{prefix}phr-R@{k}"] = recall(k, graph_constraint, phrase=True)
            for group, members in training.predicate_groups().items():
                metrics[f"{prefix}{group}-mR@{k}"] = mean_of_predicates([means[p] for p in members], protocol)
    if task != "sgdet":
        for k in top_k:
            found = []
            for prediction, truth, triplets in scenes:
                ranked = ranking(prediction, protocol, True, only_pairs={t[:2] for t in triplets})
                found += hits(triplets, ranked[:k], prediction, truth, protocol)
            metrics[f"A@{k}"] = mean(found)
    return metrics | {f"oi/{name}": value for name, value in open_images(scenes, protocol).items()}


def candidates(prediction, protocol):
    """(score, subject, object, predicate) of the 100 best, each row with its two best predicates."""
    listed = rows(prediction, protocol)
    if protocol.entries != "all":
        listed = one_row_a_pair(listed)
    entries = []
    for i, j, values in listed:
        best = sorted(range(len(values)), key=lambda p, values=values: -values[p])[:2]
        entries += [(-values[p], i, j, p) for p in best]
    return [(-negative, i, j, p) for negative, i, j, p in sorted(entries)[:100] if -negative > 1e-5]


def claimed(kind, predicted, triplets, prediction, truth, protocol):
    """Position of the triplet that a candidate overlaps most, where that is more than a half."""
    _, classes = objects(prediction, protocol)
    best, position = 0.5, None
    for n, triplet in enumerate(triplets):
        if same_names(triplet, predicted, classes, truth):
            subject, object_, union = overlaps(triplet, predicted, prediction, truth, protocol.oi_plus_one, False)
            overlap = min(subject, object_) if kind == "rel" else union
            if overlap > best:
                best, position = overlap, n
    return position


def average_precision(flags, count):
    """Area under the interpolated curve: each hit raises recall by 1 / count, at the best precision from there on."""
    precisions = [sum(flags[: n + 1]) / (n + 1) for n in range(len(flags))]
    return sum(max(precisions[n:]) / count for n, flag in enumerate(flags) if flag)


def open_images(scenes, protocol):
    found = []
    for prediction, truth, triplets in scenes:
        ranked = [c[1:] for c in candidates(prediction, protocol)[:50]]
        found.append(hits(triplets, ranked, prediction, truth, protocol))
    metrics = {"microR@50": mean(sum(found, [])), "R@50": mean([mean(each) for each in found if each])}
    predicates = [t[2] for _, _, triplets in scenes for t in triplets]
    for kind in ("rel", "phr"):
        each = []
        for predicate in sorted(set(predicates)):
            detections = []
            for n, (prediction, truth, triplets) in enumerate(scenes):
                for score, *predicted in candidates(prediction, protocol):
                    if predicted[2] == predicate:
                        position = claimed(kind, predicted, triplets, prediction, truth, protocol)
                        detections.append((score, None if position is None else (n, position)))
            detections.sort(key=lambda detection: -detection[0])
            taken, flags = set(), []
            for _, claim in detections:
                flags.append(claim is not None and claim not in taken)
                taken.add(claim)
            count = predicates.count(predicate)
            each.append(count * average_precision(flags, count))
        metrics[f"wmAP_{kind}"] = sum(each) / len(predicates) if predicates else math.nan
    chosen = metrics["microR@50"] if protocol.oi_recall == "micro" else metrics["R@50"]
    metrics["score"] = 0.4 * metrics["wmAP_rel"] + 0.4 * metrics["wmAP_phr"] + 0.2 * chosen
    return metrics
