"""The examples of docs/prediction_files.md, run as they stand there."""

import re
from pathlib import Path

import numpy as np

from egtr.evaluation import list_images, read_meta, read_predictions, score_predictions
from egtr.evaluation.prediction_format import CROWD_MEMBERS, GROUND_TRUTH_MEMBERS, LABEL_MEMBERS, PREDICTION_MEMBERS
from egtr.structures import GroundTruth, Prediction, rank_triplets

TEXT = (Path(__file__).parents[2] / "docs/prediction_files.md").read_text()
NUMPY_EXAMPLE, WRITER_EXAMPLE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)

BOXES = np.array([[10, 10, 60, 200], [80, 120, 160, 200], [300, 20, 330, 50]])


def my_model(image_id):
    # In the first image person (0) holds ball (2), in the second the model prefers "beside".
    best = 0 if image_id == "0001.jpg" else 1
    relation = np.array([[0.1, 0.2], [0.4, 0.4]])
    relation[1, best] = 0.9
    return np.eye(3) * 5, BOXES, np.array([[0, 1], [0, 2]]), relation


def my_annotations(image_id):
    return BOXES + 1, np.array([0, 1, 2]), np.array([[0, 2, 0]])


def test_numpy_example_makes_a_file_that_is_scored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(NUMPY_EXAMPLE, {"my_model": my_model, "my_annotations": my_annotations})
    assert list_images("predictions.npz") == {"0001.jpg": True, "0002.jpg": True}
    meta = read_meta("predictions.npz")
    assert (meta.class_names, meta.predicate_names) == (("person", "dog", "ball"), ("holds", "beside"))
    metrics = score_predictions("predictions.npz")["reference"]
    # With graph constraint (0, 2) enters as "beside" in the second image and misses; without, "holds" is there too.
    assert (metrics["num_images"], metrics["R@20"], metrics["ng-R@20"]) == (2, 0.5, 1.0)


def test_numpy_example_is_short_and_shows_every_member():
    assert len(NUMPY_EXAMPLE.splitlines()) <= 30
    names = {"image_id", *PREDICTION_MEMBERS, *GROUND_TRUTH_MEMBERS}
    assert set(re.findall(r"\{k\}/(\w+)", NUMPY_EXAMPLE)) == names
    assert (
        set(re.findall(r"^\| `k/(\w+)`", TEXT, re.MULTILINE)) == names | CROWD_MEMBERS.keys() | LABEL_MEMBERS.keys()
    )


def test_writer_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def my_records():
        logits, boxes, pairs, relation = my_model("0001.jpg")
        prediction = Prediction(logits, boxes, pairs, np.ones(2), relation, (480, 640))
        yield 7, prediction, GroundTruth(*my_annotations("0001.jpg"))

    names = {"class_names": ["person", "dog", "ball"], "predicate_names": ["holds", "beside"]}
    exec(WRITER_EXAMPLE, names | {"my_records": my_records})
    ((image_id, prediction, _),) = read_predictions("predictions")
    assert (image_id, len(prediction.pairs)) == (7, 2)
    assert score_predictions("predictions")["reference"]["R@20"] == 1.0


def test_background_class_maps_exactly():
    """Softmax with background, as two-stage models have it, gives the same triplet scores by way of connectivity."""
    rng = np.random.RandomState(0)
    logits = rng.normal(size=(4, 6))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    background = probabilities[:, 5]
    pairs = np.array([(s, o) for s in range(4) for o in range(4) if s != o])
    relation = rng.rand(len(pairs), 3)
    connectivity = (1 - background[pairs[:, 0]]) * (1 - background[pairs[:, 1]])
    prediction = Prediction(logits[:, :5], np.zeros((4, 4)), pairs, connectivity, relation, (9, 9))

    best = probabilities[:, :5].max(axis=1)
    wanted = relation.max(axis=1) * best[pairs[:, 0]] * best[pairs[:, 1]]
    ranked = rank_triplets(prediction)
    np.testing.assert_allclose(ranked.scores, np.sort(wanted)[::-1], rtol=1e-6)


def test_hard_decisions_are_certain():
    assert "a large logit, such as 30" in TEXT
    logits = np.zeros((1, 150))
    logits[0, 7] = 30
    prediction = Prediction(logits, np.zeros((1, 4)), np.zeros((0, 2)), [], np.zeros((0, 5)), (9, 9))
    for kind in ("softmax", "sigmoid"):
        (score,), (label,) = prediction.object_scores(kind)
        assert (score, label) == (1.0, 7)
