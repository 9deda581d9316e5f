"""OpenVINO files (``.xml`` with ``.bin``), which check themselves before they are written."""

import os
import tempfile
from pathlib import Path

from egtr.lite.session import open_session
from egtr.modeling import EGTR
from egtr.structures.files import replacing, writing
from egtr.structures.model_info import ModelInfo
from egtr.structures.scene_graph import OBJECT_THRESHOLD

from .network import check_outputs
from .onnx import require, trace


def export_openvino(
    model: EGTR,
    info: ModelInfo,
    output: str | os.PathLike[str],
    size: tuple[int, int] | None = None,
    *,
    half: bool = False,
    object_threshold: float = OBJECT_THRESHOLD,
) -> dict[str, float]:
    """Write a model for OpenVINO, with its record in the ``rt_info``.

    The files are written only if OpenVINO agrees with PyTorch about images of several sizes.

    Args:
        model, info, size, half, object_threshold: see :func:`egtr.export.export_onnx`.
        output: the ``.xml`` file; a ``.bin`` of the same name holds the weights.

    Returns:
        The largest difference of each output.

    Raises:
        ConfigurationError: onnx, onnxscript or openvino is missing; the model has no relations.
        WriteError: a file cannot be written; the export differs from the model.
    """
    require("onnx", "onnxscript", "openvino")
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        traced, file = Path(folder, "model.onnx"), Path(folder, "model.xml")
        images, wanted = trace(model, info, traced, size, half, object_threshold)
        # Not convert_model, which sends statistics to its makers. Without half, no weight is rounded in silence.
        openvino.save_model(openvino.Core().read_model(traced), file, compress_to_fp16=False)
        differences = check_outputs(open_session(str(file)).run, images, wanted, output)
        write_files(file, output)
    return differences


def write_files(file: Path, output: str | os.PathLike[str]) -> None:
    """Copy a checked ``.xml`` and its ``.bin`` to their place; both are whole before either takes its name.

    Raises:
        WriteError: a file cannot be written.
    """
    weights = Path(output).with_suffix(".bin")
    with writing(output), replacing(output) as target, writing(weights), replacing(weights) as weights_target:
        target.write(file.read_bytes())
        weights_target.write(file.with_suffix(".bin").read_bytes())
