"""The released implementation's numbers for 60 images of raw predictions."""

import json
from pathlib import Path

import numpy as np
import pytest

from egtr.evaluation import detection_ap, detections_per_query, evaluate
from egtr.structures import GroundTruth, Prediction, all_pairs

GOLDEN = Path(__file__).parents[1] / "golden"
TOLERANCE = 1e-6


def xyxy(boxes, size):
    """cxcywh in 0..1 to x1 y1 x2 y2 in pixels."""
    height, width = size
    boxes = boxes.astype(np.float32) * np.array([width, height, width, height], dtype=np.float32)
    centers, sides = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([centers - sides / 2, centers + sides / 2], axis=1)


@pytest.fixture(scope="module")
def golden():
    summary = json.loads((GOLDEN / "eval.json").read_text())
    predictions, ground_truth = [], []
    with np.load(GOLDEN / "eval.npz") as arrays:
        for i in range(summary["images"]):
            size = tuple(arrays[f"{i}/size"].tolist())
            relation = arrays[f"{i}/pred_rel"].astype(np.float32)
            predictions.append(
                Prediction(
                    logits=arrays[f"{i}/logits"],
                    boxes=xyxy(arrays[f"{i}/pred_boxes"], size),
                    pairs=all_pairs(len(relation)),
                    connectivity=arrays[f"{i}/pred_connectivity"].reshape(-1),
                    relation=relation.reshape(-1, relation.shape[-1]),
                    image_size=size,
                )
            )
            ground_truth.append(
                GroundTruth(
                    boxes=xyxy(arrays[f"{i}/gt_boxes"], size),
                    classes=arrays[f"{i}/gt_labels"],
                    triplets=arrays[f"{i}/gt_triplets"],
                    image_id=i,
                )
            )
    return summary["metrics"], predictions, ground_truth


@pytest.fixture(scope="module")
def metrics(golden):
    _, predictions, ground_truth = golden
    return evaluate(predictions, ground_truth, protocol="reference", top_k=(20, 50, 100))


@pytest.mark.parametrize(
    ("block", "prefix"),
    [("constraint", ""), ("no_constraint", "ng-"), ("mean_constraint", ""), ("mean_no_constraint", "ng-")],
)
def test_recall(golden, metrics, block, prefix):
    expected = golden[0][block]
    assert len(expected) == 3
    for name, value in expected.items():
        assert metrics[prefix + name] == pytest.approx(value, abs=TOLERANCE), name


def test_recall_of_each_predicate(golden, metrics):
    expected = golden[0]["per_predicate_constraint"]
    recall = metrics["per_predicate"].recall
    assert len(expected) == len(recall["R@20"]) == 8
    for p in range(8):
        for k, value in expected[f"p{p}"].items():
            assert recall[f"R@{k}"][p] == pytest.approx(value, abs=TOLERANCE)


def test_open_images_block(golden, metrics):
    expected = golden[0]["open_images"]
    names = {"w_rel_mAP": "wmAP_rel", "w_phr_mAP": "wmAP_phr", "microR@50": "microR@50", "score": "score"}
    names |= {f"bbox/{name}": name for name in ("AP", "AP50", "AP75", "APs", "APm", "APl")}
    assert set(names) == set(expected)
    for name, value in expected.items():
        assert metrics[f"oi/{names[name]}"] == pytest.approx(value, abs=TOLERANCE), name


def test_numbering_from_one_finds_the_object_that_the_released_code_loses(golden):
    _, predictions, ground_truth = golden
    detections = [detections_per_query(p) for p in predictions]
    # The specification states this value to five digits.
    assert detection_ap(detections, ground_truth, plus_one=True)["AP"] == pytest.approx(0.25887, abs=5e-6)


def test_order_of_pairs_does_not_matter(golden, metrics):
    _, predictions, ground_truth = golden
    rng = np.random.RandomState(0)
    shuffled = []
    for p in predictions:
        order = rng.permutation(len(p.pairs))
        shuffled.append(
            Prediction(p.logits, p.boxes, p.pairs[order], p.connectivity[order], p.relation[order], p.image_size)
        )
    again = evaluate(shuffled, ground_truth)
    for name in ("R@20", "mR@100", "ng-R@50", "ng-mR@100", "phr-R@20", "oi/score", "oi/microR@50"):
        assert again[name] == metrics[name]
