"""ONNX files, which check themselves before they are written."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from egtr.lite.predictor import OBJECT_SCORE, THRESHOLD, TRIPLETS
from egtr.lite.session import INPUT, OUTPUTS, open_session
from egtr.modeling import EGTR
from egtr.structures import ConfigurationError
from egtr.structures.files import replacing, writing
from egtr.structures.model_info import METADATA_KEY, ModelInfo
from egtr.structures.scene_graph import OBJECT_THRESHOLD

from .network import ExportedNetwork, check_outputs, rounded, sample_images, traceable

OPSET = 18
# Height and width that a file for any size is traced with. PyTorch's exporter takes a side of 1 for a constant, and
# the coarsest map of an encoder has one cell for 64 pixels.
_TRACED = (192, 320)
# Fewer values are not worth a node that converts them.
_SMALLEST_HALF = 1024


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
        ConfigurationError: onnx, onnxscript or onnxruntime is missing; the model has no relations, or PyTorch's
            exporter cannot trace it.
        WriteError: the file cannot be written; the export differs from the model.
    """
    require("onnx", "onnxscript", "onnxruntime")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        images, wanted = trace(model, info, file, size, half, object_threshold)
        differences = check_outputs(open_session(str(file)).run, images, wanted, output)
        with writing(output), replacing(output) as target:
            target.write(file.read_bytes())
    return differences


def require(*packages: str) -> None:
    """Import packages that the export needs.

    Raises:
        ConfigurationError: one is missing.
    """
    try:
        for package in packages:
            __import__(package)
    except ImportError as error:
        raise ConfigurationError(f"{error.name} is missing: pip install {' '.join(packages)}") from error


def trace(
    model: EGTR,
    info: ModelInfo,
    file: Path,
    size: tuple[int, int] | None,
    half: bool = False,
    object_threshold: float = OBJECT_THRESHOLD,
) -> tuple[list[Tensor], list[tuple[Tensor, ...]]]:
    """Write a model as ONNX without any check.

    Args:
        model, info, size, half, object_threshold: see :func:`export_onnx`.
        file: the file to write.

    Returns:
        Images, and the outputs of the model in PyTorch for each; see :func:`egtr.export.network.check_outputs`.

    Raises:
        ConfigurationError: the model has no relations, or PyTorch's exporter cannot trace it.
    """
    import onnx

    network = ExportedNetwork(model)
    images = sample_images(info, size, model.device)
    (example,) = sample_images(info, size or _TRACED, model.device)
    if size is not None:
        info = replace(info, preprocessing=(info.preprocessing or {}) | {"fixed_size": list(size)})
    dynamic = None if size is not None else {"image": {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}}
    rounding = rounded(model) if half else nullcontext()
    with traceable(network), rounding, _without_skipped_folding():
        wanted = [network(image) for image in images]
        try:
            exported = torch.onnx.export(
                network,
                (example,),
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                dynamic_shapes=dynamic,
                dynamo=True,
                opset_version=OPSET,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = " ".join(str(error.__cause__ or error).split("\n\n")[0].split())
            raise ConfigurationError(
                f"the model cannot be exported: PyTorch cannot trace {type(model.transformer).__name__} "
                f"(MODEL.EGTR.TRANSFORMER.NAME) or its relation part ({reason}). Parts of your own must not decide "
                "by the values of tensors"
            ) from error
    exported.save(file)
    proto = onnx.load(file)
    _strip(proto)
    if half:
        _store_as_half(proto.graph)
    metadata = {
        METADATA_KEY: info.to_json(),
        OBJECT_SCORE: model.object_score,
        TRIPLETS: str(model.triplets_per_image),
        THRESHOLD: str(object_threshold),
    }
    onnx.helper.set_model_props(proto, metadata)
    onnx.save(proto, file)
    return images, wanted


@contextmanager
def _without_skipped_folding() -> Iterator[None]:
    """Hide onnxscript's warnings that it leaves an operator such as Split as it is, which changes no result."""
    logger = logging.getLogger("onnxscript.optimizer._constant_folding")

    def is_other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Skipping constant folding for op ")

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


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
