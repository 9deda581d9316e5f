"""An exported model whose answers are known."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from egtr.structures.model_info import METADATA_KEY, ModelInfo

INFO = ModelInfo(
    class_names=("cat", "mat"), predicate_names=("on", "under"), preprocessing={"min_size": 32, "max_size": 64}
)


def write_model(path, info=INFO, **metadata):
    """A network whose answer is known: two objects, (0.25, 0.5) and (0.75, 0.5), the first "on" the second.

    The brightest value of the image is added to the first logit, so that the answer depends on the pixels.
    """

    def constant(name, values):
        values = np.asarray(values, np.float32)
        return helper.make_tensor(name, TensorProto.FLOAT, values.shape, values.flatten())

    tensors = [
        constant("fixed", [[0, -5], [-5, 4]]),
        constant("boxes_", [[0.25, 0.5, 0.2, 0.4], [0.75, 0.5, 0.2, 0.4]]),
        constant("connectivity_", [[0.1, 0.9], [0.2, 0.1]]),
        constant("relation_", [[[0, 0], [0.8, 0.1]], [[0.1, 0.5], [0, 0]]]),
        constant("scale", [[1 / 255, 0], [0, 0]]),
    ]
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "scale"], ["bright"]),
        helper.make_node("Add", ["fixed", "bright"], ["logits"]),
        *(helper.make_node("Identity", [f"{name}_"], [name]) for name in ("boxes", "connectivity", "relation")),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("logits", [2, 2]), ("boxes", [2, 4]), ("connectivity", [2, 2]), ("relation", [2, 2, 2]))
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "H", "W"])
    graph = helper.make_graph(nodes, "test", [image], outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if info is not None:
        metadata[METADATA_KEY] = info.to_json()
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path
