"""The parts that int8 leaves in float, and the share of graphs that it keeps, by hand."""

import pytest

from egtr.export.int8 import (
    choice_of_queries,
    convolutions,
    count_layers,
    first_convolutions,
    quantize,
    relation_part,
)
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


def make_network(choose=False):
    """Two convolutions, one after the other, and a third one of the sum of both; the image's height goes into it.

    With ``choose``, the best columns by a score are taken.
    """
    import numpy as np
    from openvino import Model
    from openvino import opset13 as ops

    def convolve(x, name):
        weights = ops.constant(np.ones((3, 3, 1, 1), np.float32))
        return ops.convolution(x, weights, [1, 1], [0, 0], [0, 0], [1, 1], name=name)

    image = ops.parameter([1, 3, 8, 8], np.float32, name="image")
    first = convolve(ops.divide(image, ops.constant(np.float32(255))), "first")
    second = convolve(first, "second")
    height = ops.convert(ops.gather(ops.shape_of(image), ops.constant(2), ops.constant(0)), "f32")
    third = convolve(ops.add(ops.add(first, second), height), "third")
    rounded = ops.fake_quantize(third, *(ops.constant(np.float32(x)) for x in (0, 1, 0, 1)), 256)
    product = ops.matmul(rounded, ops.constant(np.ones((8, 2), np.float32)), False, False, name="product")
    if not choose:
        return Model([product], [image])
    score = ops.relu(first, name="score")
    best = ops.topk(score, ops.constant(1), 2, "max", "value", name="best")
    number = ops.reduce_max(ops.convert(best.output(1), "f32"), ops.constant([0, 1, 2, 3]))
    after = ops.add(product, number, name="after")
    after.output(0).set_names({"logits"})
    relation = ops.topk(after, ops.constant(1), 3, "max", "value", name="relation")
    return Model([after.output(0), relation.output(0)], [image])


def test_the_parts_of_a_network():
    model = make_network()
    assert first_convolutions(model) == ["first"]
    assert sorted(convolutions(model)) == ["first", "second", "third"]
    assert count_layers(model) == (1, 4)
    assert set(choice_of_queries(model)) == {"first", "second", "third"}


def test_what_the_choice_of_queries_depends_on():
    model = make_network(choose=True)
    names = set(choice_of_queries(model))
    assert {"first", "second", "third", "score", "best"} <= names and not {"product", "after", "relation"} & names


def test_int8_needs_images(tmp_path):
    import openvino

    model = openvino.Core().read_model(write_model(tmp_path / "m.onnx"))
    with pytest.raises(ConfigurationError, match="int8 needs images to calibrate with"):
        quantize(model, [])


@pytest.mark.parametrize(("step", "kept_as"), [(0, "i8"), (2, "f16")], ids=["int8", "convolutions in float"])
def test_weights_that_a_batch_norm_scales_become_int8(step, kept_as):
    """An exported convolution has weights that are products; those that stay in float keep their size, too."""
    import numpy as np
    from openvino import Model
    from openvino import opset13 as ops

    image = ops.parameter([1, 3, 8, 8], np.float32, name="image")
    stored = ops.convert(ops.constant(np.linspace(-1, 1, 9).reshape(3, 3, 1, 1).astype(np.float16)), "f32")
    scaled = ops.multiply(stored, ops.constant(np.full((3, 1, 1, 1), 2, np.float32)))
    layer = ops.convolution(image, scaled, [1, 1], [0, 0], [0, 0], [1, 1], name="layer")
    layer.output(0).set_names({"logits"})
    pixels = np.random.default_rng(0).random((1, 3, 8, 8), np.float32)
    model = quantize(Model([layer], [image]), [pixels], step)
    (found,) = (node for node in model.get_ops() if node.get_type_name() == "Convolution")
    weight = found.input_value(1).get_node()
    while weight.get_input_size():
        weight = weight.input_value(0).get_node()
    assert weight.get_output_element_type(0).get_type_name() == kept_as
