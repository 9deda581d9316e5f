"""Scores become probabilities by a record; hand-computed, and properties of any record."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egtr.structures import Calibration, ModelInfo, PredictionError, SceneGraph, WeightsError
from egtr.structures.calibration import Curve, Labels

LABELS = Labels(2.0, (0.5, 0.9), (0.25, 0.625))
RECORD = {
    "dataset": "mine_val",
    "num_images": 10,
    "exhaustive": True,
    "triplets": {"scores": [0.0, 0.2, 0.6], "probabilities": [0.0, 0.5, 0.9]},
    "precision": {"scores": [0.1, 0.3, 0.5], "probabilities": [0.5, 0.8, 0.9]},
    "objects": {"scores": [0.0, 1.0], "probabilities": [0.0, 0.5]},
    "classes": {"temperature": 2.0, "coverages": [0.5, 0.9], "thresholds": [0.25, 0.625]},
    "predicates": {"temperature": 1.0, "coverages": [0.9], "thresholds": [0.7]},
}
CALIBRATION = Calibration.from_dict(RECORD)


def make_graph(scores=(0.7, 0.4, 0.1)):
    k = len(scores)
    return SceneGraph(
        boxes=[[0, 0, 10, 10], [0, 0, 10, 11], [20, 20, 30, 30]],
        classes=[0, 0, 1],
        scores=[0.9, 0.8, 0.7],
        triplets=[[0, 2, i] for i in range(k)],
        triplet_scores=scores,
        image_size=(40, 40),
        presence=[0.6, 0.8, 0.2],
    )


def test_probabilities_by_hand():
    graph = CALIBRATION.apply(make_graph())
    # Above the last point the curve is level; 0.4 lies halfway between 0.2 and 0.6, 0.1 between 0 and 0.2.
    np.testing.assert_allclose(graph.triplet_probabilities, [0.9, 0.7, 0.25], rtol=1e-6)
    np.testing.assert_allclose(graph.triplet_precisions, [0.9, 0.85, 0.5], rtol=1e-6)
    np.testing.assert_allclose(graph.object_probabilities, [0.3, 0.4, 0.1], rtol=1e-6)


def test_scores_and_their_order_stay():
    graph = make_graph()
    calibrated = CALIBRATION.apply(graph)
    for field in ("boxes", "classes", "scores", "triplets", "triplet_scores", "presence", "query_index"):
        np.testing.assert_array_equal(getattr(calibrated, field), getattr(graph, field))


@pytest.mark.parametrize(("precision", "kept"), [(0.0, 3), (0.5, 3), (0.51, 2), (0.85, 2), (0.9, 1), (0.95, 0)])
def test_filter_by_precision(precision, kept):
    graph = CALIBRATION.apply(make_graph()).filter(precision=precision)
    assert len(graph) == kept
    assert (graph.triplet_precisions >= precision - 1e-6).all()


def test_filter_by_precision_after_merging_and_with_other_conditions():
    graph = CALIBRATION.apply(make_graph())
    assert len(graph.filter(precision=0.85, merge_iou=0.7)) == 2
    assert len(graph.filter(precision=0.85, top_k=1)) == 1
    assert len(graph.filter(min_score=0.5, precision=0.5)) == 1


@pytest.mark.parametrize(("probability", "kept"), [(0.0, 3), (0.25, 3), (0.26, 2), (0.7, 2), (0.9, 1), (0.95, 0)])
def test_filter_by_probability(probability, kept):
    graph = CALIBRATION.apply(make_graph())
    assert len(graph.filter(min_probability=probability)) == kept
    assert len(graph.filter(min_probability=probability, merge_iou=0.7, top_k=2)) == min(kept, 2)


@pytest.mark.parametrize(
    ("scores", "shown"),
    [
        # 0.12 has probability 0.3, by the line from 0 at 0 to 0.5 at 0.2.
        ((0.7, 0.1201, 0.1199), 2),
        ((0.7, 0.2, 0.05), 2),
        ((0.11, 0.1, 0.09), 0),
    ],
)
def test_drawings_show_what_is_right_with_probability(scores, shown):
    graph = CALIBRATION.apply(make_graph(scores))
    assert graph.least_probability == 0.3
    assert len(graph.for_display()) == len(graph.for_display(merge_iou=None)) == shown
    assert len(graph.merge_duplicates().for_display()) == shown
    # 0.04 is less than a twentieth of 0.9, which its probability 0.1 cannot help.
    ranked = dataclasses.replace(CALIBRATION.apply(make_graph((0.9, 0.046, 0.04))), least_probability=0.05)
    assert len(ranked.for_display()) == 2
    # Scores, where they are asked for, decide instead; and objects stay, however improbable their relations are.
    assert len(graph.for_display(min_score=0.0)) == 3
    assert len(graph.for_display(min_score=0.15)) == sum(score >= 0.15 for score in scores)
    assert graph.for_display(single_objects=True).presence.max() == pytest.approx(0.8)


def test_drawings_of_other_graphs_choose_by_rank():
    """Without a calibration, or with one of sparse annotations, where true relations are improbable."""
    sparse = Calibration.from_dict({**RECORD, "exhaustive": False})
    for graph in (make_graph((0.11, 0.1, 0.005)), sparse.apply(make_graph((0.11, 0.1, 0.005)))):
        assert graph.least_probability is None
        assert len(graph.for_display()) == 2
    given_boxes = dataclasses.replace(make_graph((0.11, 0.1, 0.005)), given=np.ones(3, dtype=bool))
    assert len(CALIBRATION.apply(given_boxes).for_display()) == 2


def test_merged_objects_have_the_probability_of_their_presence():
    merged = CALIBRATION.apply(make_graph()).merge_duplicates()
    # Objects 0 and 1 are one; the higher presence 0.8 stands for both.
    np.testing.assert_allclose(merged.presence, [0.8, 0.2], rtol=1e-6)
    np.testing.assert_allclose(merged.object_probabilities, [0.4, 0.1], rtol=1e-6)


def test_a_precision_without_calibration_is_refused():
    with pytest.raises(PredictionError, match="no calibration; fit one with egtr calibrate"):
        make_graph().filter(precision=0.8)
    with pytest.raises(PredictionError, match="precision is 80; it must lie in 0..1"):
        CALIBRATION.apply(make_graph()).filter(precision=80)
    with pytest.raises(PredictionError, match="min_probability is not known, because the model has no calibration"):
        make_graph().filter(min_probability=0.3)
    with pytest.raises(PredictionError, match="min_probability is -1; it must lie in 0..1"):
        CALIBRATION.apply(make_graph()).filter(min_probability=-1)


def test_a_graph_without_presence_has_no_probabilities_of_objects():
    graph = dataclasses.replace(make_graph(), presence=None)
    assert CALIBRATION.apply(graph).object_probabilities is None


def test_json_and_text_have_probabilities():
    graph = CALIBRATION.apply(make_graph())
    record = json.loads(json.dumps(graph.to_dict()))
    assert [relation["probability"] for relation in record["relations"]] == [0.9, 0.7, 0.25]
    assert [relation["precision"] for relation in record["relations"]] == [0.9, 0.85, 0.5]
    assert [entry["probability"] for entry in record["objects"]] == [0.3, 0.4, 0.1]
    again = SceneGraph.from_dict(record)
    np.testing.assert_allclose(again.triplet_precisions, [0.9, 0.85, 0.5], rtol=1e-6)
    assert len(again.filter(precision=0.85)) == 2
    assert "score  probability" in str(graph) and "0.700  0.90" in str(graph)
    assert "probability" not in str(make_graph())
    edges = [data for *_, data in graph.to_networkx().edges(data=True)]
    assert [edge["probability"] for edge in edges] == [0.9, 0.7, 0.25]
    assert all("probability" not in data for *_, data in make_graph().to_networkx().edges(data=True))


def test_label_sets_by_hand():
    # Logits 0 and 2 log 3 with temperature 2: probabilities 1/4 and 3/4.
    logits = np.array([[0.0, 2 * np.log(3)]])
    np.testing.assert_allclose(LABELS.probabilities(logits), [[0.25, 0.75]])
    # Level 1 - 0.25 = 0.75 is reached by the second label only, level 0.375 too; 0.7 means the next coverage, 0.9.
    assert LABELS.sets(logits - [[0, 1e-6]], 0.5).tolist() == [[False, False]]
    assert LABELS.sets(logits + [[0, 1e-6]], 0.5).tolist() == [[False, True]]
    assert LABELS.sets([[0.0, 0.0]], 0.7).tolist() == [[True, True]]
    assert LABELS.sets([[0.0, 0.0]], 0.5).tolist() == [[False, False]]
    assert CALIBRATION.predicate_sets([[0.5, 0.5], [0.9, 0.1]]).tolist() == [[True, True], [True, False]]
    assert CALIBRATION.class_sets(logits, 0.9).tolist() == [[False, True]]


@pytest.mark.parametrize("coverage", [-0.1, 0.95, 1.5])
def test_a_coverage_that_was_not_fitted_is_refused(coverage):
    with pytest.raises(PredictionError, match="coverage is .*; choose one from 0 to 0.9"):
        LABELS.sets([[0.0, 0.0]], coverage)


def test_record_round_trip():
    assert (
        CALIBRATION.to_dict() != {}
        and Calibration.from_dict(json.loads(json.dumps(CALIBRATION.to_dict()))) == CALIBRATION
    )
    info = ModelInfo(calibration=CALIBRATION.to_dict())
    assert Calibration.of(ModelInfo.from_json(info.to_json())) == CALIBRATION
    assert Calibration.of(ModelInfo()) is None and Calibration.of(None) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"triplets": None}, "calibration: "),
        ({"triplets": {"scores": [0.1]}}, "lacks 'probabilities'"),
        ({"triplets": {"scores": [0.1, 0.2], "probabilities": [0.1]}}, "triplets.probabilities is no list as long"),
        ({"objects": {"scores": [], "probabilities": []}}, "objects.scores is no list as long .* or is empty"),
        ({"objects": {"scores": [0.2, 0.2], "probabilities": [0, 1]}}, "objects.scores do not ascend"),
        ({"objects": {"scores": [0, 1], "probabilities": [0.5, 0.4]}}, "objects.probabilities holds .* out of order"),
        ({"precision": {"scores": [0, 1], "probabilities": [0, float("nan")]}}, "holds numbers that are not finite"),
        ({"precision": {"scores": [0, 1], "probabilities": [0, 2]}}, "precision holds a number above 1"),
        ({"classes": {"temperature": 0, "coverages": [0.9], "thresholds": [0.1]}}, "classes.temperature is 0"),
        ({"object_score": "margin"}, "object_score is 'margin', not one of auto, softmax, sigmoid"),
        ({"num_images": "many"}, "calibration: .*egtr calibrate"),
    ],
)
def test_a_malformed_record_is_refused(change, message):
    with pytest.raises(WeightsError, match=message):
        Calibration.from_dict(RECORD | change)


numbers = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@given(numbers, numbers, numbers)
def test_a_curve_never_changes_the_order(scores, probabilities, asked):
    scores = sorted(set(scores))
    probabilities = sorted((probabilities * len(scores))[: len(scores)])
    mapped = Curve(tuple(scores), tuple(probabilities))(np.sort(np.array(asked, dtype=np.float32)))
    assert (np.diff(mapped) >= 0).all() and (mapped >= 0).all() and (mapped <= 1).all()


@given(st.lists(st.lists(st.floats(-500, 500), min_size=3, max_size=3), min_size=1, max_size=5))
def test_a_higher_coverage_gives_larger_sets(logits):
    small, large = (LABELS.sets(np.array(logits), coverage) for coverage in (0.5, 0.9))
    assert (large | ~small).all()
