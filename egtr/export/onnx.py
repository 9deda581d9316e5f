"""ONNX files, which check themselves before they are written."""

import logging
import os
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from egtr.data.resizing import detr_resize_shape
from egtr.lite.predictor import OBJECT_SCORE, THRESHOLD, TRIPLETS
from egtr.lite.session import INPUT, OUTPUTS
from egtr.modeling import EGTR
from egtr.structures import ConfigurationError, WriteError
from egtr.structures.files import replacing, writing
from egtr.structures.model_info import METADATA_KEY, ModelInfo
from egtr.structures.scene_graph import OBJECT_THRESHOLD

from .network import ExportedNetwork, rounded, traceable

logger = logging.getLogger(__name__)

OPSET = 18
# Largest differences to PyTorch that an export may have.
TOLERANCES = {"logits": 1e-4, "boxes": 1e-5, "connectivity": 1e-4, "relation": 1e-4}
# Fewer values are not worth a node that converts them.
_SMALLEST_HALF = 1024
# Height to width of the images that an export is checked with.
_ASPECTS = ((3, 4), (4, 3), (1, 1), (1, 2), (9, 16))


def export_onnx(
    model: EGTR,
    info: ModelInfo,
    output: str | os.PathLike[str],
    size: tuple[int, int] | None = None,
    *,
    half: bool = False,
    object_threshold: float = OBJECT_THRESHOLD,
) -> dict[str, float]:
    """Write a model as ONNX, with its record in the metadata.

    The file is written only if onnxruntime agrees with PyTorch about images of several sizes.

    Args:
        model: the model, in float32.
        info: its record; ``preprocessing`` must tell ``min_size`` and ``max_size``.
        output: the file.
        size: height and width that every image will have; None: any.
        half: store large weights as float16, as :func:`egtr.checkpoint.export_weights` does. The file computes in
            float32 and is compared with the model whose weights are rounded in this way.
        object_threshold: TEST.SCENE_GRAPH.OBJECT_THRESHOLD of the graphs.

    Returns:
        The largest difference of each output.

    Raises:
        ConfigurationError: onnx, onnxscript or onnxruntime is missing; the model has no relations.
        WriteError: the file cannot be written; the export differs from the model.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch.onnx needs it
    except ImportError as error:
        raise ConfigurationError(f"{error.name} is missing: pip install onnx onnxscript onnxruntime") from error

    network = ExportedNetwork(model)
    sizes = _sample_sizes(info) if size is None else [size]
    if size is not None:
        info = replace(info, preprocessing=(info.preprocessing or {}) | {"fixed_size": list(size)})
    images = [_sample_image(index, *shape, device=model.device) for index, shape in enumerate(sizes)]
    dynamic = None if size is not None else {"image": {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}}
    rounding = rounded(model) if half else nullcontext()
    with traceable(model), rounding, tempfile.TemporaryDirectory() as folder:
        wanted = [network(image) for image in images]
        exported = torch.onnx.export(
            network,
            (images[0],),
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes=dynamic,
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
        )
        file = Path(folder, "model.onnx")
        exported.save(file)
        proto = onnx.load(file)
        _strip(proto)
        if half:
            _store_as_half(proto.graph)
        onnx.helper.set_model_props(
            proto,
            {
                METADATA_KEY: info.to_json(),
                OBJECT_SCORE: model.object_score,
                TRIPLETS: str(model.triplets_per_image),
                THRESHOLD: str(object_threshold),
            },
        )
        content = proto.SerializeToString()
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        differences = dict.fromkeys(OUTPUTS, 0.0)
        for image, expected in zip(images, wanted, strict=True):
            found = session.run(list(OUTPUTS), {INPUT: image.cpu().numpy()})
            for name, ours, theirs in zip(OUTPUTS, expected, found, strict=True):
                # NaN must not pass as small.
                difference = float(np.abs(ours.cpu().numpy() - theirs).max())
                differences[name] = max(differences[name], np.inf if np.isnan(difference) else difference)
    for name, difference in differences.items():
        if difference > TOLERANCES[name]:
            raise WriteError(
                f"{output}: not written, since {name} differs from PyTorch by {difference:.2g}, more than "
                f"{TOLERANCES[name]:g}. Please report the model and the versions of torch and onnxscript"
            )
    with writing(output), replacing(output) as target:
        target.write(content)
    return differences


def _sample_sizes(info: ModelInfo) -> list[tuple[int, int]]:
    preprocessing = info.preprocessing or {}
    short, longest = preprocessing.get("min_size"), preprocessing.get("max_size", 0)
    if not short:
        raise ConfigurationError(
            "the record of the model lacks preprocessing.min_size, so its image sizes are unknown"
        )
    shapes = [detr_resize_shape(120 * height, 120 * width, short, longest) for height, width in _ASPECTS]
    return list(dict.fromkeys(shapes))


def _sample_image(seed: int, height: int, width: int, device: torch.device) -> torch.Tensor:
    """Draw an image of smooth blobs, which excites a network as a photograph does rather than as noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 6, generator=generator) * 255
    image = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255)
    return image.to(device)


def _strip(proto) -> None:
    """Remove the traces of Python code at each node, which are larger than many a model's weights."""
    proto.doc_string = ""
    graphs = [proto.graph, *proto.functions]
    for graph in graphs:
        graph.doc_string = ""
        del graph.metadata_props[:]
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del value.metadata_props[:]
    del proto.graph.value_info[:]


def _store_as_half(graph) -> None:
    """Store each large weight as float16 if it loses nothing by that; a node converts it when the file is opened."""
    import onnx

    converting = []
    for weight in graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or np.prod(weight.dims) < _SMALLEST_HALF:
            continue
        values = onnx.numpy_helper.to_array(weight)
        if np.abs(values).max() > np.finfo(np.float16).max or not np.array_equal(values.astype(np.float16), values):
            continue
        name = weight.name
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        converting.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*converting, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
