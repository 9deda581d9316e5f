"""The parts that int8 leaves in float, and the share of graphs that it keeps, by hand."""

import pytest

from egtr.export.int8 import quantize, relation_part
from egtr.structures import ConfigurationError
from tests.lite.known_model import write_model

pytestmark = pytest.mark.own_process


def test_the_relation_part_is_all_that_the_detector_does_not_need(tmp_path):
    import openvino

    model = openvino.Core().read_model(write_model(tmp_path / "m.onnx"))
    names = set(relation_part(model))
    # Of the answers that do not depend on the image, the boxes belong to the detector.
    assert {"connectivity", "relation"} <= names
    assert not {"image", "most", "bright", "fixed", "boxes", "logits"} & names


def test_int8_needs_images(tmp_path):
    import openvino

    model = openvino.Core().read_model(write_model(tmp_path / "m.onnx"))
    with pytest.raises(ConfigurationError, match="int8 needs images to calibrate with"):
        quantize(model, [])
