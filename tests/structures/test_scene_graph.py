"""The two records: what they check, and that no operation loses track of which pair is which."""

from dataclasses import replace

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
        make_prediction(**options), ["cat", "dog", "hat", "tree"], ["on", "near"], top_k=100
    )


def test_presence_is_the_sigmoid_whatever_ranks_triplets():
    """By softmax, which compares classes only, the empty query 1 looks like the better object."""
    logits = np.log(np.array([[3, 1], [0.01, 0.0001]]))  # odds of the best class: 3 and 1 / 100
    prediction = Prediction(logits, np.zeros((2, 4)), all_pairs(2), np.ones(4), np.ones((4, 1)), (9, 9))
    for kind, scores in (("softmax", [0.75, 100 / 101]), ("sigmoid", [0.75, 1 / 101])):
        graph = SceneGraph.from_prediction(prediction, object_score=kind)
        np.testing.assert_allclose(graph.scores, scores, rtol=1e-5)
        np.testing.assert_allclose(graph.presence, [0.75, 1 / 101], rtol=1e-5)
        assert graph.for_display(top_k=0).query_index.tolist() == [0]
    with pytest.raises(EGTRError, match=r"presence has shape \(1,\), expected \(2,\)"):
        replace(graph, presence=[0.5])
    kept = graph.filter(min_score=2, min_presence=0.005, classes=0)
    assert kept.query_index.tolist() == [0, 1] and kept.presence.tolist() == graph.presence.tolist()


def test_selected_objects_and_relations_keep_their_order():
    graph = make_graph()
    (subject, object_, predicate), other = graph.triplets[1].tolist(), 3 - graph.triplets[1, :2].sum()
    part = graph.select(np.arange(3) != other, np.array([1]))
    kept = sorted([subject, object_])
    assert part.query_index.tolist() == kept and part.prediction is None
    assert part.triplets.tolist() == [[kept.index(subject), kept.index(object_), predicate]]
    assert part.triplet_scores.tolist() == graph.triplet_scores[1:2].tolist()


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


def make_zoo(**options):
    """Triplets between cats (0, 1), a dog (2) and a tree (3), the latter only weak."""
    fields = {
        "boxes": np.arange(16.0).reshape(4, 4),
        "classes": [0, 0, 1, 3],
        "scores": [0.9, 0.8, 0.7, 0.2],
        "triplets": [[0, 2, 1], [1, 0, 1], [2, 3, 0], [3, 1, 0]],
        "triplet_scores": [0.8, 0.6, 0.4, 0.2],
        "image_size": (20, 20),
        "class_names": ("cat", "dog", "hat", "tree"),
        "predicate_names": ("on", "near"),
    }
    return SceneGraph(**{**fields, **options})


@pytest.mark.parametrize(("options", "rows", "objects"), [
    ({"classes": "dog"}, [0, 2], [0, 2, 3]),
    ({"classes": ["dog", "tree"]}, [0, 2, 3], [0, 1, 2, 3]),
    ({"classes": [1]}, [0, 2], [0, 2, 3]),
    ({"classes": make_zoo().classes[2]}, [0, 2], [0, 2, 3]),
    ({"classes": np.array([0]), "predicates": "near"}, [0, 1], [0, 1, 2]),
    ({"classes": "hat"}, [], []),
    ({"predicates": ["on"]}, [2, 3], [1, 2, 3]),
    ({"predicates": 0, "top_k": 1}, [2], [2, 3]),
    ({"classes": []}, [], []),
    # the tree is too weak; objects without triplets stay where they are of the class
    ({"classes": "cat", "min_object_score": 0.5}, [0, 1], [0, 1, 2]),
    ({"classes": "cat", "min_object_score": 0.5, "min_score": 0.9}, [], [0, 1]),
    ({"top_k": 0}, [], []),
])  # fmt: skip
def test_filter_by_hand(options, rows, objects):
    zoo = make_zoo()
    small = zoo.filter(**options)
    assert small.query_index.tolist() == objects
    assert small.triplet_queries.tolist() == zoo.triplets[rows, :2].tolist()
    assert small.query_index[small.triplets[:, :2]].tolist() == small.triplet_queries.tolist()
    assert small.triplets[:, 2].tolist() == zoo.triplets[rows, 2].tolist()


@pytest.mark.parametrize(("options", "message"), [
    ({"classes": "cta"}, "no class 'cta'; did you mean cat"),
    ({"classes": ["zebra"]}, "no class 'zebra'; take one of: cat, dog, hat, tree"),
    ({"predicates": ["behind"]}, "no predicate 'behind'; take one of: on, near"),
    ({"predicates": 2}, "no predicate 2; ids are 0..1"),
    ({"classes": -1}, "no class -1; ids are 0..3"),
    ({"top_k": -1}, "top_k is -1"),
    ({"merge_iou": 1.5}, "iou is 1.5"),
])  # fmt: skip
def test_filter_refuses(options, message):
    with pytest.raises(EGTRError, match=message):
        make_zoo().filter(**options)
    with pytest.raises(EGTRError, match="no class 'cat'; this graph has no names, give ids"):
        make_zoo(class_names=None).filter(classes="cat")


@given(st.integers(0, 10**6), st.integers(2, 7), st.floats(0, 0.3), st.integers(1, 12))
def test_queries_lead_back_through_any_chain(seed, n, min_score, top_k):
    """Whatever is filtered and merged in succession, query_index and triplet_queries name the original objects."""
    graph = make_graph(num_queries=n, seed=seed)
    small = graph.filter(min_score=min_score).merge_duplicates(0.1).filter(top_k=top_k, min_object_score=0.3)
    assert np.array_equal(small.boxes, graph.boxes[small.query_index])
    assert np.array_equal(small.scores, graph.scores[small.query_index])
    score_of = {tuple(t): score for t, score in zip(graph.triplets.tolist(), graph.triplet_scores, strict=True)}
    for (s, o, p), (a, b), score in zip(
        small.triplets.tolist(), small.triplet_queries.tolist(), small.triplet_scores, strict=True
    ):
        assert score_of[a, b, p] == score
        assert (small.classes[s], small.classes[o]) == (graph.classes[a], graph.classes[b])


@pytest.mark.parametrize(("options", "message"), [
    ({"boxes": np.zeros((4, 3))}, r"boxes has shape \(4, 3\), expected \(4, 4\)"),
    ({"scores": [1.0]}, r"scores has shape \(1,\), expected \(4,\)"),
    ({"triplet_scores": []}, r"triplet_scores has shape \(0,\), expected \(4,\)"),
    ({"query_index": [0]}, "query_index has shape"),
    ({"triplet_queries": [[0, 1]]}, "triplet_queries has shape"),
    ({"triplets": [[0, 4, 0]] * 4}, r"outside 0\.\.3"),
])  # fmt: skip
def test_a_graph_checks_its_fields(options, message):
    with pytest.raises(EGTRError, match=message):
        make_zoo(**options)


def test_an_empty_graph_survives_everything():
    graph = make_graph().filter(min_score=2.0)
    assert len(graph) == 0 and len(graph.boxes) == 0 and graph.triplets.shape == (0, 3)
    assert len(SceneGraph.from_dict(graph.to_dict())) == 0
    assert str(graph) == "SceneGraph of an image (100 x 80): 0 objects, 0 relations"


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
        "SceneGraph of an image (100 x 80): 2 objects, 1 relation\n"
        "     score  subject  predicate  object\n"
        "  1  0.500  cat (0)  near       dog (1)"
    )
    graph.class_names = graph.predicate_names = None
    assert "class 0 (0)  predicate 1  class 1 (1)" in str(graph)


def test_text_says_where_the_graph_comes_from():
    assert repr(make_zoo()) == "<SceneGraph of an image (20 x 20): 4 objects, 4 relations>"
    assert repr(make_zoo(file_name="a/b.png")) == "<SceneGraph of a/b.png (20 x 20): 4 objects, 4 relations>"
    assert "of frame 7 of clip.mp4 (" in repr(make_zoo(file_name="clip.mp4", frame=7, time=0.2))
    assert "of frame 7 of a camera (" in repr(make_zoo(frame=7, time=0.2))


def test_long_lists_are_cut():
    lines = str(make_graph(num_queries=6)).splitlines()  # 30 pairs
    # summary, headers, 20 triplets, what is left out
    assert len(lines) == 23 and lines[-1].startswith("  and 10 more")
    assert lines[2].startswith("   1  0.") and lines[21].startswith("  20  0.")
    # columns are aligned: scores begin under their header
    assert {line.index("0.") for line in lines[2:22]} == {lines[1].index("score")}
