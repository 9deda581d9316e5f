"""The tasks whose objects are given: PredCls and SGCls of a model that Detectron2's loop runs."""

import json

import numpy as np
import pytest
from detectron2.structures import BoxMode

from egtr.data.mapper import given_objects
from egtr.evaluation import PROTOCOLS, SceneGraphEvaluator, evaluate, read_meta, read_predictions, score_predictions
from egtr.structures import EGTRError, GroundTruth, Prediction, SceneGraph, all_pairs
from tests.evaluation.evaluator_scenes import NUM_CLASSES, model_output, random_scene, without_nan


def scene(image_id, classes, relations):
    """A dataset dict whose objects lie beside each other, 20 pixels wide."""
    annotations = [
        {"bbox": [30 * k, 10, 30 * k + 20, 30], "bbox_mode": BoxMode.XYXY_ABS, "category_id": label}
        for k, label in enumerate(classes)
    ]
    size = {"height": 40, "width": 200}
    return {"image_id": image_id, "annotations": annotations, "relations": relations} | size


# Pairs of two objects, objects without relations, one object, and none.
SCENES = [
    scene(1, [0, 1], [[0, 1, 2]]),
    scene(2, [2, 2, 3], [[0, 1, 0], [2, 0, 1]]),
    scene(3, [1], []),
    scene(4, [], []),
]


class Model:
    """A model of given boxes. Its label of an unknown object is class 0; relation 2 joins each pair, then 0 and 1."""

    def __call__(self, record):
        given = record["given"]
        classes = given.pred_classes.numpy().copy()
        known = classes >= 0
        classes[~known] = 0
        number = len(classes)
        logits = np.full((number, NUM_CLASSES), -2.0)
        logits[np.arange(number), classes] = 2.0
        relation = np.tile([0.3, 0.2, 0.9], (number**2, 1))
        labels = (classes, np.ones(number)) if known.any() else (None, None)
        boxes = given.pred_boxes.tensor.numpy()
        prediction = Prediction(
            logits, boxes, all_pairs(number), np.ones(number**2), relation, given.image_size, None, *labels
        )
        # The objects that the detector finds by itself have nothing to do with the task.
        return {"scene_graph": SceneGraph.from_prediction(prediction)} | {
            "instances": model_output(random_scene(0)[1], relations=False)["instances"]
        }


def evaluator(task, scenes=SCENES, **options):
    truths = {record["image_id"]: GroundTruth.from_dict(record) for record in scenes}
    return SceneGraphEvaluator(ground_truth=truths, task=task, distributed=False, **options)


def run(task, scenes=SCENES, **options):
    made = evaluator(task, **options)
    for record in scenes:
        given = {"given": given_objects(record, with_classes=task == "predcls")}
        made.process([record], [Model()(record | given)])
    return made.evaluate()


def test_predcls_by_hand():
    results = run("predcls", top_k=(1, 2, 20), protocols=("reference", "motifs"))
    assert list(results) == ["predcls", "predcls_motifs", "predcls_open_images"]
    metrics = results["predcls"]
    # Relation 2 is best on every pair: right in image 1 on (0, 1), which equal scores rank first, and nowhere in 2.
    assert metrics["R@1"] == metrics["R@20"] == pytest.approx(50)
    # One of three triplets; without graph constraint also (0, 0, 1) and (2, 1, 0).
    assert metrics["A@20"] == pytest.approx(100 / 3) and metrics["ng-A@20"] == pytest.approx(100)
    assert metrics["ng-R@20"] == pytest.approx(100)
    # Given objects have the score 1, so that the first triplet has that of its relation.
    assert not any(name.startswith(("AP", "bbox")) for block in results.values() for name in block)


def test_sgcls_asks_for_the_class_too():
    results = run("sgcls", top_k=(20,))
    # Class 0 is right only for the first object of image 1, whose pair with class 1 stays unfound.
    assert list(results) == ["sgcls", "sgcls_open_images"]
    assert results["sgcls"]["R@20"] == results["sgcls"]["A@20"] == 0
    labels = [scene(1, [0, 0], [[0, 1, 2], [1, 0, 1]])]
    found = evaluator("sgcls", labels, top_k=(20,))
    found.process(labels, [Model()(labels[0] | {"given": given_objects(labels[0], with_classes=False)})])
    assert found.evaluate()["sgcls"]["A@20"] == pytest.approx(50)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("task", ["predcls", "sgcls"])
def test_every_protocol_scores_as_evaluate_does_and_as_the_saved_file(task, protocol, tmp_path):
    # Two objects of one class overlap by more than a half, but each of them is given.
    near = scene(5, [1, 1, 0], [[0, 1, 2], [1, 2, 2]])
    near["annotations"][1]["bbox"] = [3, 10, 23, 30]
    scenes = [*SCENES, near]
    options = {"top_k": (2, 20), "protocols": protocol}
    made = evaluator(task, scenes, output_dir=str(tmp_path), save_predictions=True, **options)
    predictions = []
    for record in scenes:
        output = Model()(record | {"given": given_objects(record, with_classes=task == "predcls")})
        predictions.append(output["scene_graph"].prediction)
        made.process([record], [output])
    results = made.evaluate()[task]
    expected = evaluate(predictions, map(GroundTruth.from_dict, scenes), protocol, (2, 20), task=task)
    assert {"R@20", "mR@20", "ng-R@20", "A@20", "ng-A@20"} <= set(results)
    for metric, value in results.items():
        assert value == pytest.approx(100 * expected[metric], nan_ok=True), metric
    assert results["R@20"] > 0 or task == "sgcls"

    meta = read_meta(tmp_path / f"predictions_{task}")
    assert meta.task == task and meta.max_rank is None
    saved = score_predictions(tmp_path / f"predictions_{task}", [protocol], (2, 20))[protocol]
    report = json.loads((tmp_path / f"scene_graph_{task}.json").read_text())
    assert report["task"] == task
    metrics = report["protocols"][protocol]["metrics"]
    for metric in ("R@2", "R@20", "mR@20", "ng-R@20", "A@20"):
        assert metrics[metric] == pytest.approx(100 * saved[metric], nan_ok=True), metric
    assert ("AP" in metrics) == (task == "sgcls")


def test_one_prediction_for_each_object_leaves_no_given_object_out():
    near = [scene(1, [1, 1, 0], [[1, 2, 2]])]
    near[0]["annotations"][1]["bbox"] = [3, 10, 23, 30]
    found = {}
    for protocol in ("reference", "single"):
        made = evaluator("predcls", near, top_k=(20,), protocols=protocol)
        made.process(near, [Model()(near[0] | {"given": given_objects(near[0], with_classes=True)})])
        found[protocol] = without_nan(made.evaluate())["predcls"]
    assert found["single"] == found["reference"] and found["single"]["R@20"] == pytest.approx(100)


def test_images_without_any_object_have_no_influence():
    assert without_nan(run("predcls", top_k=(2,))) == without_nan(run("predcls", SCENES[:2], top_k=(2,)))
    empty = run("predcls", SCENES[2:], top_k=(2,))
    assert np.isnan(empty["predcls"]["R@2"]) and np.isnan(empty["predcls"]["A@2"])


@pytest.mark.parametrize("task", ["predcls", "sgcls"])
def test_broken_images_find_nothing(task, tmp_path):
    # Images 2 and 4 cannot be read.
    results = run(
        task, [SCENES[0], SCENES[2]], top_k=(20,), count_missing=True, output_dir=str(tmp_path), save_predictions=True
    )
    half = {"predcls": 50, "sgcls": 0}[task]
    assert results[task]["R@20"] == pytest.approx(half)
    assert results[task]["A@20"] == pytest.approx({"predcls": 100 / 3, "sgcls": 0}[task])
    saved = {image_id: prediction for image_id, prediction, _ in read_predictions(tmp_path / f"predictions_{task}")}
    assert {image_id: record.num_queries for image_id, record in saved.items()} == {1: 2, 2: 3, 3: 1, 4: 0}
    report = json.loads((tmp_path / f"scene_graph_{task}.json").read_text())["protocols"]["reference"]["metrics"]
    # Of image 1 PredCls knows both objects, SGCls one of them; of image 2 nothing is found, though boxes were given.
    assert report["InstR"] == pytest.approx({"predcls": 50, "sgcls": 25}[task])


def test_what_is_not_the_given_objects_is_refused():
    made = evaluator("predcls")
    record = SCENES[0]
    with pytest.raises(EGTRError, match="image 1: task 'predcls' needs one query for each of the 2 annotated"):
        made.process([record], [Model()(record | {"given": given_objects(SCENES[1], with_classes=True)})])
    with pytest.raises(EGTRError, match="image 1: task 'predcls' scores scene graphs, but the model returns none"):
        made.process([record], [model_output(random_scene(0)[1], relations=False)])
    with pytest.raises(EGTRError, match="task 'phrdet' is unknown, choose one of sgdet, sgcls, predcls"):
        evaluator("phrdet")
