"""Probabilities fitted to scores: hand-computed, properties, and what the shipped record promises."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egtr.evaluation import calibration_report
from egtr.evaluation.calibration import (
    conformal_thresholds,
    fit,
    fit_curve,
    fit_precision,
    fit_temperature,
    split_coverage,
)
from egtr.evaluation.displayed import Sample, sample_image
from egtr.evaluation.reliability import (
    Agreement,
    calibration_error,
    drawn_error,
    equal_mass,
    label_coverage,
)
from egtr.structures import (
    Calibration,
    ConfigurationError,
    GroundTruth,
    ModelInfo,
    Prediction,
    SceneGraph,
    all_pairs,
)
from egtr.structures.calibration import Curve


def test_error_by_hand():
    # Two bins of two: means 0.2 and 0.8, shares 0.5 and 1; (2 * 0.3 + 2 * 0.2) / 4.
    probabilities, right = np.array([0.9, 0.1, 0.7, 0.3]), np.array([True, False, True, True])
    assert calibration_error(probabilities, right, 2) == pytest.approx(0.25)
    # One bin: mean 0.5, share 0.75.
    assert calibration_error(probabilities, right, 1) == pytest.approx(0.25)
    assert np.isnan(calibration_error(probabilities[:0], right[:0]))


@given(st.lists(st.booleans(), min_size=1, max_size=50), st.integers(1, 12))
def test_error_of_certain_and_right_probabilities_is_0(right, bins):
    right = np.array(right)
    assert calibration_error(right.astype(float), right, bins) == 0
    assert drawn_error(right.astype(float), bins, draws=3) == 0
    assert calibration_error(np.zeros(len(right)), np.ones(len(right), dtype=bool), bins) == 1


def test_points_of_the_diagram_by_hand():
    probabilities = np.repeat(np.arange(1, 11) / 20, 2)
    right = np.tile([True, False], 10)
    right[-1] = True
    points = Agreement(probabilities, right, np.zeros(20, dtype=int)).bins()
    assert points == [(pytest.approx(i / 20), 1.0 if i == 10 else 0.5, 2) for i in range(1, 11)]


def test_drawn_error_by_hand():
    # One label of probability 0.5 is 0.5 away from either outcome, whatever is drawn.
    assert drawn_error(np.array([0.5]), draws=7) == 0.5


def test_drawn_error_shrinks_with_the_number_of_labels():
    small, large = (drawn_error(np.linspace(0, 1, number), draws=50) for number in (100, 10_000))
    assert small > 5 * large > 0


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=40), st.integers(1, 8))
def test_bins_keep_equal_scores_together(scores, bins):
    scores = np.array(scores)
    groups = list(equal_mass(scores, bins))
    assert sorted(np.concatenate([np.zeros(0, int), *groups]).tolist()) == list(range(len(scores)))
    assert len(groups) <= bins and all(len(group) for group in groups)
    for low, high in zip(groups, groups[1:], strict=False):
        assert scores[low].max() < scores[high].min()


def test_curve_by_hand():
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    right = np.array([False, True, True, False, True, True])
    # Bins of two: means 0.15, 0.35, 0.55; shares 0.5, 0.5, 1.
    curve = fit_curve(scores, right, bins=3)
    assert curve.scores == (0.0, 0.15, 0.35, 0.55)
    assert curve.probabilities == (0.0, 0.5, 0.5, 1.0)
    # Shares 1, 0, 1 violate the order: the first two are pooled to 0.5.
    pooled = fit_curve(scores, np.array([True, True, False, False, True, True]), bins=3)
    assert pooled.probabilities == (0.0, 0.5, 0.5, 1.0)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_a_fitted_curve_keeps_the_order(pairs):
    scores, right = (np.array(column) for column in zip(*pairs, strict=True))
    curve = fit_curve(scores.astype(np.float32), right)
    mapped = curve(np.sort(scores))
    assert (np.diff(mapped) >= 0).all() and 0 <= mapped.min() <= mapped.max() <= 1
    assert (np.diff(curve.scores) > 0).all()


def test_precision_by_hand():
    curve = Curve((0.0, 1.0), (0.0, 1.0))
    # Means of the tails: (0.2 + 0.4 + 0.9) / 3, (0.4 + 0.9) / 2, 0.9.
    precision = fit_precision(np.array([0.4, 0.9, 0.2], dtype=np.float32), curve)
    np.testing.assert_allclose(precision.scores, [0.2, 0.4, 0.9], atol=1e-6)
    np.testing.assert_allclose(precision.probabilities, [0.5, 0.65, 0.9], atol=1e-6)


def test_temperature_of_drawn_labels():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 4))
    probabilities = np.exp(logits / 1.7)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = (rng.random((4000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    assert fit_temperature(logits, labels) == pytest.approx(1.7, abs=0.12)


def test_conformal_thresholds_by_hand():
    scores = np.array([0.3, 0.1, 0.9, 0.5])
    # The ceil(5 q)-th smallest: q = 0.2 the first, 0.5 the third, 0.8 the fourth; 0.9 would need a fifth.
    assert conformal_thresholds(scores, (0.2, 0.5, 0.8, 0.9)).tolist() == [0.1, 0.5, 0.9, 2.0]


def make_image(seed, num_objects=12):
    """An image of one class pair: scores are known probabilities, labels are drawn from them."""
    rng = np.random.default_rng(seed)
    left = np.arange(num_objects) * 20.0
    boxes = np.stack([left, left * 0, left + 10, left * 0 + 10], axis=1)
    logits = rng.normal(0, 2, (num_objects, 3)).astype(np.float32)
    pairs = all_pairs(num_objects)
    relation = rng.random((len(pairs), 2)).astype(np.float32)
    prediction = Prediction(logits, boxes, pairs, np.ones(len(pairs)), relation, (10, 300))
    best = logits.argmax(axis=1)
    present = rng.random(num_objects) < 1 / (1 + np.exp(-logits.max(axis=1)))
    classes = np.where(present, best, (best + 1) % 3)
    triplets = [(i, j, relation[row].argmax()) for row, (i, j) in enumerate(pairs) if i != j and rng.random() < 0.5]
    return prediction, GroundTruth(boxes, classes, np.array(triplets).reshape(-1, 3), seed)


@pytest.fixture(scope="module")
def samples():
    return [sample_image(*make_image(seed)) for seed in range(40)]


def test_sample_by_hand():
    prediction = Prediction(
        logits=[[4.0, 0.0], [0.0, 4.0], [4.0, 0.0]],
        boxes=[[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]],
        pairs=[[0, 1], [1, 2], [0, 2]],
        connectivity=[1, 1, 1],
        relation=[[0.9, 0.5], [0.4, 0.8], [0.3, 0.2]],
        image_size=(10, 50),
    )
    # Object 2 is annotated with another class; the pair (0, 1) has two predicates, the predicted one is the second.
    truth = GroundTruth(prediction.boxes, [0, 1, 1], [[0, 1, 1], [0, 1, 0], [1, 2, 1]], 0)
    sample = sample_image(prediction, truth)
    assert sample.right.tolist() == [True, False, False]
    assert sample.found.tolist() == [True, True, False]
    assert sample.classes.tolist() == [0, 1, 1]
    np.testing.assert_allclose(1 / (1 + np.exp(-sample.predicate_logits)), [[0.9, 0.5]], rtol=1e-5)
    assert sample.predicates.tolist() == [1]


def test_a_sample_is_of_the_graph_that_people_see(samples):
    """Its scores are those of the configured object score, and the calibration says which that was."""
    prediction, truth = make_image(0)
    for kind in ("softmax", "sigmoid"):
        graph = SceneGraph.from_prediction(prediction, object_score=kind).for_display()
        assert sample_image(prediction, truth, kind).scores.tolist() == graph.triplet_scores.tolist()
    assert (
        sample_image(prediction, truth).scores.tolist() == sample_image(prediction, truth, "softmax").scores.tolist()
    )
    info = ModelInfo(calibration=fit(samples, "drawn", True, "sigmoid").to_dict())
    assert Calibration.of(info, "sigmoid") is not None
    assert Calibration.of(info) is None and Calibration.of(info, "softmax") is None


def test_an_image_without_annotations_has_nothing_right():
    prediction, _ = make_image(0)
    sample = sample_image(prediction, GroundTruth(np.zeros((0, 4)), [], np.zeros((0, 3)), 0))
    assert len(sample.scores) and not sample.right.any() and not sample.found.any()
    assert len(sample.classes) == len(sample.predicates) == 0


def test_a_fit_agrees_with_its_own_images(samples):
    fitted = fit(samples, "drawn", True)
    assert Calibration.from_dict(fitted.to_dict()) == fitted
    for agreement in (Agreement.of_triplets(samples, fitted), Agreement.of_objects(samples, fitted)):
        error, drawn = agreement.errors()
        assert error < 1.5 * drawn
    assert Agreement.of_triplets(samples, None).errors()[0] > 2 * Agreement.of_triplets(samples, fitted).errors()[0]
    covered = label_coverage(samples, fitted, 0.9)
    assert 0.9 <= covered["classes"] < 0.93 and 0.9 <= covered["predicates"] < 0.93


def test_rankings_are_the_same_with_probabilities(samples):
    fitted = fit(samples, "drawn", True)
    graph = SceneGraph.from_prediction(make_image(99)[0])
    shown = fitted.apply(graph)
    assert shown.least_probability == 0.3
    plain, shown = graph.for_display(), replace(shown, least_probability=None).for_display()
    for field in ("triplets", "triplet_scores", "scores", "presence", "query_index", "triplet_queries"):
        np.testing.assert_array_equal(getattr(shown, field), getattr(plain, field))
    assert (np.diff(shown.triplet_probabilities) <= 0).all()


def test_conformal_coverage_over_random_splits(samples):
    found = split_coverage(samples, 0.9, splits=20)
    for kind in ("classes", "predicates"):
        mean, deviation = found[kind]
        assert mean == pytest.approx(0.9, abs=0.02) and 0 < deviation < 0.05
        assert 0.8 < found[f"{kind}_size"][0] < 3
    assert split_coverage(samples, 0.9, splits=3) == split_coverage(samples, 0.9, splits=3)


def test_a_split_fits_to_one_half_and_measures_the_other(samples):
    order = np.random.default_rng(7).permutation(len(samples))
    fitted = fit([samples[i] for i in order[:20]], "drawn", True)
    measured = label_coverage([samples[i] for i in order[20:]], fitted, 0.8)
    assert split_coverage(samples, 0.8, splits=1, seed=7) == {name: (value, 0.0) for name, value in measured.items()}


def test_too_little_to_fit_is_refused(samples):
    with pytest.raises(ConfigurationError, match="calibration on empty: 0 images have 0 displayed triplets"):
        fit([], "empty", True)
    bare = [sample.without_labels() for sample in samples]
    with pytest.raises(ConfigurationError, match="no displayed object of 40 images is annotated"):
        fit(bare, "bare", True)


def test_report(samples, tmp_path):
    fitted = fit(samples[:20], "drawn", False)
    measured = calibration_report.measure(samples[20:], fitted, 50)
    relations = measured["relations"]
    low, high = relations["probability"]["ECE interval"]
    assert low < relations["probability"]["ECE"] < high and set(measured["coverage"]) >= {"classes", "predicates"}
    text = calibration_report.to_text(measured, exhaustive=False)
    assert "chances of being annotated, not of being true" in text
    assert "chances" not in calibration_report.to_text(measured, exhaustive=True)
    paths = calibration_report.write(tmp_path, "reliability", samples[20:], fitted, measured, False)
    assert [path.name for path in paths] == ["reliability.json", "reliability.png"]
    assert "chances" in paths[0].read_text() and paths[1].stat().st_size > 10_000


def test_report_without_calibration_and_of_nothing(samples, tmp_path):
    measured = calibration_report.measure([sample.without_labels() for sample in samples], None)
    assert "precision" not in measured and "coverage" not in measured and "probability" not in measured["objects"]
    empty = sample_image(*make_image(0))
    nothing = Sample(*(field[:0] for field in empty))
    calibration_report.write(tmp_path, "none", [nothing], None, calibration_report.measure([nothing], None, 10), True)
