"""Images of a report: predicted by a model or by anything with ``predict()``, or read from saved predictions."""

import json
import logging
import runpy
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from PIL import Image

from egtr.cli import report
from egtr.data import get_metadata
from egtr.evaluation import PredictionMeta, PredictionWriter, evaluate
from egtr.inference import images_of_dataset, images_of_predictions, images_of_source
from egtr.structures import DataError, GroundTruth, Prediction, SceneGraph
from egtr.visualization.report import ReportWriter
from tests.inference.predictors import FakePredictor
from tests.visualization.report_scenes import BOXES, CALIBRATION, CLASSES, PREDICATES, make_prediction, read_element

TOOL = Path(__file__).resolve().parents[2] / "tools/report.py"


def find(image):
    """Six edges between three objects, the first one twice as likely as the others, with the tiny dataset's sizes."""
    pairs = np.array([(i, j) for i in range(3) for j in range(3) if i != j])
    relation = np.zeros((6, 4), dtype=np.float32)
    relation[:, 0] = (0.5, *5 * [0.25])
    boxes = BOXES * np.array([image.shape[1] / 160, image.shape[0] / 100] * 2, dtype=np.float32)
    logits = np.where(np.eye(3, 5, dtype=bool), 20.0, -20.0).astype(np.float32)
    return SceneGraph.from_prediction(Prediction(logits, boxes, pairs, np.ones(6), relation, image.shape[:2]))


class ExplainingPredictor(FakePredictor):
    """One that also explains: an explanation names the image's height and the edge."""

    def explain(self, image, graph, edges=None, channel_order=None):
        assert edges is None and channel_order == "RGB"
        return [(image.shape[0], row) for row in range(len(graph))]


@pytest.fixture
def folder(tmp_path):
    """Two images of different heights, and between them one that is none."""
    for name, height in (("a.png", 40), ("c.png", 60)):
        Image.new("RGB", (80, height)).save(tmp_path / name)
    (tmp_path / "b.png").write_text("no image")
    return tmp_path


def test_a_predictor_that_explains(folder):
    errors = []
    first, second = images_of_source(ExplainingPredictor(find), folder, top_k=2, on_error=errors.append)
    assert (first.name, first.image.shape, len(first.graph)) == ("a.png", (40, 80, 3), 2)
    assert first.explanations == [(40, 0), (40, 1)] and second.explanations == [(60, 0), (60, 1)]
    assert first.comparison is None
    assert len(errors) == 1 and "b.png" in str(errors[0])


def test_a_predictor_that_does_not_explain_is_told_of_once(folder, caplog):
    with caplog.at_level(logging.WARNING):
        found = list(images_of_source(FakePredictor(find), folder, on_error=print))
    assert [image.explanations for image in found] == [None, None]
    assert caplog.messages == ["FakePredictor has no method explain(): the report explains no edges"]


def test_explanations_that_are_not_wanted(folder, caplog):
    for predictor in (FakePredictor(find), ExplainingPredictor(find)):
        found = list(images_of_source(predictor, folder, explain=False, on_error=print))
        assert [image.explanations for image in found] == [None, None]
    assert caplog.messages == []


def test_a_dataset_with_any_predictor(tiny_dataset):
    predictor = ExplainingPredictor(find)
    predictor.class_names = get_metadata(tiny_dataset.val).thing_classes
    found = list(images_of_dataset(predictor, tiny_dataset.val, top_k=1))
    assert len(found) == 6
    for image in found:
        assert image.explanations == [(72, 0)] and Path(image.name).suffix
        assert len(image.comparison.hits) == 1 and image.comparison.truth.image_size == (72, 96)
    predictor.class_names = ("man", "horse")
    with pytest.raises(DataError, match=rf"{tiny_dataset.val}: its classes .* are not the model's \(man, horse"):
        next(images_of_dataset(predictor, tiny_dataset.val))


def test_annotations_of_another_copy_of_the_images(tiny_dataset):
    def find_twice_as_large(image):
        return find(image.repeat(2, axis=0))

    errors = []
    predictor = FakePredictor(find_twice_as_large)
    assert list(images_of_dataset(predictor, tiny_dataset.val, explain=False, on_error=errors.append)) == []
    assert len(errors) == 6 and "is 144 high and 96 wide, but annotated as 72 and 96" in str(errors[0])


@pytest.fixture
def predictions(tmp_path):
    """Three saved images: one as annotated, one that finds nothing, one without annotated triplets."""
    truth = np.array([[0, 1, 0], [1, 0, 1]])
    records = [
        (make_prediction(), GroundTruth(BOXES, np.arange(3), truth)),
        (make_prediction(BOXES + 200), GroundTruth(BOXES, np.arange(3), truth[:1])),
        (make_prediction(), GroundTruth(BOXES, np.arange(3), truth[:0])),
    ]
    with PredictionWriter(tmp_path / "saved.npz", PredictionMeta(CLASSES, PREDICATES)) as writer:
        for image_id, (prediction, annotated) in enumerate(records):
            writer.write(image_id, prediction, annotated)
    return tmp_path / "saved.npz", records


def test_single_objects_of_saved_predictions(predictions):
    path, records = predictions
    (first, *_), (bare, *_) = (
        list(images_of_predictions(path, top_k=0, single_objects=single)) for single in (True, False)
    )
    present = records[0][0].object_scores("sigmoid")[0] >= 0.5
    assert present.any() and len(first.graph.boxes) == present.sum() and len(bare.graph.boxes) == 0


def test_recall_is_that_of_evaluation(predictions, tmp_path):
    path, records = predictions
    with ReportWriter(tmp_path / "report.html") as report:
        for image in images_of_predictions(path):
            report.add(image)
    expected = evaluate(*zip(*records, strict=True))
    # One of two triplets, none of one, and nothing to be found.
    assert expected["R@20"] == 0.25
    assert report.mean_recall() == {k: expected[f"R@{k}"] for k in (20, 50, 100)}


def test_saved_predictions_have_probabilities_of_a_calibration(predictions, tmp_path):
    path, records = predictions
    # On sparse annotations, probabilities do not decide what is shown.
    first, *_ = images_of_predictions(path, calibration=replace(CALIBRATION, exhaustive=False))
    plain, *_ = images_of_predictions(path)
    assert plain.graph.triplet_probabilities is None
    np.testing.assert_array_equal(first.graph.triplet_scores, plain.graph.triplet_scores)
    np.testing.assert_array_equal(first.graph.triplets, plain.graph.triplets)
    np.testing.assert_allclose(first.graph.triplet_probabilities, first.graph.triplet_scores / 2, rtol=1e-6)
    # Scores of given boxes are others than those of the fit.
    with PredictionWriter(tmp_path / "given.npz", PredictionMeta(CLASSES, PREDICATES, "sgcls")) as writer:
        writer.write(0, *records[0])
    (given,) = images_of_predictions(tmp_path / "given.npz", calibration=CALIBRATION)
    assert given.graph.triplet_probabilities is None and given.comparison.sample is None


def test_predictions_of_another_dataset_are_refused(predictions, tiny_dataset):
    path, _ = predictions
    errors = []
    assert list(images_of_predictions(path, tiny_dataset.val, on_error=errors.append)) == []
    assert len(errors) == 3 and tiny_dataset.val in str(errors[0])


def test_tool_of_predictions(predictions, tmp_path, monkeypatch, capsys):
    path, _ = predictions
    command = [str(TOOL), "--predictions", str(path), "--output", str(tmp_path / "report.html")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(TOOL), run_name="__main__")
    assert end.value.code == 0
    out, bar = capsys.readouterr()
    assert "3 images" in out and "R@20 25.00" in out and "3/3" in bar
    assert json.loads(read_element((tmp_path / "report.html").read_text("utf-8"), "record-2"))["name"] == "image 2"


@pytest.mark.parametrize(("limit", "total"), [(None, 3), (1, 1), (9, 3)])
def test_the_bar_has_a_total(folder, predictions, tiny_dataset, limit, total):
    args = Namespace(predictions=None, dataset=None, top_k=1, no_explanations=True, single_objects=True)
    args.limit, args.input, args.inputs = limit, [], [str(folder)]
    assert report.open_images(args, [str(folder)], None, print)[1] == total
    args.dataset = tiny_dataset.val
    found = len(DatasetCatalog.get(tiny_dataset.val))
    assert report.open_images(args, [str(folder)], None, print)[1] == (limit or found) and found > 0
    args.predictions, args.partial = predictions[0], False
    assert report.open_images(args, [str(folder)], None, print)[1] == min(limit or 3, 3)


def test_tool_of_a_folder_with_a_broken_image(tmp_path, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (96, 64), "gray").save(tmp_path / "photos/gray.png")
    (tmp_path / "photos/broken.png").write_bytes(b"no image")
    command = [str(TOOL), "--input", str(tmp_path / "photos"), "--output", str(tmp_path / "report.html")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(TOOL), run_name="__main__")
    assert end.value.code == 1
    captured = capsys.readouterr()
    assert "broken.png" in captured.err and "1 image," in captured.out
    record = json.loads(read_element((tmp_path / "report.html").read_text("utf-8"), "record-0"))
    assert record["name"] == "gray.png" and len(record["explanations"]) == len(record["graph"]["relations"])
