"""Random images whose predictions look like a trained model's."""

import numpy as np

from egtr.structures import GroundTruth, Prediction, TripletCounts, all_pairs

HEIGHT, WIDTH = 600, 800


def random_scene(
    rng, num_queries=200, num_predicates=50, num_classes=150, num_objects=20, num_triplets=30, image_id=None
):
    """One image: a dense Prediction and its GroundTruth, of about that many objects and triplets.

    Half of the queries lie about annotated objects, mostly with the right class and a high score, the others
    anywhere with a low one. As after training, nearly all relations and connectivities are close to 0, those of
    annotated pairs mostly higher. One annotated triplet in ten is annotated twice.
    """
    num_objects = rng.randint(num_objects // 2, num_objects * 3 // 2 + 1)
    num_triplets = rng.randint(num_triplets // 2, num_triplets * 3 // 2 + 1)
    corners = rng.uniform(0, 0.8, (num_objects, 2)) * (WIDTH, HEIGHT)
    gt_boxes = np.concatenate([corners, corners + rng.uniform(20, 160, (num_objects, 2))], axis=1)
    gt_classes = _zipf(rng, num_classes, num_objects)
    subjects = rng.randint(0, num_objects, num_triplets)
    objects = (subjects + rng.randint(1, num_objects, num_triplets)) % num_objects
    triplets = np.stack([subjects, objects, _zipf(rng, num_predicates, num_triplets)], axis=1)
    triplets = np.concatenate([triplets, triplets[: num_triplets // 10]])

    found = np.where(rng.rand(num_queries) < 0.5, rng.randint(0, num_objects, num_queries), -1)
    anywhere = rng.uniform(0, 0.8, (num_queries, 2)) * (WIDTH, HEIGHT)
    boxes = np.concatenate([anywhere, anywhere + rng.uniform(20, 160, (num_queries, 2))], axis=1)
    near = gt_boxes[found] + rng.normal(0, 5, (num_queries, 4))
    boxes = np.where(found[:, None] >= 0, near, boxes)
    logits = rng.normal(-5, 1, (num_queries, num_classes))
    right = (found >= 0) & (rng.rand(num_queries) < 0.8)
    label = np.where(right, gt_classes[found], _zipf(rng, num_classes, num_queries))
    logits[np.arange(num_queries), label] += np.where(found >= 0, 6, 2)

    relation = rng.standard_normal((num_queries, num_queries, num_predicates)).astype(np.float32) * 1.5 - 5
    connectivity = rng.normal(-4, 1.5, (num_queries, num_queries))
    for subject, object_, predicate in triplets:
        pairs = np.ix_(found == subject, found == object_)
        connectivity[pairs] += 4
        relation[(*pairs, [predicate])] += 4
    prediction = Prediction(
        logits=logits,
        boxes=boxes,
        pairs=all_pairs(num_queries),
        connectivity=_sigmoid(connectivity).reshape(-1),
        relation=_sigmoid(relation).reshape(-1, num_predicates),
        image_size=(HEIGHT, WIDTH),
    )
    return prediction, GroundTruth(gt_boxes, gt_classes, triplets, image_id)


def random_training_counts(rng, num_predicates=50, num_classes=150, num_triplets=20_000):
    """Triplets of a training set of such images: most combinations of frequent classes, few of rare ones."""
    columns = _zipf(rng, num_classes, num_triplets), _zipf(rng, num_classes, num_triplets)
    rows = np.stack([*columns, _zipf(rng, num_predicates, num_triplets)], axis=1)
    return TripletCounts.from_class_triplets(rows, num_classes, num_predicates)


def _zipf(rng, num_ids, size):
    weights = 1 / np.arange(1, num_ids + 1)
    return rng.choice(num_ids, size, p=weights / weights.sum())


def _sigmoid(values):
    return 1 / (1 + np.exp(-values))
