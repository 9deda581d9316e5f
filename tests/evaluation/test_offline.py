"""Scoring of prediction files: the same as scoring the records, and what is refused."""

import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from egtr.evaluation import (
    PROTOCOLS,
    Annotations,
    PredictionMeta,
    PredictionWriter,
    Scorer,
    evaluate,
    score_predictions,
)
from egtr.evaluation.comparison import comparison, convention_rows, denominator_rows
from egtr.structures import EGTRError, GroundTruth, TripletCounts
from tests.evaluation.predictions import random_record

IMAGE_IDS = ["b", 7, "a", 12, 3, 10]
TRAINING = TripletCounts([[0, 1, 0], [1, 1, 2], [2, 0, 3]], [9, 4, 1], num_classes=3, num_predicates=4)
CLASSES, PREDICATES = ("person", "dog", "tree"), ("on", "near", "holds", "under")


def record(image_id):
    # rounded scores, so that the order of images decides between equal ones
    return random_record(IMAGE_IDS.index(image_id), num_queries=14, image_id=image_id, digits=1)


def write(path, image_ids=IMAGE_IDS, with_truth=True, **meta):
    with PredictionWriter(path, PredictionMeta(**meta), records_per_part=4) as writer:
        for image_id in image_ids:
            prediction, truth = record(image_id)
            writer.write(image_id, prediction, truth if with_truth else None)
    return path


def annotations_of(image_ids, classes=CLASSES, predicates=PREDICATES):
    return Annotations("my_set", {i: record(i)[1] for i in image_ids}, classes, predicates)


def assert_same_metrics(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if name == "per_predicate":
            for key, recall in value.recall.items():
                np.testing.assert_array_equal(found[name].recall[key], recall)
        else:
            np.testing.assert_equal(found[name], value, err_msg=name)


def test_a_file_scores_as_its_records_do(tmp_path):
    write(tmp_path / "p", class_names=CLASSES, predicate_names=PREDICATES, training=TRAINING)
    found = score_predictions(tmp_path / "p", list(PROTOCOLS), (5, 50), bootstrap=50)
    # numbers first, then names
    records = [record(image_id) for image_id in (3, 7, 10, 12, "a", "b")]
    for protocol in PROTOCOLS:
        wanted = evaluate(*zip(*records, strict=True), protocol, (5, 50), training=TRAINING, bootstrap=50)
        # The file leaves out pairs; PRank and protocols that leave out queries need all.
        wanted.pop("PRank", None)
        if PROTOCOLS[protocol].single_instance:
            continue
        assert_same_metrics(found[protocol], wanted)
    assert found["reference"]["R@50"] > 0 and "zR@50" in found["reference"]


def test_the_order_of_writing_changes_nothing(tmp_path):
    write(tmp_path / "p.npz")
    write(tmp_path / "q.npz", IMAGE_IDS[::-1])
    wanted = score_predictions(tmp_path / "p.npz", bootstrap=50)["reference"]
    assert_same_metrics(score_predictions(tmp_path / "q.npz", bootstrap=50)["reference"], wanted)


def test_ground_truth_of_a_data_set_and_of_its_file(tiny_dataset, tmp_path):
    dicts = DatasetCatalog.get(tiny_dataset.val)
    with PredictionWriter(tmp_path / "p", PredictionMeta(class_names=tiny_dataset.thing_classes)) as writer:
        for k, found in enumerate(dicts):
            writer.write(found["image_id"], random_record(k, num_classes=5)[0], GroundTruth.from_dict(found))
    wanted = score_predictions(tmp_path / "p")["reference"]
    assert wanted["num_triplets"] > 0
    by_name = Annotations.of_dataset(tiny_dataset.val)
    by_file = Annotations.of_file("egtr", str(tiny_dataset.root / "val.json"))
    for annotations in (by_name, by_file):
        assert annotations.class_names == tiny_dataset.thing_classes
        assert_same_metrics(score_predictions(tmp_path / "p", annotations=annotations)["reference"], wanted)


def test_accuracy_of_predcls_records(tmp_path):
    """Only annotated pairs are ranked: 1 of the 2 has its predicate first."""
    prediction, truth = random_record(0, num_queries=4)
    truth = GroundTruth(prediction.boxes, prediction.object_scores()[1], [[0, 1, 2], [2, 3, 1]])
    prediction.connectivity[:] = 0.5
    # pairs (0, 1) and (2, 3) are rows 1 and 11
    prediction.relation[[1, 11]] = [0.1, 0.2, 0.9, 0.3]
    with PredictionWriter(tmp_path / "p", PredictionMeta(task="predcls")) as writer:
        writer.write(1, prediction, truth)
    assert score_predictions(tmp_path / "p")["reference"]["A@20"] == 0.5


def test_what_is_missing_is_counted_and_named(tmp_path):
    path = write(tmp_path / "p", with_truth=False)
    with pytest.raises(EGTRError, match=r"p: no ground truth in the file for 6 images: 'b', 7, 'a', 12, 3, \.\.\."):
        score_predictions(path)
    with pytest.raises(EGTRError, match="p: no ground truth in my_set for 2 images: 7, 3$"):
        score_predictions(path, annotations=annotations_of(["a", "b", 10, 12]))


def test_images_without_a_prediction_need_partial(tmp_path):
    path = write(tmp_path / "p", IMAGE_IDS[:4])
    annotations = annotations_of(IMAGE_IDS)
    with pytest.raises(EGTRError, match=r"p: no prediction \(--partial scores the others\) for 2 images: 3, 10"):
        score_predictions(path, annotations=annotations)
    found = score_predictions(path, annotations=annotations, partial=True)["reference"]
    assert_same_metrics(found, evaluate(*zip(*map(record, IMAGE_IDS[:4]), strict=True)))


def test_what_does_not_go_together(tmp_path):
    path = write(tmp_path / "p", class_names=CLASSES, predicate_names=PREDICATES, max_rank=20)
    with pytest.raises(EGTRError, match=r"p: holds what is needed up to K = 20 \(max_rank\), but top_k asks for 50"):
        score_predictions(path, top_k=(20, 50))
    assert "R@20" in score_predictions(path, top_k=(10, 20))["reference"]
    swapped = annotations_of(IMAGE_IDS, classes=("person", "tree", "dog"))
    with pytest.raises(EGTRError, match="p: class_names 1 is 'dog', but 'tree' in my_set"):
        score_predictions(path, top_k=(20,), annotations=swapped)
    fewer = annotations_of(IMAGE_IDS, predicates=PREDICATES[:3])
    with pytest.raises(EGTRError, match="p: predicate_names has 4 names, my_set has 3"):
        score_predictions(path, top_k=(20,), annotations=fewer)


def test_what_the_scorer_refuses_is_named_with_the_file(tmp_path):
    with PredictionWriter(tmp_path / "p", PredictionMeta(task="predcls")) as writer:
        writer.write(5, *random_record(0, image_id=5))
    with pytest.raises(EGTRError, match="p: image 5: task 'predcls' needs one query for each of the 4 annotated"):
        score_predictions(tmp_path / "p")


def test_another_data_set_is_noticed_where_the_file_names_nothing(tmp_path):
    path = write(tmp_path / "p")
    for names, message in (
        ({"predicates": PREDICATES[:3]}, "image 'b': relation has 4 columns, but my_set has 3"),
        ({"classes": [*CLASSES, "cat"]}, "image 'b': logits has 3 columns, but my_set has 4"),
    ):
        with pytest.raises(EGTRError, match=f"{path}: {message}"):
            score_predictions(path, annotations=annotations_of(IMAGE_IDS, **names))


def test_conventions_that_differ_and_denominators():
    rows = convention_rows(["reference", "strict"])
    assert {"convention": "object_score", "reference": "softmax", "strict": "sigmoid"} in rows
    assert {"convention": "iou_plus_one", "reference": "yes", "strict": "no"} in rows
    # They agree on this one.
    assert "iou_threshold" not in {row["convention"] for row in rows}
    assert convention_rows(["reference"]) == []

    # One image with a triplet annotated twice: counted once, or twice under "motifs".
    prediction, truth = random_record(0)
    truth = GroundTruth(truth.boxes, truth.classes, [[0, 1, 2], [0, 1, 2]])
    scorer = Scorer(["reference", "motifs"])
    results = scorer.summarize([scorer.score(prediction, truth)])
    assert {"counted": "triplets", "reference": "1", "motifs": "2"} in denominator_rows(results)
    text = comparison(results, ["reference", "motifs"])
    assert "| deduplicate_ground_truth " in text and "| images with triplets " in text
