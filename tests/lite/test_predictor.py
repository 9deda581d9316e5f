"""`egtr.lite`: the graphs of an exported model are those of the model, without torch."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import egtr.lite
from egtr.lite import LitePredictor
from egtr.structures import ConfigurationError, DataError, ModelInfo, WeightsError
from tests.lite.known_model import INFO, write_model


def test_a_model_of_drawings_warns_once(tmp_path, caplog):
    info = replace(INFO, domain="drawings", photograph_threshold=1.0)
    model = LitePredictor(write_model(tmp_path / "m.onnx", info))
    first, second = (model(np.zeros((50, 100, 3), np.uint8), "RGB") for _ in range(2))
    assert len(first.warnings) == 2 and second.warnings == first.warnings
    assert caplog.messages == list(first.warnings)


def test_a_graph_by_hand(tmp_path):
    model = LitePredictor(write_model(tmp_path / "m.onnx"))
    graph = model(np.full((50, 100, 3), 255, np.uint8), "RGB")
    assert graph.image_size == (50, 100)
    np.testing.assert_allclose(graph.boxes, [[15, 15, 35, 35], [65, 15, 85, 35]], atol=1e-4)
    assert [graph.class_name(i) for i in range(2)] == ["cat", "mat"]
    first = graph.triplets[0].tolist()
    assert first == [0, 1, 0] and graph.predicate_name(0) == "on"
    # Softmax of logits (1, -5) and (-5, 4), connectivity 0.9, predicate 0.8.
    assert graph.triplet_scores[0] == pytest.approx(0.9 * 0.8 / (1 + np.exp(-6)) / (1 + np.exp(-9)), rel=1e-5)
    assert model.info == INFO


def test_the_metadata_decides_how_to_rank(tmp_path):
    file = write_model(tmp_path / "m.onnx", object_score="sigmoid", triplets_per_image="1", object_threshold="0.25")
    graph = LitePredictor(file)(np.full((50, 100, 3), 255, np.uint8), "RGB")
    assert len(graph) == 1 and graph.object_threshold == 0.25
    assert graph.triplet_scores[0] == pytest.approx(0.9 * 0.8 / (1 + np.exp(-1)) / (1 + np.exp(-4)), rel=1e-5)


@pytest.mark.parametrize(
    ("preprocessing", "size"),
    [
        ({"min_size": 32, "max_size": 64}, (32, 64)),
        ({"min_size": 32, "max_size": 50}, (25, 50)),
        ({"fixed_size": [24, 40]}, (24, 40)),
        (None, (50, 100)),
    ],
)
def test_images_are_resized_as_the_record_says(preprocessing, size, tmp_path):
    model = LitePredictor(write_model(tmp_path / "m.onnx", ModelInfo(preprocessing=preprocessing)))
    pixels = model.preprocess(np.zeros((50, 100, 3), np.uint8))
    assert pixels.shape == (1, 3, *size) and pixels.dtype == np.float32


def test_channels_of_a_bgr_model(tmp_path):
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 0] = 200
    for form, wanted in (("RGB", [200, 0, 0]), ("BGR", [0, 0, 200])):
        model = LitePredictor(write_model(tmp_path / f"{form}.onnx", ModelInfo(preprocessing={"format": form})))
        assert model.preprocess(image)[0, :, 1, 1].tolist() == wanted


def test_many_images_and_a_broken_one(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    file = write_model(tmp_path / "m.onnx")
    sound = np.zeros((20, 20, 3), np.uint8)
    results = list(LitePredictor(file).predict([sound, str(tmp_path / "broken.png"), sound], "RGB", threads=2))
    assert [result.error is None for result in results] == [True, False, True]
    assert "broken.png" in str(results[1].error)
    errors = []
    graphs = list(egtr.lite.predict(file, [sound, str(tmp_path / "broken.png")], "RGB", on_error=errors.append))
    assert len(graphs) == len(errors) == 1 and graphs[0].prediction is None
    with pytest.raises(DataError, match="broken.png"):
        list(egtr.lite.predict(file, str(tmp_path / "broken.png")))


def test_files_that_are_no_model_of_ours(tmp_path):
    with pytest.raises(WeightsError, match="nowhere.onnx: there is no such file"):
        LitePredictor(tmp_path / "nowhere.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(WeightsError, match=r"text.onnx: onnxruntime cannot open it .*Export the model again"):
        LitePredictor(tmp_path / "text.onnx")
    with pytest.raises(WeightsError, match=r"m.onnx: lacks the metadata model_info"):
        LitePredictor(write_model(tmp_path / "m.onnx", info=None))
    with pytest.raises(ConfigurationError, match="provider NoProvider: this onnxruntime has only"):
        LitePredictor(write_model(tmp_path / "m.onnx"), providers=["NoProvider"])
    with pytest.raises(ConfigurationError, match="batch_size is 0"):
        LitePredictor(write_model(tmp_path / "m.onnx")).predict([], batch_size=0)


def test_neither_torch_nor_detectron2_is_imported(tmp_path):
    """In a process in which importing them, OpenCV or SciPy fails."""
    file = write_model(tmp_path / "m.onnx")
    code = f"""
import sys
for name in ("torch", "detectron2", "cv2", "scipy", "matplotlib", "fvcore", "networkx"):
    sys.modules[name] = None
import numpy, egtr.lite
print(*egtr.lite.predict({str(file)!r}, numpy.zeros((8, 8, 3), numpy.uint8), "RGB"))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "cat" in result.stdout


def test_the_server_takes_it(tmp_path):
    """docs/deployment.md gives it to a ModelStore."""
    from egtr.serving import ModelStore

    model = LitePredictor(write_model(tmp_path / "m.onnx"))
    store = ModelStore({"mine": model})
    assert store.load("mine") is model and store.state("mine") == "ready"


def test_exported_models_take_no_boxes(tmp_path):
    path = write_model(tmp_path / "tiny.onnx")
    model, image = LitePredictor(path), np.zeros((40, 60, 3), np.uint8)
    for call in (model, model.predict, lambda *args, **given: egtr.lite.predict(path, *args, **given)):
        with pytest.raises(ConfigurationError, match="boxes, classes: an exported model takes no boxes"):
            call(image, "RGB", boxes=[[1, 2, 3, 4]], classes=[0])
        with pytest.raises(TypeError, match="unexpected keyword argument 'box'"):
            call(image, "RGB", box=[])
