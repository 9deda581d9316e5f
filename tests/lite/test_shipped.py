"""`scenes.onnx`, which ships, is the shipped model `scenes`."""

from pathlib import Path

import numpy as np
import pytest

from egtr.hub.model_zoo import EXPORTED, MODELS, get_exported_file
from egtr.lite import LitePredictor
from egtr.structures import WeightsError

REMEDY = "make it again: egtr export --model scenes --half --output projects/EGTR/weights/scenes.onnx"


@pytest.fixture(scope="module")
def models():
    pytest.importorskip("torch", reason="an environment of egtr.lite has no model to compare with")
    from egtr.inference import EGTRPredictor

    return LitePredictor(get_exported_file("scenes")), EGTRPredictor.create("scenes")


@pytest.mark.parametrize("index", range(4))
def test_it_equals_the_shipped_weights(index, models):
    """Raw output and graph of drawn images, each of another size."""
    # Here, since it needs OpenCV.
    from egtr.data.scenes import draw_scene

    image = draw_scene(0, "val", index)[0]
    lite, torch = (model(image, "RGB") for model in models)
    for name, tolerance in (("logits", 1e-4), ("connectivity", 1e-4), ("relation", 1e-4), ("boxes", 1e-5)):
        ours, theirs = getattr(lite.prediction, name), getattr(torch.prediction, name)
        scale = max(image.shape) if name == "boxes" else 1
        np.testing.assert_allclose(ours / scale, theirs / scale, atol=tolerance, rtol=0, err_msg=f"{name}: {REMEDY}")
    # By a low score, since of one image no relation is probable enough to be shown by default.
    shown = [graph.for_display(0.001, top_k=20).to_dict() for graph in (lite, torch)]
    triplets = [[(row["subject"], row["predicate"], row["object"]) for row in found["relations"]] for found in shown]
    assert triplets[0] == triplets[1] and len(triplets[0]) > 2
    assert lite.least_probability == torch.least_probability == 0.3
    assert lite.object_threshold == torch.object_threshold and lite.warnings == torch.warnings


def test_its_record_is_that_of_the_weights(models):
    lite, torch = (model.info.to_dict() for model in models)
    assert {key: lite.get(key) for key in torch} == torch, REMEDY


def test_exported_models_that_ship_are_small():
    assert EXPORTED.keys() <= MODELS.keys()
    for name in EXPORTED:
        assert Path(get_exported_file(name)).stat().st_size <= 12e6
    with pytest.raises(WeightsError, match=r"nothing: EGTR comes with no such file .*Take one of: scenes"):
        get_exported_file("nothing")
