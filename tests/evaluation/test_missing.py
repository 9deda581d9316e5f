"""Images that could not be read must not raise any metric."""

import numpy as np
import pytest
from detectron2.utils import comm

from egtr.evaluation import SceneGraphEvaluator, evaluate, read_predictions
from egtr.evaluation.missing import nothing_found
from egtr.structures import EGTRError
from tests.evaluation.evaluator_scenes import NUM_CLASSES, NUM_PREDICATES, registered, run, truths_of, without_nan

BROKEN = (2, 5)


@pytest.fixture
def dataset():
    with registered("evaluation_with_broken_images") as name_and_scenes:
        yield name_and_scenes


def test_broken_images_are_images_in_which_nothing_was_found(dataset, tmp_path, caplog):
    name, scenes = dataset
    readable = [scene for k, scene in enumerate(scenes) if k not in BROKEN]
    options = {"top_k": (3, 10), "protocols": ("reference", "strict")}
    evaluator = SceneGraphEvaluator(
        name, count_missing=True, output_dir=str(tmp_path), save_predictions=True, **options
    )
    results = run(evaluator, readable)
    assert f"2 of 8 images of {name} are broken" in caplog.text

    # Recall is a mean over images: six of eight contribute. Left out, the two would raise it to that of the six.
    six = run(SceneGraphEvaluator(name, **options), readable)
    for task in ("sgdet", "sgdet_strict"):
        for metric in ("R@3", "R@10", "ng-R@10", "phr-R@10"):
            assert results[task][metric] == pytest.approx(six[task][metric] * 6 / 8) and results[task][metric] > 0
    assert results["bbox"]["AP"] < six["bbox"]["AP"]

    nothing = nothing_found((NUM_CLASSES, NUM_PREDICATES))[1]
    predictions = [nothing if k in BROKEN else scene[1] for k, scene in enumerate(scenes)]
    expected = evaluate(predictions, truths_of(scenes), top_k=(3, 10))
    for metric, value in results["sgdet"].items():
        assert value == pytest.approx(100 * expected[metric], nan_ok=True), metric
    # Saved predictions score the same.
    saved = {image_id: prediction for image_id, prediction, _ in read_predictions(tmp_path / f"predictions_{name}")}
    assert sorted(saved) == [record["image_id"] for record, _ in scenes]
    assert [len(saved[scenes[k][0]["image_id"]].logits) for k in BROKEN] == [0, 0]


def test_of_a_detector_alone(dataset):
    name, scenes = dataset
    results = run(SceneGraphEvaluator(name, count_missing=True), scenes[:4], relations=False)
    four = run(SceneGraphEvaluator(name), scenes[:4], relations=False)
    assert list(results) == ["bbox"] and 0 < results["bbox"]["AP"] < four["bbox"]["AP"]


def test_nothing_changes_where_nothing_is_broken(dataset, caplog):
    name, scenes = dataset
    results = run(SceneGraphEvaluator(name, count_missing=True), scenes)
    assert without_nan(results) == without_nan(run(SceneGraphEvaluator(name), scenes))
    assert "broken" not in caplog.text


def test_all_images_broken(dataset):
    with pytest.raises(EGTRError, match="8 of 8 images.*are broken, so there is nothing to evaluate"):
        SceneGraphEvaluator(dataset[0], count_missing=True).evaluate()


def test_what_another_process_has_seen_is_not_missing(dataset, monkeypatch, caplog):
    name, scenes = dataset
    other = {record["image_id"] for record, _ in scenes[6:]}
    monkeypatch.setattr(comm, "all_gather", lambda mine: [mine, (other, (NUM_CLASSES, NUM_PREDICATES))])
    run(SceneGraphEvaluator(name, count_missing=True), scenes[:5])
    assert f"1 of 8 images of {name} are broken" in caplog.text


def test_ground_truth_without_names_of_classes(dataset):
    # Only the predictions tell the number of classes.
    _, scenes = dataset
    truths = {record["image_id"]: truth for (record, _), truth in zip(scenes, truths_of(scenes), strict=True)}
    results = run(SceneGraphEvaluator(ground_truth=truths, top_k=(10,), count_missing=True), scenes[:4])
    four = run(SceneGraphEvaluator(ground_truth=truths, top_k=(10,)), scenes[:4])
    assert results["sgdet"]["R@10"] == pytest.approx(four["sgdet"]["R@10"] / 2) and results["sgdet"]["R@10"] > 0


def test_nothing_is_empty_and_of_the_models_types():
    detections, prediction = nothing_found((NUM_CLASSES, NUM_PREDICATES))
    assert [len(part) for part in detections] == [0, 0, 0] and detections.boxes.dtype == np.float32
    assert prediction.num_queries == 0 and prediction.relation.shape == (0, NUM_PREDICATES)
