"""The results of SceneGraphEvaluator: log, reports, scalars and saved predictions."""

import json
import logging

import numpy as np
import pytest
from detectron2.evaluation import print_csv_format
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils.events import EventStorage, JSONWriter, TensorboardXWriter
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from egtr.evaluation import PROTOCOLS, SceneGraphEvaluator, Scorer, read_meta, read_predictions
from egtr.evaluation.report import to_percent
from egtr.structures import EGTRError, GroundTruth, TripletCounts
from tests.evaluation.evaluator_scenes import (
    CLASS_TRIPLETS,
    NUM_CLASSES,
    NUM_PREDICATES,
    PREDICATES,
    model_output,
    random_scene,
    registered,
    run,
    without_nan,
)


@pytest.fixture
def dataset():
    with registered("evaluator_test_dataset") as name_and_scenes:
        yield name_and_scenes


def test_results_in_log_and_files(dataset, tmp_path, caplog):
    name, scenes = dataset
    training = TripletCounts.from_class_triplets([(0, 0, 2), (0, 0, 2), (0, 1, 0)], NUM_CLASSES, NUM_PREDICATES)
    evaluator = SceneGraphEvaluator(
        name,
        protocols=["reference", "strict"],
        top_k=(3,),
        training=training,
        bootstrap=20,
        output_dir=str(tmp_path / "new"),
    )
    with caplog.at_level(logging.INFO):
        results = run(evaluator, scenes)
        print_csv_format(results)
    stem = f"scene_graph_{name}"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        f"{stem}.csv",
        f"{stem}.json",
        f"{stem}_predicates.csv",
        f"{stem}_predicates.png",
    ]
    report = json.loads((tmp_path / "new" / f"{stem}.json").read_text(), parse_constant=pytest.fail)
    assert report["num_images"] == 8 and report["top_k"] == [3] and report["dataset"] == name
    assert list(report["protocols"]) == ["reference", "strict"]
    reference = report["protocols"]["reference"]
    assert reference["conventions"]["name"] == "reference" and reference["conventions"]["iou_plus_one"] is True
    # How object AP was computed stands beside the protocols, which concern only scene graphs.
    assert report["object_ap"] == {"detections": "instances", "plus_one": False, "first_id": 1}
    for task, protocol in (("sgdet", "reference"), ("sgdet_strict", "strict")):
        metrics = report["protocols"][protocol]["metrics"]
        assert without_nan(results[task]).items() <= metrics.items()
        assert results["bbox"].items() <= metrics.items()
        low, high = metrics["intervals"]["R@3"]
        assert low <= metrics["R@3"] <= high and low < high
    assert {f"oi/{m}": v for m, v in without_nan(results["open_images"]).items()}.items() <= reference[
        "metrics"
    ].items()
    rows = reference["per_predicate"]
    # 8 images with one 0 ("on") and one 1 ("under") each, and seed % 3 on top: 3 x 0, 3 x 1, 2 x 2. In training
    # "near" is the most frequent one and "under" does not occur.
    assert [(row["predicate"], row["training_triplets"], row["triplets"], row["images"]) for row in rows] == [
        ("near", 2, 2, 2),
        ("on", 1, 11, 8),
        ("under", 0, 11, 8),
    ]
    assert np.mean([row["R@3"] for row in rows]) == pytest.approx(results["sgdet"]["mR@3"])
    # One table with both protocols, one of the predicates.
    assert "| percent" in caplog.text and "| reference" in caplog.text and "| strict" in caplog.text
    assert caplog.text.count("| near") == 1 and "8 images" in caplog.text
    # Detectron2 leaves names with a hyphen out of these lines.
    assert "copypaste: R@3,mR@3" in caplog.text


def test_names_of_metrics_reach_metrics_json_and_tensorboard(dataset, tmp_path):
    name, scenes = dataset
    results = run(SceneGraphEvaluator(name, protocols=["reference", "strict"], top_k=(3,)), scenes)
    with EventStorage() as storage:
        # As Detectron2's hook for evaluation does.
        storage.put_scalars(**flatten_results_dict(results), smoothing_hint=False)
        writers = JSONWriter(str(tmp_path / "metrics.json")), TensorboardXWriter(str(tmp_path / "events"))
        for writer in writers:
            writer.write()
            writer.close()
    line = json.loads((tmp_path / "metrics.json").read_text())
    for metric in ("sgdet/R@3", "sgdet/ng-mR@3", "sgdet_strict/R@3", "open_images/score", "bbox/AP50"):
        task, _, key = metric.partition("/")
        assert line[metric] == results[task][key]
    accumulator = EventAccumulator(str(tmp_path / "events")).Reload()
    assert {"sgdet/R@3", "sgdet_strict/R@3", "open_images/score"} <= set(accumulator.Tags()["scalars"])
    # How TEST.BEST_METRIC is looked up.
    assert storage.latest()["sgdet_strict/R@3"][0] == results["sgdet_strict"]["R@3"]


def test_a_predicate_that_does_not_occur_is_null_in_the_file(tmp_path):
    record, prediction = random_scene(0)
    record["relations"] = [[0, 1, 0]]
    evaluator = SceneGraphEvaluator(
        ground_truth={100: GroundTruth.from_dict(record)}, top_k=(3,), output_dir=str(tmp_path)
    )
    run(evaluator, [(record, prediction)])
    # Nothing is known of training, so there is nothing to plot against.
    assert not (tmp_path / "scene_graph_predicates.png").exists()
    report = json.loads((tmp_path / "scene_graph.json").read_text())
    rows = report["protocols"]["reference"]["per_predicate"]
    assert [row["predicate"] for row in rows] == ["predicate 0", "predicate 1", "predicate 2"]
    assert rows[0]["R@3"] is not None and rows[1]["R@3"] is None


def test_saved_predictions_score_as_the_evaluator_did(dataset, tmp_path):
    name, scenes = dataset
    training = TripletCounts.from_class_triplets(CLASS_TRIPLETS[2:], NUM_CLASSES, NUM_PREDICATES)
    protocols = list(PROTOCOLS)
    options = {"protocols": protocols, "top_k": (3, 10), "training": training}
    evaluator = SceneGraphEvaluator(name, output_dir=str(tmp_path), save_predictions=True, **options)
    # Twice: the second evaluation takes the place of the first.
    for part in (scenes[:2], scenes):
        evaluator.reset()
        run(evaluator, part)
    folder = tmp_path / f"predictions_{name}"
    meta = read_meta(folder)
    assert meta.predicate_names == PREDICATES and meta.max_rank == 100
    assert (meta.training.triplets == training.triplets).all()
    records = list(read_predictions(folder))
    assert [image_id for image_id, _, _ in records] == [record["image_id"] for record, _ in scenes]
    scorer = Scorer(protocols, (3, 10), meta.training)
    summary = scorer.summarize([scorer.score(prediction, truth) for _, prediction, truth in records])
    report = json.loads((tmp_path / f"scene_graph_{name}.json").read_text())
    for protocol in protocols:
        metrics = without_nan(to_percent(summary[protocol]))
        assert metrics == pytest.approx(report["protocols"][protocol]["metrics"], abs=1e-9, nan_ok=True)


def test_an_interrupted_evaluation_keeps_the_predictions_that_it_has(dataset, tmp_path):
    name, scenes = dataset
    evaluator = SceneGraphEvaluator(name, output_dir=str(tmp_path), save_predictions=True)
    for record, prediction in scenes[:3]:
        evaluator.process([record], [model_output(prediction)])
    # As at the end of the interpreter.
    del evaluator
    with pytest.raises(EGTRError, match="did not write all"):
        read_predictions(tmp_path / f"predictions_{name}")
    assert len(list(read_predictions(tmp_path / f"predictions_{name}", partial=True))) == 3
