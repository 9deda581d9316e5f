"""Small scenes, predictions that find some of them, and the loop that feeds an evaluator."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, BoxMode, Instances

from egtr.evaluation.report import to_json
from egtr.structures import GroundTruth, Prediction, SceneGraph, all_pairs

NUM_CLASSES, NUM_PREDICATES, NUM_QUERIES = 4, 3, 6
PREDICATES = ("on", "under", "near")


def random_scene(seed):
    """A dataset dict, and a prediction whose first queries lie near its objects."""
    rng = np.random.RandomState(seed)
    corners = rng.randint(0, 40, (4, 2)).astype(float)
    boxes = np.concatenate([corners, corners + rng.randint(10, 40, (4, 2))], axis=1)
    classes = rng.randint(0, NUM_CLASSES, 4)
    relations = [[0, 1, seed % NUM_PREDICATES], [2, 3, 1], [1, 2, 0]]
    record = {
        "image_id": 100 + seed,
        "height": 80,
        "width": 80,
        "annotations": [
            {"bbox": b.tolist(), "bbox_mode": BoxMode.XYXY_ABS, "category_id": int(c)}
            for b, c in zip(boxes, classes, strict=True)
        ],
        "relations": relations,
    }
    logits = rng.randn(NUM_QUERIES, NUM_CLASSES)
    logits[np.arange(4), classes] += 2
    pairs = all_pairs(NUM_QUERIES)
    relation = rng.rand(len(pairs), NUM_PREDICATES) / 2
    for s, o, p in relations:
        relation[s * NUM_QUERIES + o, p] += rng.rand() / 2
    queries = np.concatenate([boxes, rng.rand(2, 4) * 40 + [0, 0, 40, 40]])
    queries[:4] += rng.randint(-3, 4, (4, 4))
    return record, Prediction(logits, queries, pairs, rng.rand(len(pairs)), relation, image_size=(80, 80))


def model_output(prediction, relations=True, max_detections=None):
    """The output of a model: instances as (query, class) by sigmoid score, and the scene graph."""
    scores = torch.from_numpy(prediction.logits).sigmoid().flatten()
    best = scores.argsort(descending=True)[:max_detections]
    instances = Instances(prediction.image_size)
    instances.pred_boxes = Boxes(torch.from_numpy(prediction.boxes)[best // prediction.logits.shape[1]])
    instances.scores = scores[best]
    instances.pred_classes = best % prediction.logits.shape[1]
    output = {"instances": instances}
    if relations:
        output["scene_graph"] = SceneGraph.from_prediction(prediction)
    return output


def truths_of(scenes):
    return [GroundTruth.from_dict(record) for record, _ in scenes]


# (subject class, object class, predicate) of all triplets of the scenes, in ascending order.
CLASS_TRIPLETS = sorted(
    {
        (*truth.classes[triplet[:2]].tolist(), int(triplet[2]))
        for truth in truths_of([random_scene(seed) for seed in range(8)])
        for triplet in truth.triplets
    }
)


@contextmanager
def registered(name) -> Iterator[tuple]:
    """Eight scenes as a registered dataset: (name, scenes)."""
    scenes = [random_scene(seed) for seed in range(8)]
    DatasetCatalog.register(name, lambda: [record for record, _ in scenes])
    MetadataCatalog.get(name).set(predicate_classes=list(PREDICATES), thing_classes=list("abcd"))
    try:
        yield name, scenes
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def run(evaluator, scenes, relations=True):
    for record, prediction in scenes:
        # The loop passes what the mapper leaves of a record; image_id is enough.
        evaluator.process([{"image_id": record["image_id"]}], [model_output(prediction, relations)])
    return evaluator.evaluate()


def without_nan(results):
    """Results that can be compared: NaN is not equal to itself."""
    return json.loads(to_json(results))
