"""The two records: what they check, and that no operation loses track of which pair is which."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egtr.structures import EGTRError, Prediction, SceneGraph, all_pairs


def make_prediction(num_queries=3, num_classes=4, num_predicates=2, seed=0):
    rng = np.random.RandomState(seed)
    return Prediction(
        logits=rng.randn(num_queries, num_classes),
        boxes=rng.rand(num_queries, 4) * 100,
        pairs=all_pairs(num_queries),
        connectivity=rng.rand(num_queries**2),
        relation=rng.rand(num_queries**2, num_predicates),
        image_size=(80, 100),
    )


def test_all_pairs_line_up_with_a_dense_array():
    assert all_pairs(2).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    dense = np.arange(9).reshape(3, 3)
    for (i, j), value in zip(all_pairs(3), dense.reshape(-1), strict=True):
        assert dense[i, j] == value
    assert all_pairs(0).shape == (0, 2)


@pytest.mark.parametrize(("field", "value", "message"), [
    ("boxes", np.zeros((2, 4)), r"boxes has shape \(2, 4\), expected \(3, 4\)"),
    ("connectivity", np.zeros(4), r"connectivity has shape"),
    ("relation", np.zeros(9), r"relation has shape"),
    ("pairs", np.full((9, 2), 3), r"outside 0..2"),
])  # fmt: skip
def test_a_prediction_checks_its_shapes(field, value, message):
    fields = vars(make_prediction())
    with pytest.raises(EGTRError, match=message):
        Prediction(**{**fields, field: value})


def test_object_scores_by_hand():
    prediction = make_prediction()
    prediction.logits = np.log(np.array([[1.0, 3.0], [4.0, 1.0], [2.0, 2.0]], dtype=np.float32))
    scores, classes = prediction.object_scores("softmax")
    assert classes.tolist() == [1, 0, 0]
    np.testing.assert_allclose(scores, [0.75, 0.8, 0.5], rtol=1e-6)
    scores, classes = prediction.object_scores("sigmoid")  # odds 3, 4 and 2
    assert classes.tolist() == [1, 0, 0]
    np.testing.assert_allclose(scores, [3 / 4, 4 / 5, 2 / 3], rtol=1e-6)
    with pytest.raises(EGTRError, match="softmax, sigmoid"):
        prediction.object_scores("max")


def test_sigmoid_scores_do_not_overflow():
    prediction = make_prediction()
    prediction.logits = np.array([[1000.0], [-1000.0], [0.0]], dtype=np.float32)
    np.testing.assert_allclose(prediction.object_scores("sigmoid")[0], [1.0, 0.0, 0.5])


def make_graph(**options):
    return SceneGraph.from_prediction(
        make_prediction(**options), ["cat", "dog", "hat", "tree"], ["on", "near"], topk=100
    )


def test_from_prediction_takes_one_predicate_a_pair():
    graph = make_graph()
    assert len(graph) == 6 and len(graph.boxes) == 3
    assert len({(s, o) for s, o, _ in graph.triplets.tolist()}) == 6
    assert (np.diff(graph.triplet_scores) <= 0).all()
    prediction, (s, o, p) = graph.prediction, graph.triplets[0]
    row = s * 3 + o
    wanted = prediction.relation[row, p] * prediction.connectivity[row] * graph.scores[s] * graph.scores[o]
    assert graph.triplet_scores[0] == pytest.approx(wanted, rel=1e-6)


@given(st.integers(0, 10**6), st.integers(2, 7), st.floats(0, 0.4), st.integers(0, 12), st.floats(0, 1))
def test_filtering_keeps_every_relation_between_the_same_objects(seed, n, min_score, top_k, min_object_score):
    graph = make_graph(num_queries=n, seed=seed)
    named = {(tuple(graph.boxes[s]), tuple(graph.boxes[o]), p) for s, o, p in graph.triplets.tolist()}
    for chosen in (None, min_object_score):
        small = graph.filter(min_score=min_score, top_k=top_k, min_object_score=chosen)
        assert len(small) <= top_k and (small.triplet_scores >= min_score).all()
        assert {(tuple(small.boxes[s]), tuple(small.boxes[o]), p) for s, o, p in small.triplets.tolist()} <= named
        used = set(small.triplets[:, :2].reshape(-1).tolist())
        for i in range(len(small.boxes)):
            assert i in used or (chosen is not None and small.scores[i] >= chosen)
        assert small.prediction is None


def test_filter_by_object_score_drops_triplets_of_weak_objects():
    graph = make_graph()
    weakest = int(graph.scores.argmin())
    limit = float(np.sort(graph.scores)[1])
    small = graph.filter(min_object_score=limit)
    assert len(small.boxes) == 2
    kept = [t for t in graph.triplets.tolist() if weakest not in t[:2]]
    assert len(small) == len(kept) == 2


def test_dict_round_trip_through_json():
    graph = make_graph().filter(top_k=4)
    again = SceneGraph.from_dict(json.loads(json.dumps(graph.to_dict())))
    np.testing.assert_allclose(again.boxes, graph.boxes, atol=0.005)
    np.testing.assert_allclose(again.triplet_scores, graph.triplet_scores, atol=1e-6)
    assert again.triplets.tolist() == graph.triplets.tolist() and again.classes.tolist() == graph.classes.tolist()
    assert (again.class_names, again.image_size) == (graph.class_names, graph.image_size)
    assert str(again).splitlines()[1:] == str(graph).splitlines()[1:]


def test_an_empty_graph_survives_everything():
    graph = make_graph().filter(min_score=2.0)
    assert len(graph) == 0 and len(graph.boxes) == 0 and graph.triplets.shape == (0, 3)
    assert len(SceneGraph.from_dict(graph.to_dict())) == 0
    assert str(graph) == "SceneGraph of a picture (100 x 80): 0 objects, 0 relations"


def test_text_for_the_terminal():
    graph = SceneGraph(
        boxes=np.zeros((2, 4)),
        classes=np.array([0, 1]),
        scores=np.array([0.9, 0.8]),
        triplets=np.array([[0, 1, 1]]),
        triplet_scores=np.array([0.5]),
        image_size=(80, 100),
        class_names=("cat", "dog"),
        predicate_names=("on", "near"),
    )
    assert str(graph) == (
        "SceneGraph of a picture (100 x 80): 2 objects, 1 relation\n"
        "     score  subject  predicate  object\n"
        "  1  0.500  cat (0)  near       dog (1)"
    )
    graph.class_names = graph.predicate_names = None
    assert "class 0 (0)  predicate 1  class 1 (1)" in str(graph)


def test_a_file_of_another_version_is_refused():
    record = make_graph().to_dict()
    with pytest.raises(EGTRError, match="version 99"):
        SceneGraph.from_dict({**record, "version": 99})
    del record["objects"]
    with pytest.raises(EGTRError, match="'objects' is missing"):
        SceneGraph.from_dict(record)
