"""Relations between given boxes: box queries, the assignment of queries, and what both must keep."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from egtr.modeling.given_boxes import ASSIGNMENT, BOX_QUERIES, GivenBoxes, assign_queries, find_own_queries
from egtr.modeling.matcher import HungarianMatcher
from egtr.modeling.target import Target
from egtr.structures import ConfigurationError

from .models import image, small_model

RTDETR = (
    "MODEL.EGTR.TRANSFORMER.NAME", "RTDETRTransformer", "MODEL.EGTR.BACKBONE.OUT_INDICES", [2, 3, 4],
    "MODEL.EGTR.TRANSFORMER.NUM_FEATURE_LEVELS", 3,
)  # fmt: skip
DENOISING = ("MODEL.EGTR.WITH_BOX_REFINE", True, "MODEL.EGTR.DENOISING.ENABLED", True)
UNKNOWN = (*DENOISING, "MODEL.EGTR.DENOISING.UNKNOWN_LABEL", 0.3)
DETR = ("MODEL.EGTR.TRANSFORMER.NAME", "DETRTransformer")
KINDS = {
    "deformable": (UNKNOWN, BOX_QUERIES),
    "two_stage": ((*UNKNOWN, "MODEL.EGTR.TWO_STAGE", True), BOX_QUERIES),
    "rtdetr": ((*UNKNOWN, *RTDETR), BOX_QUERIES),
    "released": ((), ASSIGNMENT),
    "released_rtdetr": (RTDETR, ASSIGNMENT),
    "detr": (DETR, ASSIGNMENT),
}
each_kind = pytest.mark.parametrize("kind", KINDS)

BOXES = [[4.0, 4, 24, 30], [20, 10, 60, 40], [30, 5, 50, 25]]


def make_given(boxes=BOXES, classes=(0, -1, 2), scores=None, size=(48, 64)):
    instances = Instances(size)
    instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.pred_classes = torch.tensor(classes, dtype=torch.int64)
    if scores is not None:
        instances.scores = torch.tensor(scores, dtype=torch.float32)
    return instances


def make_model(kind):
    """Build a model whose heads tell boxes and relations apart, as those of a trained model do."""
    model = small_model(*KINDS[kind][0]).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "heads" in name or "class_head" in name or "box_head" in name or "relation" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def graph_of(model, record):
    return model([record])[0]["scene_graph"]


@each_kind
def test_first_objects_are_the_given_ones(kind):
    model, record = make_model(kind), image()
    graph = graph_of(model, record | {"given": make_given(scores=[0.25, 0.5, 0.75])})
    assert graph.given_by == KINDS[kind][1]
    assert graph.boxes.tolist() == BOXES
    assert graph.classes[[0, 2]].tolist() == [0, 2] and graph.scores[[0, 2]].tolist() == [0.25, 0.75]
    # the unknown class is the model's, with its own score
    logits = graph.prediction.logits[1].astype(np.float64)
    assert graph.classes[1] == logits.argmax()
    assert graph.scores[1] == pytest.approx((np.exp(logits) / np.exp(logits).sum()).max(), rel=1e-4)
    assert graph.given.tolist() == [True] * 3 and graph.presence.tolist() == [1.0] * 3
    # each of the six pairs has its best predicate, with the product of the four probabilities
    assert sorted(map(tuple, graph.triplets[:, :2])) == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    record, (subject, object_, predicate) = graph.prediction, graph.triplets[0]
    row = record.pairs.tolist().index([subject, object_])
    wanted = record.relation[row].max() * record.connectivity[row] * graph.scores[subject] * graph.scores[object_]
    assert predicate == record.relation[row].argmax() and graph.triplet_scores[0] == pytest.approx(wanted, rel=1e-5)


@each_kind
def test_score_of_a_given_class_is_1_if_none_is_given(kind):
    graph = graph_of(make_model(kind), image() | {"given": make_given()})
    assert graph.scores[[0, 2]].tolist() == [1.0, 1.0] and graph.scores[1] < 1


@each_kind
def test_a_batch_may_mix_images(kind):
    """Images with n = 3, without given boxes, with n = 0, n = 1 and more boxes than the 6 queries."""
    model = make_model(kind)
    many = [[x, y, x + 9.5, y + 11] for x in (1, 22, 43) for y in (2, 14, 27)]
    given = [make_given(), None, make_given([], []), make_given(BOXES[:1], [3]), make_given(many, [-1] * 9)]
    records = [image() for _ in given]
    inputs = [r | ({} if g is None else {"given": g}) for r, g in zip(records, given, strict=True)]
    graphs = [result["scene_graph"] for result in model(inputs)]
    assert [len(graph.boxes) for graph in graphs] == [3, 6, 0, 1, 9]
    assert [len(graph) for graph in graphs[2:4]] == [0, 0]
    assert [graph.given_by is None for graph in graphs] == [False, True, False, False, False]
    for graph, record in zip(graphs, inputs, strict=True):
        single = graph_of(model, record)
        np.testing.assert_allclose(graph.prediction.logits, single.prediction.logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(graph.triplet_scores, single.triplet_scores, rtol=1e-3, atol=1e-6)


@each_kind
def test_what_the_model_finds_is_the_same_and_may_follow(kind):
    model, record = make_model(kind), image()
    plain = graph_of(model, record)
    result = model([record | {"given": make_given(), "with_found": True}])[0]
    graph = result["scene_graph"]
    assert graph.given.tolist() == [True] * 3 + [False] * 6
    np.testing.assert_allclose(graph.boxes[3:], plain.boxes, atol=1e-3)
    np.testing.assert_allclose(graph.scores[3:], plain.scores, atol=1e-5)
    np.testing.assert_allclose(graph.presence[3:], plain.presence, atol=1e-5)
    # relations among the objects found are those of the plain graph
    found = (graph.prediction.pairs >= 3).all(axis=1)
    dense = dict(zip(map(tuple, graph.prediction.pairs[found] - 3), graph.prediction.relation[found], strict=True))
    for pair, relation in zip(map(tuple, plain.prediction.pairs), plain.prediction.relation, strict=True):
        np.testing.assert_allclose(dense[pair], relation, atol=1e-5)
    np.testing.assert_allclose(result["instances"].scores, model([record])[0]["instances"].scores, atol=1e-5)


@each_kind
def test_refined_boxes_are_the_models(kind):
    model, record = make_model(kind), image()
    graph = graph_of(model, record | {"given": make_given(), "refine_boxes": True})
    assert np.abs(graph.boxes - BOXES).max() > 0.1
    if KINDS[kind][1] == ASSIGNMENT:
        own = graph_of(model, record)
        assert all((np.abs(own.boxes - box).max(axis=1) < 1e-3).any() for box in graph.boxes)


@each_kind
@settings(max_examples=8, deadline=None)
@for_all(data=st.data())
def test_order_changes_nothing(kind, data):
    count = data.draw(st.integers(2, 8))
    model, rng = make_model(kind), np.random.default_rng(data.draw(st.integers(0, 1000)))
    corner = rng.uniform(0, 1, (count, 2)) * (40, 30)
    boxes = np.concatenate([corner, corner + rng.uniform(4, 24, (count, 2))], axis=1)
    # also one box twice
    boxes[-1] = boxes[0]
    classes, scores = rng.integers(-1, 5, count), rng.uniform(0, 1, count)
    classes[-1] = classes[0]
    order = np.array(data.draw(st.permutations(range(count))))
    record = image()
    first, second = (
        graph_of(model, record | {"given": make_given(boxes[rows], classes[rows].tolist(), scores[rows])})
        for rows in (np.arange(count), order)
    )
    np.testing.assert_allclose(second.boxes, first.boxes[order], atol=1e-5)
    np.testing.assert_allclose(second.prediction.logits, first.prediction.logits[order], atol=1e-5)
    assert second.classes.tolist() == first.classes[order].tolist()
    relations = [
        dict(zip(map(tuple, places[graph.prediction.pairs]), graph.prediction.relation, strict=True))
        for graph, places in ((first, np.arange(count)), (second, order))
    ]
    assert relations[0].keys() == relations[1].keys()
    for pair, values in relations[0].items():
        np.testing.assert_allclose(relations[1][pair], values, atol=1e-5)
    np.testing.assert_allclose(second.triplet_scores, first.triplet_scores, atol=1e-5)


@each_kind
def test_order_does_not_decide_which_of_equal_relations_are_kept(kind):
    """20 boxes have 380 pairs for 100 places. Boxes that share one of 6 queries have relations of equal score."""
    model, record, rng = make_model(kind), image(), np.random.default_rng(0)
    corner = rng.uniform(0, 1, (20, 2)) * (40, 30)
    boxes, order = np.concatenate([corner, corner + 8], axis=1), rng.permutation(20)
    first, second = (
        graph_of(model, record | {"given": make_given(boxes[rows], [0] * 20, np.ones(20))})
        for rows in (np.arange(20), order)
    )
    assert len(first) == 100 and second.triplet_scores.tolist() == first.triplet_scores.tolist()
    moved = np.column_stack([order[second.triplets[:, :2]], second.triplets[:, 2]])
    assert moved.tolist() == first.triplets.tolist()


def test_a_given_class_decides_the_frequency_bias():
    """The table allows predicate 3 only from class 4 to class 1, which the model itself would not find."""
    for kind in ("rtdetr", "released"):
        model = make_model(kind)
        model.relation.frequency_bias.table.fill_(-20.0)
        model.relation.frequency_bias.table[4, 1, 3] = 20.0
        graph = graph_of(model, image() | {"given": make_given(BOXES[:2], [4, 1])})
        relation = dict(zip(map(tuple, graph.prediction.pairs), graph.prediction.relation, strict=True))
        assert relation[0, 1].round(3).tolist() == [0, 0, 0, 1]
        assert relation[1, 0].max() < 1e-3


def test_without_an_unknown_label_only_known_classes_are_queries():
    model = small_model(*DENOISING).eval()
    assert graph_of(model, image() | {"given": make_given(classes=[0, 1, 2])}).given_by == BOX_QUERIES
    assert graph_of(model, image() | {"given": make_given(classes=[0, -1, 2])}).given_by == ASSIGNMENT


@pytest.mark.parametrize("kind", ["rtdetr", "released"])
def test_boxes_that_reach_beyond_the_image_are_kept(kind):
    graph = graph_of(make_model(kind), image() | {"given": make_given([[-3.5, 2, 30, 60]], [1])})
    assert graph.boxes.tolist() == [[-3.5, 2, 30, 60]] and np.isfinite(graph.prediction.logits).all()


def test_boxes_refer_to_the_size_of_the_output():
    """The same box in an output of twice the size, and a box of another image."""
    model, record = make_model("rtdetr"), image()
    small = graph_of(model, record | {"given": make_given()})
    doubled = make_given((2 * np.array(BOXES)).tolist(), size=(96, 128))
    large = graph_of(model, record | {"given": doubled, "height": 96, "width": 128})
    np.testing.assert_allclose(large.prediction.logits, small.prediction.logits, atol=1e-5)
    assert large.boxes.tolist() == (2 * small.boxes).tolist()
    with pytest.raises(ConfigurationError, match="of an image of 128 x 96 pixels, the output of one of 64 x 48"):
        graph_of(model, record | {"given": doubled})


@pytest.mark.parametrize("kind", ["rtdetr", "released"])
def test_half_precision(kind):
    model, record = make_model(kind), image() | {"given": make_given()}
    wanted = graph_of(model, record)
    model.amp = True
    np.testing.assert_allclose(graph_of(model, record).prediction.logits, wanted.prediction.logits, atol=0.2)


def assign(pred_boxes, logits, boxes, classes):
    count = len(boxes)
    given = GivenBoxes(
        np.arange(count),
        torch.zeros(count, 4),
        torch.tensor(boxes).reshape(-1, 4),
        torch.tensor(classes),
        torch.ones(count),
        False,
        False,
    )
    return assign_queries(HungarianMatcher(), torch.tensor(logits), torch.tensor(pred_boxes), given).tolist()


def test_assignment_by_hand():
    left, right = [0.2, 0.5, 0.2, 0.2], [0.8, 0.5, 0.2, 0.2]
    near_left = [0.25, 0.5, 0.2, 0.2]
    queries, logits = [right, left, near_left], [[0.0, 0.0]] * 3
    assert assign(queries, logits, [left, right], [-1, -1]) == [1, 0]
    # The nearest query is taken once, so the second box gets the next one.
    assert assign(queries, logits, [left, near_left], [-1, -1]) == [1, 2]
    # Query 2 says class 1 with 5, query 1 with -5, at a distance of 0.05. Without a class the surest query counts.
    sure = [[0.0, 0.0], [0.0, -5.0], [0.0, 5.0]]
    assert assign(queries, sure, [left], [0]) == [1]
    assert assign(queries, sure, [left], [1]) == [2]
    assert assign(queries, sure, [left], [-1]) == [2]


def test_more_boxes_than_queries_are_assigned_in_rounds():
    """Two queries, five boxes: of each round the two boxes of least total cost."""
    queries = [[0.2, 0.5, 0.2, 0.2], [0.8, 0.5, 0.2, 0.2]]
    boxes = [[x, 0.5, 0.2, 0.2] for x in (0.26, 0.2, 0.8, 0.24, 0.76)]
    assert assign(queries, [[0.0]] * 2, boxes, [-1] * 5) == [0, 0, 1, 0, 1]
    # Equal boxes share a query, although another one is free.
    assert assign(queries, [[0.0]] * 2, [boxes[1], boxes[1]], [-1, -1]) == [0, 0]
    assert assign(queries, [[0.0]] * 2, [], []) == []


def test_matching_cost_without_class():
    """L1 is 0.1 and GIoU 1 / 3; a class of probability 1/2 adds its focal cost, and -1 that of the best class."""
    wanted = torch.tensor([[0.3, 0.5, 0.2, 0.2]])
    logits, boxes = torch.tensor([[[0.0, -3.0]]]), torch.tensor([[[0.4, 0.5, 0.2, 0.2]]])
    costs = [
        HungarianMatcher().cost_matrix(logits, boxes, [Target(torch.tensor([c]), wanted, wanted.new_zeros(0, 3))])
        for c in (-1, 0, 1)
    ]
    focal = (0.25 - 0.75) * 0.25 * math.log(2)
    assert costs[1].item() == pytest.approx(5 * 0.1 - 2 / 3 + 2 * focal, rel=1e-4)
    assert costs[0].item() == costs[1].item() < costs[2].item()


@pytest.mark.parametrize("kind", [kind for kind, (_, path) in KINDS.items() if path == BOX_QUERIES])
def test_own_objects_given_back_keep_their_graph(kind):
    model, record = make_model(kind), image()
    model.prune_pairs = False
    found = graph_of(model, record)
    chosen = [4, 0, 3]
    # A class is given, or left open.
    classes = [int(found.classes[4]), -1, int(found.classes[3])]
    given = make_given(found.boxes[chosen].tolist(), classes, found.scores[chosen], found.image_size)
    again = graph_of(model, record | {"given": given})
    assert again.classes.tolist() == found.classes[chosen].tolist()
    own, back = found.prediction, again.prediction
    rows = [int(np.flatnonzero((own.pairs == (chosen[s], chosen[o])).all(axis=1))[0]) for s, o in back.pairs]
    assert back.relation == pytest.approx(own.relation[rows], abs=1e-5)
    assert back.connectivity == pytest.approx(own.connectivity[rows], abs=1e-5)


def test_what_is_an_own_detection_by_hand():
    logits = torch.tensor([[[0.0, 2.0], [0.0, 2.0], [3.0, 0.0]]])
    # In an image of 200 x 100: 0..100 x 0..100, 0..99 x 0..100 and 100..200 x 0..100.
    boxes = torch.tensor([[[0.25, 0.5, 0.5, 1.0], [0.2475, 0.5, 0.495, 1.0], [0.75, 0.5, 0.5, 1.0]]])
    pixels = torch.tensor([[0.0, 0, 100, 100], [0, 0, 99.4, 100], [100, 0, 198.9, 100], [100, 0, 199.5, 100]])

    def find(classes):
        given = GivenBoxes(np.arange(4), pixels, pixels, torch.tensor(classes), torch.ones(4), False, False)
        output = SimpleNamespace(logits=logits, pred_boxes=boxes)
        return find_own_queries(given, output, 0, (100, 200)).tolist()

    # The second box overlaps query 0 by 0.994 and query 1 by 0.996; the third lacks a hundredth and more of query 2.
    assert find([-1, -1, -1, -1]) == [0, 1, -1, 2]
    assert find([1, 0, 0, 1]) == [0, -1, -1, -1]
