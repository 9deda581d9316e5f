"""Fast scoring equals the literal one on random small scenes, under every convention."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st

from egtr.evaluation import PROTOCOLS, Protocol, detections_per_class, evaluate
from egtr.structures import GroundTruth, Prediction, TripletCounts, all_pairs
from tests.evaluation import oracle
from tests.properties import check, few_or_many

NUM_CLASSES = 3
# Few values, so that exact ties are frequent; powers of two, so that the order of a product's factors, which
# rounding would make visible, cannot break a tie.
LEVELS = (0.125, 0.25, 0.5, 1.0)


@st.composite
def scene(draw, num_predicates):
    rng = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))
    num_queries = draw(st.integers(0, 5))
    num_objects = draw(st.integers(0, 4))
    num_triplets = draw(st.integers(0, 6)) if num_objects else 0
    corners = rng.randint(0, 6, (num_objects, 2))
    gt_boxes = np.concatenate([corners, corners + rng.randint(0, 6, (num_objects, 2))], axis=1)
    gt_classes = rng.randint(0, NUM_CLASSES, num_objects)
    # Repeated rows and relations of an object with itself occur.
    triplets = np.stack(
        [
            rng.randint(0, max(num_objects, 1), num_triplets),
            rng.randint(0, max(num_objects, 1), num_triplets),
            rng.randint(0, num_predicates, num_triplets),
        ],
        axis=1,
    )
    if num_objects:
        # Queries lie about annotated objects: otherwise hardly anything would be hit.
        target = rng.randint(0, num_objects, num_queries)
        boxes = gt_boxes[target] + rng.randint(-1, 2, (num_queries, 4)) * (rng.rand(num_queries, 1) < 0.5)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
        classes = np.where(rng.rand(num_queries) < 0.8, gt_classes[target], 0)
    else:
        boxes = np.tile([0, 0, 2, 2], (num_queries, 1))
        classes = np.zeros(num_queries, dtype=int)
    # One class far above the others gives a softmax score of exactly 1 in float32.
    logits = np.zeros((num_queries, NUM_CLASSES))
    logits[np.arange(num_queries), classes] = 200.0
    pairs = all_pairs(num_queries)
    listed = draw(st.sampled_from(["all", "some", "repeated"]))
    if listed == "some":
        # Sparse and in any order.
        pairs = pairs[rng.permutation(len(pairs))[: len(pairs) // 2 + 1]]
    elif listed == "repeated" and num_queries:
        pairs = pairs[rng.randint(0, len(pairs), 2 * len(pairs))]
    prediction = Prediction(
        logits=logits,
        boxes=boxes,
        pairs=pairs,
        connectivity=rng.choice(LEVELS, len(pairs)),
        relation=rng.choice(LEVELS, (len(pairs), num_predicates)),
        image_size=(12, 12),
    )
    return prediction, GroundTruth(gt_boxes, gt_classes, triplets)


@st.composite
def dataset(draw):
    num_predicates = draw(st.integers(1, 4))
    return draw(st.lists(scene(num_predicates), min_size=1, max_size=4))


def compare(scenes, top_k, protocol, seed, task):
    predictions, ground_truth = zip(*scenes, strict=True)
    num_predicates = predictions[0].relation.shape[1]
    rng = np.random.RandomState(seed)
    known = np.stack([rng.randint(0, n, 8) for n in (NUM_CLASSES, NUM_CLASSES, num_predicates)], axis=1)
    training = TripletCounts.from_class_triplets(known, NUM_CLASSES, num_predicates)
    # Given objects stand for one each.
    literal = protocol if task == "sgdet" else replace(protocol, single_instance=False)
    expected = oracle.evaluate(predictions, ground_truth, top_k, literal, training, task)
    metrics = evaluate(predictions, ground_truth, protocol, top_k, training=training, task=task)
    each = metrics.pop("per_predicate").recall
    compared = set()
    for name, value in expected.items():
        if name.endswith(" of each predicate"):
            np.testing.assert_allclose(each[name.split()[0]], value, rtol=0, atol=1e-12)
        else:
            assert metrics[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name
            compared.add(name)
    # The oracle leaves out only counts, and object AP, which has an oracle of its own.
    others = {name for name in metrics if name.startswith("num_") or name.removeprefix("oi/").startswith("AP")}
    assert compared == set(metrics) - others


SEEDS = st.integers(0, 2**32 - 1)
PROTOCOL = st.builds(
    Protocol,
    st.just("own"),
    object_score=st.sampled_from(["softmax", "sigmoid"]),
    iou_threshold=st.sampled_from([0.25, 0.5, 0.75]),
    iou_plus_one=st.booleans(),
    iou_area_plus_one=st.booleans(),
    matching=st.sampled_from(["all", "best"]),
    single_instance=st.booleans(),
    recall=st.sampled_from(["image", "micro"]),
    ng_predicates=st.sampled_from([None, 1, 2]),
    entries=st.sampled_from(["pair", "triplet", "all"]),
    skip_images_without_pairs=st.booleans(),
    deduplicate_ground_truth=st.booleans(),
    absent_predicates_count=st.booleans(),
    oi_recall=st.sampled_from(["micro", "image"]),
    oi_plus_one=st.booleans(),
    oi_area_plus_one=st.booleans(),
    oi_self_pairs=st.booleans(),
    oi_empty_images_count=st.booleans(),
)


@few_or_many(20, 100)
def test_every_convention_equals_the_literal_rules(examples):
    top_k = st.sets(st.sampled_from([1, 2, 3, 5, 20]), min_size=1, max_size=3).map(sorted)
    check(examples, compare, scenes=dataset(), top_k=top_k, protocol=PROTOCOL, seed=SEEDS, task=st.just("sgdet"))


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
@few_or_many(4, 20)
def test_named_protocols_equal_the_literal_rules(protocol, examples):
    def holds(scenes, seed):
        compare(scenes, (1, 3), protocol, seed, "sgdet")

    check(examples, holds, scenes=dataset(), seed=SEEDS)


@few_or_many(8, 30)
def test_annotated_pairs_equal_the_literal_rules(examples):
    # As many objects as queries, in any place: the prediction of an object need not be right.
    def holds(scenes, protocol, seed):
        scenes = [(prediction, objects_of_queries(prediction, truth)) for prediction, truth in scenes]
        compare(scenes, (1, 3), PROTOCOLS[protocol], seed, "sgcls")

    check(examples, holds, scenes=dataset(), protocol=st.sampled_from(sorted(PROTOCOLS)), seed=SEEDS)


def objects_of_queries(prediction, truth):
    """Ground truth with the queries' boxes as objects, and those of the triplets that name one of them."""
    num_queries = prediction.num_queries
    kept = truth.triplets[(truth.triplets[:, :2] < num_queries).all(axis=1)]
    return GroundTruth(prediction.boxes, prediction.logits.argmax(axis=1), kept)


@few_or_many(20, 50)
def test_detections_are_the_best_query_and_class(examples):
    numbers = {"num_queries": st.integers(0, 6), "num_classes": st.integers(1, 4), "limit": st.integers(1, 12)}
    check(examples, assert_detections_are_the_best, **numbers, seed=SEEDS)


def assert_detections_are_the_best(num_queries, num_classes, limit, seed):
    rng = np.random.RandomState(seed)
    logits = rng.randint(-2, 3, (num_queries, num_classes)).astype(np.float32)
    boxes = np.arange(num_queries * 4, dtype=np.float32).reshape(-1, 4)
    prediction = Prediction(logits, boxes, np.zeros((0, 2)), np.zeros(0), np.zeros((0, 2)), image_size=(10, 10))
    literal = sorted((-logits[q, c], q, c) for q in range(num_queries) for c in range(num_classes))[:limit]
    detections = detections_per_class(prediction, limit)
    assert detections.classes.tolist() == [c for _, _, c in literal]
    assert detections.boxes[:, 0].tolist() == [4.0 * q for _, q, _ in literal]
    np.testing.assert_allclose(detections.scores, [1 / (1 + np.exp(v)) for v, _, _ in literal], rtol=1e-6)
