"""The scoring rules of every convention written down literally, one image, one pair, one triplet at a time.

Plain Python, for tiny scenes; nothing here is shared with the library: it is what the fast code is held against.
"""

import itertools
import math
from dataclasses import replace

from tests.evaluation.oracle_matching import (
    hit_table,
    hits,
    iou,
    objects,
    one_row_a_pair,
    overlaps,
    ranking,
    rows,
    same_names,
)


def counted_scenes(predictions, ground_truth, protocol, skip):
    """Prediction, ground truth and its triplets, without images that have no pair if ``skip``."""
    scenes = []
    for prediction, truth in zip(predictions, ground_truth, strict=True):
        triplets = [tuple(t) for t in truth.triplets.tolist()]
        if protocol.deduplicate_ground_truth:
            # In the order of the annotation: of equal overlaps, the first triplet is claimed.
            triplets = list(dict.fromkeys(triplets))
        if any(i != j for i, j in prediction.pairs.tolist()) or not skip:
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
    scenes = counted_scenes(predictions, ground_truth, protocol, protocol.skip_images_without_pairs)
    num_predicates = predictions[0].relation.shape[1]
    seen = [tuple(row) for row in training.triplets.tolist()]
    metrics = {}

    rankings = {c: [ranking(prediction, protocol, c) for prediction, _, _ in scenes] for c in (True, False)}

    def recall(k, graph_constraint, wanted=lambda triplet: True, phrase=False, micro=False):
        """Recall of the wanted (subject class, object class, predicate): mean over images, or of all triplets."""
        recalls = []
        for (prediction, truth, triplets), ranked in zip(scenes, rankings[graph_constraint], strict=True):
            part = [t for t in triplets if wanted((truth.classes[t[0]], truth.classes[t[1]], t[2]))]
            if part:
                # None: as many predictions as the image has triplets, within the length of the longest ranking.
                length = min(len(triplets), max(top_k)) if k is None else k
                found = hits(part, ranked[:length], prediction, truth, protocol, phrase)
                recalls += found if micro else [mean(found)]
        return mean(recalls)

    micro = protocol.recall == "micro"

    for prefix, graph_constraint in (("", True), ("ng-", False)):
        for k in top_k:
            means = [recall(k, graph_constraint, lambda t, p=p: t[2] == p) for p in range(num_predicates)]
            r, mr = recall(k, graph_constraint, micro=micro), mean_of_predicates(means, protocol)
            metrics[f"{prefix}R@{k} of each predicate"] = means
            metrics[f"{prefix}R@{k}"], metrics[f"{prefix}mR@{k}"] = r, mr
            metrics[f"{prefix}F1@{k}"] = 2 * r * mr / (r + mr) if r + mr != 0 else 0.0
            metrics[f"{prefix}zR@{k}"] = recall(k, graph_constraint, lambda t: t not in seen)
            metrics[f"{prefix}phr-R@{k}"] = recall(k, graph_constraint, phrase=True, micro=micro)
            means = [
                recall(k, graph_constraint, lambda t, p=p: t[2] == p, phrase=True) for p in range(num_predicates)
            ]
            metrics[f"{prefix}phr-mR@{k}"] = mean_of_predicates(means, protocol)
            metrics[f"{prefix}microR@{k}"] = recall(k, graph_constraint, micro=True)
            metrics[f"{prefix}wR@{k}"] = mean(
                [
                    weighted_recall(k, triplets, ranked, prediction, truth, protocol)
                    for (prediction, truth, triplets), ranked in zip(scenes, rankings[graph_constraint], strict=True)
                    if triplets
                ]
            )
            metrics[f"{prefix}PairR@{k}"] = mean(
                [
                    pair_recall(triplets, ranked[:k], prediction, truth, protocol)
                    for (prediction, truth, triplets), ranked in zip(scenes, rankings[graph_constraint], strict=True)
                    if triplets
                ]
            )
            for group, members in training.predicate_groups().items():
                each = metrics[f"{prefix}R@{k} of each predicate"]
                metrics[f"{prefix}{group}-mR@{k}"] = mean_of_predicates([each[p] for p in members], protocol)
        means = [recall(None, graph_constraint, lambda t, p=p: t[2] == p) for p in range(num_predicates)]
        metrics[f"{prefix}mR@rel"] = mean_of_predicates(means, protocol)
        metrics[f"{prefix}F1@mean"] = mean([metrics[f"{prefix}F1@{k}"] for k in top_k])
        metrics[f"{prefix}R@rel"] = recall(None, graph_constraint, micro=micro)
    if task != "sgdet":
        for (name, graph_constraint), k in itertools.product((("A", True), ("ng-A", False)), top_k):
            found = []
            for prediction, truth, triplets in scenes:
                ranked = ranking(prediction, protocol, graph_constraint, only_pairs={t[:2] for t in triplets})
                found += hits(triplets, ranked[:k], prediction, truth, protocol)
            metrics[f"{name}@{k}"] = mean(found)
    with_triplets = [(prediction, truth) for prediction, truth, triplets in scenes if triplets]
    metrics["InstR"] = mean([found_objects(*images, protocol) for images in with_triplets])
    if protocol.matching == "best":
        metrics["PRank"] = predicate_rank(scenes, protocol)
    everything = counted_scenes(predictions, ground_truth, protocol, skip=False)
    return metrics | {f"oi/{name}": value for name, value in open_images(everything, protocol).items()}


def weighted_recall(k, triplets, ranked, prediction, truth, protocol):
    """Each triplet counts (k - predictions before its first hit that hit nothing) / k."""
    table = hit_table(triplets, ranked[:k], prediction, truth, protocol)
    total = 0
    for n in range(len(triplets)):
        first = next((r for r, row in enumerate(table) if row[n]), None)
        if first is not None:
            total += (k - sum(not any(row) for row in table[:first])) / k
    return total / len(triplets)


def pair_recall(triplets, ranked, prediction, truth, protocol):
    """Share of the annotated pairs that some prediction joins, by any predicate."""
    table = hit_table(triplets, ranked, prediction, truth, protocol, any_predicate=True)
    found = {t[:2] for n, t in enumerate(triplets) if any(row[n] for row in table)}
    return len(found) / len({t[:2] for t in triplets})


def matched_objects(prediction, truth, protocol):
    """For each query, the annotated objects that it matches."""
    _, classes = objects(prediction, protocol)
    plus_one = protocol.iou_plus_one, protocol.iou_plus_one and protocol.iou_area_plus_one
    found = []
    for box, label in zip(prediction.boxes.tolist(), classes, strict=True):
        ious = [
            iou(box, gt_box, *plus_one) if gt_label == label else -1
            for gt_box, gt_label in zip(truth.boxes.tolist(), truth.classes.tolist(), strict=True)
        ]
        enough = [n for n, value in enumerate(ious) if value >= protocol.iou_threshold]
        found.append([ious.index(max(ious))] if enough and protocol.matching == "best" else enough)
    return found


def found_objects(prediction, truth, protocol):
    return len(set(sum(matched_objects(prediction, truth, protocol), []))) / len(truth.boxes)


def predicate_rank(scenes, protocol):
    """Mean over images and predicates of the number of other predicates that come before the annotated one."""
    means = []
    for prediction, truth, triplets in scenes:
        targets = matched_objects(prediction, truth, protocol)
        seen = {}
        for i, j, p in ranking(prediction, replace(protocol, ng_predicates=None), False):
            for pair in itertools.product(targets[i], targets[j]):
                seen.setdefault(pair, [])
                if p not in seen[pair]:
                    seen[pair].append(p)
        places = {}
        for subject, object_, p in triplets:
            if p in seen.get((subject, object_), []):
                places.setdefault(p, []).append(seen[subject, object_].index(p))
        means += [mean(values) for values in places.values()]
    return mean(means)


def candidates(prediction, protocol):
    """(score, subject, object, predicate) of the 100 best, each row with its two best predicates."""
    listed = [row for row in rows(prediction, protocol) if protocol.oi_self_pairs or row[0] != row[1]]
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
            plus_one = protocol.oi_plus_one, protocol.oi_plus_one and protocol.oi_area_plus_one
            subject, object_, union = overlaps(triplet, predicted, prediction, truth, *plus_one)
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
    shares = [mean(each) if each else 0.0 for each in found if each or protocol.oi_empty_images_count]
    metrics = {"microR@50": mean(sum(found, [])), "R@50": mean(shares) if any(found) else math.nan}
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
        aps = [value / predicates.count(p) for value, p in zip(each, sorted(set(predicates)), strict=True)]
        count = scenes[0][0].relation.shape[1] if protocol.absent_predicates_count else len(aps)
        metrics[f"mAP_{kind}"] = sum(aps) / count if aps else math.nan
    chosen = metrics["microR@50"] if protocol.oi_recall == "micro" else metrics["R@50"]
    metrics["score"] = 0.4 * metrics["wmAP_rel"] + 0.4 * metrics["wmAP_phr"] + 0.2 * chosen
    return metrics
