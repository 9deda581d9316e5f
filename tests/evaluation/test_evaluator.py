"""SceneGraphEvaluator inside Detectron2's loop."""

import json
import logging
import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import print_csv_format
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils import comm

from egtr.config import get_egtr_cfg
from egtr.evaluation import SceneGraphEvaluator, evaluate
from egtr.structures import EGTRError, GroundTruth, Prediction, SceneGraph, all_pairs

NUM_CLASSES, NUM_PREDICATES, NUM_QUERIES = 4, 3, 6
PREDICATES = ("on", "under", "near")


def random_scene(seed):
    """A dataset dict, and a prediction whose first queries lie near its objects."""
    rng = np.random.RandomState(seed)
    corners = rng.randint(0, 40, (4, 2)).astype(float)
    boxes = np.concatenate([corners, corners + rng.randint(10, 40, (4, 2))], axis=1)
    classes = rng.randint(0, NUM_CLASSES, 4)
    relations = [[0, 1, seed % NUM_PREDICATES], [2, 3, 1], [1, 2, 0]]
    record = {
        "image_id": 100 + seed,
        "height": 80,
        "width": 80,
        "annotations": [
            {"bbox": b.tolist(), "bbox_mode": BoxMode.XYXY_ABS, "category_id": int(c)}
            for b, c in zip(boxes, classes, strict=True)
        ],
        "relations": relations,
    }
    logits = rng.randn(NUM_QUERIES, NUM_CLASSES)
    logits[np.arange(4), classes] += 2
    pairs = all_pairs(NUM_QUERIES)
    relation = rng.rand(len(pairs), NUM_PREDICATES) / 2
    for s, o, p in relations:
        relation[s * NUM_QUERIES + o, p] += rng.rand() / 2
    queries = np.concatenate([boxes, rng.rand(2, 4) * 40 + [0, 0, 40, 40]])
    queries[:4] += rng.randint(-3, 4, (4, 4))
    return record, Prediction(logits, queries, pairs, rng.rand(len(pairs)), relation, image_size=(80, 80))


def model_output(prediction, relations=True):
    """What the model returns: instances as (query, class) by sigmoid score, and the scene graph."""
    scores = torch.from_numpy(prediction.logits).sigmoid().flatten()
    best = scores.argsort(descending=True)
    instances = Instances(prediction.image_size)
    instances.pred_boxes = Boxes(torch.from_numpy(prediction.boxes)[best // NUM_CLASSES])
    instances.scores = scores[best]
    instances.pred_classes = best % NUM_CLASSES
    output = {"instances": instances}
    if relations:
        output["scene_graph"] = SceneGraph.from_prediction(prediction)
    return output


@pytest.fixture
def dataset():
    name = "evaluator_test_dataset"
    scenes = [random_scene(seed) for seed in range(8)]
    DatasetCatalog.register(name, lambda: [record for record, _ in scenes])
    MetadataCatalog.get(name).set(predicate_classes=list(PREDICATES), thing_classes=list("abcd"))
    yield name, scenes
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def run(evaluator, scenes, relations=True):
    for record, prediction in scenes:
        # The loop passes what the mapper leaves of a record; image_id is enough.
        evaluator.process([{"image_id": record["image_id"]}], [model_output(prediction, relations)])
    return evaluator.evaluate()


def test_results_are_those_of_evaluate_in_percent(dataset):
    name, scenes = dataset
    results = run(SceneGraphEvaluator(name, topk=(3, 10)), scenes)
    truths = [GroundTruth.from_dict(record) for record, _ in scenes]
    expected = evaluate([p for _, p in scenes], truths, topk=(3, 10))
    assert isinstance(results, OrderedDict)
    assert list(results) == ["sgdet", "bbox"]
    names = [f"{prefix}R@{k}" for prefix in ("", "ng-", "m", "ng-m") for k in (3, 10)]
    assert set(results["sgdet"]) == set(names)
    for metric in names:
        assert results["sgdet"][metric] == pytest.approx(100 * expected[metric])
    assert 0 < results["sgdet"]["R@3"] < results["sgdet"]["R@10"] <= 100
    assert list(results["bbox"]) == ["AP", "AP50", "AP75"]
    # The model's instances are the best (query, class) by sigmoid score: what evaluate takes.
    for metric in ("AP", "AP50", "AP75"):
        assert results["bbox"][metric] == pytest.approx(100 * expected[metric], abs=1e-4)
    assert 0 < results["bbox"]["AP"] < results["bbox"]["AP50"] <= 100


def test_object_ap_is_that_of_detectron2(dataset, tmp_path):
    from detectron2.evaluation import COCOEvaluator

    name, scenes = dataset
    annotations = [
        {
            "id": 4 * i + j + 1,
            "image_id": record["image_id"],
            "category_id": annotation["category_id"],
            "bbox": BoxMode.convert(annotation["bbox"], BoxMode.XYXY_ABS, BoxMode.XYWH_ABS),
            "area": 500.0,
            "iscrowd": 0,
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
    results = run(SceneGraphEvaluator(name), scenes)["bbox"]
    for metric in ("AP", "AP50", "AP75"):
        assert results[metric] == pytest.approx(expected[metric], abs=1e-6)


def test_results_file_and_log(dataset, tmp_path, caplog):
    name, scenes = dataset
    with caplog.at_level(logging.INFO):
        results = run(SceneGraphEvaluator(name, topk=(3,), output_dir=str(tmp_path / "new")), scenes)
        print_csv_format(results)
    report = json.loads((tmp_path / "new" / f"scene_graph_{name}.json").read_text())
    assert report["num_images"] == 8 and report["topk"] == [3] and report["dataset"] == name
    assert report["protocol"]["name"] == "reference" and report["protocol"]["iou_plus_one"] is True
    # What object AP was taken of and how, beside the protocol, which is that of the scene graphs alone.
    assert report["object_ap"] == {"detections": "instances", "plus_one": False, "first_id": 1}
    assert not any("detection" in field for field in report["protocol"])
    assert report["sgdet"] == results["sgdet"] and report["bbox"] == results["bbox"]
    rows = report["per_predicate"]
    # 8 pictures with one 0 ("on") and one 1 ("under") each, and seed % 3 on top: 3 x 0, 3 x 1, 2 x 2.
    assert [(row["predicate"], row["triplets"], row["images"]) for row in rows] == [
        ("on", 11, 8),
        ("under", 11, 8),
        ("near", 2, 2),
    ]
    assert np.mean([row["R@3"] for row in rows]) == pytest.approx(results["sgdet"]["mR@3"])
    assert "| near" in caplog.text and "protocol reference" in caplog.text
    # Detectron2 leaves names with a hyphen out of these lines.
    assert "copypaste: R@3,mR@3" in caplog.text
    assert flatten_results_dict(results)["sgdet/R@3"] == results["sgdet"]["R@3"]


def test_a_predicate_that_does_not_occur_is_null_in_the_file(tmp_path):
    record, prediction = random_scene(0)
    record["relations"] = [[0, 1, 0]]
    evaluator = SceneGraphEvaluator(
        ground_truth={100: GroundTruth.from_dict(record)}, topk=(3,), output_dir=str(tmp_path)
    )
    run(evaluator, [(record, prediction)])
    rows = json.loads((tmp_path / "scene_graph.json").read_text())["per_predicate"]
    assert [row["predicate"] for row in rows] == ["predicate 0", "predicate 1", "predicate 2"]
    assert rows[0]["R@3"] is not None and rows[1]["R@3"] is None


def test_without_relation_head_objects_alone_are_scored(dataset, tmp_path):
    name, scenes = dataset
    evaluator = SceneGraphEvaluator(name, output_dir=str(tmp_path))
    results = run(evaluator, scenes, relations=False)
    assert list(results) == ["bbox"]
    assert json.loads((tmp_path / f"scene_graph_{name}.json").read_text())["per_predicate"] == []
    assert results["bbox"] == run(SceneGraphEvaluator(name), scenes)["bbox"]


def test_reset_forgets_and_a_picture_seen_twice_counts_once(dataset):
    name, scenes = dataset
    evaluator = SceneGraphEvaluator(name)
    run(evaluator, scenes)
    evaluator.reset()
    first = run(evaluator, scenes[:3])
    assert first == run(SceneGraphEvaluator(name), scenes[:3])
    assert run(evaluator, scenes[:3]) == first


def test_nothing_processed_gives_no_results(dataset, caplog):
    assert SceneGraphEvaluator(dataset[0]).evaluate() == {}
    assert "did not receive" in caplog.text


def test_no_relations_in_the_data_set_is_not_a_score_of_zero(dataset):
    record, prediction = random_scene(0)
    truth = GroundTruth.from_dict({**record, "relations": []})
    results = run(SceneGraphEvaluator(ground_truth={100: truth}), [(record, prediction)])
    assert math.isnan(results["sgdet"]["R@20"]) and results["bbox"]["AP"] > 0


def test_from_config(dataset, tmp_path):
    name, scenes = dataset
    cfg = get_egtr_cfg()
    cfg.TEST.SCENE_GRAPH.TOPK = [5]
    results = run(SceneGraphEvaluator.from_config(cfg, name, str(tmp_path)), scenes)
    assert list(results["sgdet"]) == ["R@5", "mR@5", "ng-R@5", "ng-mR@5"]
    cfg.TEST.SCENE_GRAPH.PROTOCOL = "refrence"
    with pytest.raises(EGTRError, match="'refrence' is unknown, choose one of reference"):
        SceneGraphEvaluator.from_config(cfg, name)


def test_bad_input_is_named(dataset):
    name, scenes = dataset
    record, prediction = scenes[0]
    with pytest.raises(EGTRError, match="give dataset_name or ground_truth"):
        SceneGraphEvaluator()
    with pytest.raises(EGTRError, match="image 7: evaluator_test_dataset has no such image_id"):
        SceneGraphEvaluator(name).process([{"image_id": 7}], [model_output(prediction)])
    with pytest.raises(EGTRError, match="NUM_PREDICATES to 2"):
        run(SceneGraphEvaluator(name, predicate_names=["on", "under"]), scenes[:1])
    filtered = model_output(prediction)
    filtered["scene_graph"] = filtered["scene_graph"].filter(top_k=5)
    with pytest.raises(EGTRError, match="image 100: scene_graph.prediction is missing"):
        SceneGraphEvaluator(name).process([record], [filtered])


def test_only_compact_records_are_kept(dataset):
    name, scenes = dataset
    evaluator = SceneGraphEvaluator(name)
    run(evaluator, scenes)
    dense = scenes[0][1].relation.nbytes
    kept = [a.nbytes for h in evaluator._hits.values() for a in (h.predicates, *h.ranks.values())]
    assert len(kept) == 3 * len(scenes)
    assert max(kept) == 3 * 4 < dense  # three triplets, four bytes each


def _worker(rank, init_method, folder):
    torch.distributed.init_process_group("gloo", init_method=init_method, rank=rank, world_size=2)
    comm.create_local_process_group(2)
    scenes = [random_scene(seed) for seed in range(8)]
    ground_truth = {record["image_id"]: GroundTruth.from_dict(record) for record, _ in scenes}
    evaluator = SceneGraphEvaluator(ground_truth=ground_truth, topk=(3, 10))
    # Uneven shares, in another order than the data set's.
    results = run(evaluator, scenes[5:] if rank == 0 else scenes[:5])
    (folder / f"{rank}.json").write_text(json.dumps(results))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    # Left-over groups abort the interpreter at exit.
    comm._LOCAL_PROCESS_GROUP = None
    comm._get_global_gloo_group.cache_clear()


@pytest.mark.slow
def test_two_processes_score_what_one_scores(tmp_path):
    context = torch.multiprocessing.get_context("spawn")
    init_method = (tmp_path / "store").as_uri()
    workers = [context.Process(target=_worker, args=(rank, init_method, tmp_path)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    scenes = [random_scene(seed) for seed in range(8)]
    ground_truth = {record["image_id"]: GroundTruth.from_dict(record) for record, _ in scenes}
    alone = run(SceneGraphEvaluator(ground_truth=ground_truth, topk=(3, 10)), scenes)
    assert json.loads((tmp_path / "0.json").read_text()) == alone
    assert json.loads((tmp_path / "1.json").read_text()) == {}
