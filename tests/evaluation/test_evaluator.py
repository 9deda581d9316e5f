"""SceneGraphEvaluator inside Detectron2's loop."""

import copy
import json
import logging
import math
from collections import OrderedDict
from dataclasses import replace

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from egtr.config.defaults import get_egtr_cfg
from egtr.data import register_egtr_json
from egtr.evaluation import SceneGraphEvaluator, evaluate, get_protocol, read_meta
from egtr.structures import EGTRError, GroundTruth, TripletCounts
from tests.evaluation.evaluator_scenes import (
    CLASS_TRIPLETS,
    NUM_CLASSES,
    NUM_PREDICATES,
    model_output,
    random_scene,
    registered,
    run,
    truths_of,
    without_nan,
)


@pytest.fixture
def dataset():
    with registered("evaluator_test_dataset") as name_and_scenes:
        yield name_and_scenes


def test_results_are_those_of_evaluate_in_percent(dataset):
    name, scenes = dataset
    # Two of the triplets that occur are unseen in training.
    training = TripletCounts.from_class_triplets(
        [*CLASS_TRIPLETS[2:], CLASS_TRIPLETS[-1]], NUM_CLASSES, NUM_PREDICATES
    )
    results = run(SceneGraphEvaluator(name, top_k=(3, 10), training=training), scenes)
    expected = evaluate([p for _, p in scenes], truths_of(scenes), top_k=(3, 10), training=training)
    assert isinstance(results, OrderedDict)
    assert list(results) == ["sgdet", "open_images", "bbox"]
    kinds = ("R", "mR", "zR", "F1", "phr-R", "head-mR", "body-mR", "tail-mR")
    names = [f"{prefix}{kind}@{k}" for prefix in ("", "ng-") for kind in kinds for k in (3, 10)]
    assert set(results["sgdet"]) == set(names)
    for metric in names:
        assert results["sgdet"][metric] == pytest.approx(100 * expected[metric])
    assert 0 < results["sgdet"]["R@3"] < results["sgdet"]["R@10"] <= 100
    assert math.isfinite(results["sgdet"]["zR@10"])
    block = {m.removeprefix("oi/"): 100 * v for m, v in expected.items() if m.startswith("oi/")}
    assert {"microR@50", "R@50", "wmAP_rel", "wmAP_phr", "score", "AP"} <= set(block)
    assert results["open_images"] == pytest.approx(block, nan_ok=True)
    assert list(results["bbox"]) == ["AP", "AP50", "AP75"]
    # The model's instances are the best (query, class) by sigmoid score: what evaluate takes.
    for metric in ("AP", "AP50", "AP75"):
        assert results["bbox"][metric] == pytest.approx(100 * expected[metric], abs=1e-4)
    assert 0 < results["bbox"]["AP"] < results["bbox"]["AP50"] <= 100


def test_several_protocols_at_once_are_each_what_it_is_alone(dataset):
    name, scenes = dataset
    own = replace(get_protocol("strict"), name="own", iou_threshold=0.9)
    results = run(SceneGraphEvaluator(name, protocols=["motifs", "reference", own], top_k=(3,)), scenes)
    assert list(results) == ["sgdet", "sgdet_reference", "sgdet_own", "open_images", "bbox"]
    tasks = {"motifs": "sgdet", "reference": "sgdet_reference", own: "sgdet_own"}
    for protocol, task in tasks.items():
        alone = run(SceneGraphEvaluator(name, protocols=protocol, top_k=(3,)), scenes)
        assert results[task] == alone["sgdet"]
        assert results["bbox"] == alone["bbox"]
    # The block is that of the first.
    first = run(SceneGraphEvaluator(name, protocols="motifs", top_k=(3,)), scenes)
    assert without_nan(results["open_images"]) == without_nan(first["open_images"])
    # A stricter overlap costs recall, so that the tasks were not all scored alike.
    assert results["sgdet_own"]["R@3"] < results["sgdet_reference"]["R@3"]


@pytest.mark.parametrize("crowds", [0, 1])
def test_object_ap_is_that_of_detectron2(dataset, tmp_path, crowds):
    from detectron2.evaluation import COCOEvaluator

    name, scenes = dataset
    # The last object of each image becomes a crowd.
    scenes = copy.deepcopy(scenes)
    for record, _ in scenes:
        record["annotations"][3]["iscrowd"] = crowds
    annotations = [
        {
            "id": 4 * i + j + 1,
            "image_id": record["image_id"],
            "category_id": annotation["category_id"],
            "bbox": BoxMode.convert(annotation["bbox"], BoxMode.XYXY_ABS, BoxMode.XYWH_ABS),
            "area": 500.0,
            "iscrowd": annotation.get("iscrowd", 0),
        }
        for i, (record, _) in enumerate(scenes)
        for j, annotation in enumerate(record["annotations"])
    ]
    path = tmp_path / "coco.json"
    path.write_text(
        json.dumps(
            {
                "info": {},
                "images": [{"id": r["image_id"], "height": 80, "width": 80} for r, _ in scenes],
                "categories": [{"id": c, "name": "abcd"[c]} for c in range(NUM_CLASSES)],
                "annotations": annotations,
            }
        )
    )
    coco_name = name + "_coco"
    MetadataCatalog.get(coco_name).set(
        json_file=str(path),
        thing_classes=list("abcd"),
        thing_dataset_id_to_contiguous_id={c: c for c in range(NUM_CLASSES)},
    )
    coco = COCOEvaluator(coco_name, tasks=("bbox",), distributed=False, use_fast_impl=False)
    coco.reset()
    expected = run(coco, scenes, relations=False)["bbox"]
    MetadataCatalog.remove(coco_name)
    truths = {record["image_id"]: GroundTruth.from_dict(record) for record, _ in scenes}
    results = run(SceneGraphEvaluator(ground_truth=truths), scenes)["bbox"]
    registered = run(SceneGraphEvaluator(name), scenes)["bbox"]
    assert (results == registered) == (crowds == 0)
    for metric in ("AP", "AP50", "AP75"):
        assert results[metric] == pytest.approx(expected[metric], abs=1e-6)


def test_without_relation_head_objects_alone_are_scored(dataset, tmp_path, caplog):
    name, scenes = dataset
    evaluator = SceneGraphEvaluator(name, output_dir=str(tmp_path), save_predictions=True)
    with caplog.at_level(logging.INFO):
        results = run(evaluator, scenes, relations=False)
    assert list(results) == ["bbox"]
    report = json.loads((tmp_path / f"scene_graph_{name}.json").read_text())
    assert report["protocols"] == {
        "objects": {"conventions": None, "metrics": results["bbox"], "per_predicate": []},
    }
    assert results["bbox"] == run(SceneGraphEvaluator(name), scenes)["bbox"]
    assert "| AP / AP50 / AP75" in caplog.text
    # A prediction file has no place for a model that returns only objects.
    assert not (tmp_path / f"predictions_{name}").exists()


def test_reset_forgets_and_a_image_seen_twice_counts_once(dataset):
    name, scenes = dataset
    evaluator = SceneGraphEvaluator(name)
    run(evaluator, scenes)
    evaluator.reset()
    first = without_nan(run(evaluator, scenes[:3]))
    assert first == without_nan(run(SceneGraphEvaluator(name), scenes[:3]))
    assert without_nan(run(evaluator, scenes[:3])) == first


def test_nothing_processed_gives_no_results(dataset, caplog):
    assert SceneGraphEvaluator(dataset[0]).evaluate() == {}
    assert "did not receive" in caplog.text


def test_no_relations_in_the_data_set_is_not_a_score_of_zero(dataset):
    record, prediction = random_scene(0)
    truth = GroundTruth.from_dict({**record, "relations": []})
    results = run(SceneGraphEvaluator(ground_truth={100: truth}), [(record, prediction)])
    assert math.isnan(results["sgdet"]["R@20"]) and results["bbox"]["AP"] > 0


def test_from_config(dataset, tmp_path, caplog):
    name, scenes = dataset
    cfg = get_egtr_cfg()
    cfg.MODEL.EGTR.NUM_CLASSES, cfg.MODEL.EGTR.NUM_PREDICATES = NUM_CLASSES, NUM_PREDICATES
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (name,), (name,)
    cfg.TEST.SCENE_GRAPH.TOPK = [5]
    cfg.TEST.SCENE_GRAPH.PROTOCOLS = ["strict", "iou0"]
    cfg.TEST.SCENE_GRAPH.BOOTSTRAP = 10
    cfg.TEST.SCENE_GRAPH.SAVE_PREDICTIONS = True
    results = run(SceneGraphEvaluator.from_config(cfg, name, str(tmp_path)), scenes)
    assert list(results) == ["sgdet", "sgdet_iou0", "open_images", "bbox"]
    # Every triplet of the test set is one of the training set here: nothing is left for zero-shot recall.
    assert math.isnan(results["sgdet"]["zR@5"]) and math.isfinite(results["sgdet"]["head-mR@5"])
    report = json.loads((tmp_path / f"scene_graph_{name}.json").read_text())
    assert "ng-mR@5" in report["protocols"]["strict"]["metrics"]["intervals"]
    meta = read_meta(tmp_path / f"predictions_{name}")
    assert meta.class_names == tuple("abcd") and meta.training.counts.sum() == 3 * len(scenes)

    cfg.TEST.SCENE_GRAPH.PROTOCOLS = ["refrence"]
    with pytest.raises(EGTRError, match="'refrence' is unknown, choose one of reference"):
        SceneGraphEvaluator.from_config(cfg, name, str(tmp_path))


def test_a_training_set_that_is_not_there_costs_zero_shot_recall_alone(dataset, caplog, tmp_path):
    name, scenes = dataset
    cfg = get_egtr_cfg()
    cfg.MODEL.EGTR.NUM_CLASSES, cfg.MODEL.EGTR.NUM_PREDICATES = NUM_CLASSES, NUM_PREDICATES
    cfg.TEST.SCENE_GRAPH.TOPK = [5]
    register_egtr_json("evaluator_test_missing", str(tmp_path / "train.json"), str(tmp_path / "images"))
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("evaluator_test_missing",), (name,)
    with caplog.at_level(logging.INFO):
        evaluator = SceneGraphEvaluator.from_config(cfg, name)
    DatasetCatalog.remove("evaluator_test_missing")
    MetadataCatalog.remove("evaluator_test_missing")
    (message,) = [r.getMessage() for r in caplog.records if "zero-shot" in r.getMessage()]
    assert "train.json is missing" in message
    results = run(evaluator, scenes)
    kinds = ("R@5", "mR@5", "F1@5", "phr-R@5")
    assert set(results["sgdet"]) == {f"{prefix}{kind}" for prefix in ("", "ng-") for kind in kinds}


def test_bad_input_is_named(dataset):
    name, scenes = dataset
    record, prediction = scenes[0]
    with pytest.raises(EGTRError, match="give dataset_name or ground_truth"):
        SceneGraphEvaluator()
    with pytest.raises(EGTRError, match="image 7: evaluator_test_dataset has no such image_id"):
        SceneGraphEvaluator(name).process([{"image_id": 7}], [model_output(prediction)])
    with pytest.raises(EGTRError, match="image 100: relation has 3 columns, but .*NUM_PREDICATES.* has 2"):
        run(SceneGraphEvaluator(name, predicate_names=["on", "under"]), scenes[:1])
    with pytest.raises(EGTRError, match="image 100: relation has 3 columns, but training has 2"):
        training = TripletCounts.from_class_triplets([(0, 0, 0)], NUM_CLASSES, 2)
        run(SceneGraphEvaluator(name, training=training), scenes[:1])
    with pytest.raises(EGTRError, match="bootstrap is -1; give the number of draws"):
        SceneGraphEvaluator(name, bootstrap=-1)
    with pytest.raises(EGTRError, match="save_predictions needs output_dir"):
        SceneGraphEvaluator(name, save_predictions=True)
    filtered = model_output(prediction)
    filtered["scene_graph"] = filtered["scene_graph"].filter(top_k=5)
    with pytest.raises(EGTRError, match="image 100: scene_graph.prediction is missing"):
        SceneGraphEvaluator(name).process([record], [filtered])
