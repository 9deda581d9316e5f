"""OpenVINO files (``.xml`` with ``.bin``), which check themselves before they are written."""

import logging
import os
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from egtr.data.sources import ImageStream, Source
from egtr.lite.predictor import LitePredictor
from egtr.lite.session import open_session, openvino_core
from egtr.modeling import EGTR
from egtr.structures import WriteError
from egtr.structures.agreement import share_of_triplets
from egtr.structures.files import replacing, writing
from egtr.structures.model_info import ModelInfo
from egtr.structures.scene_graph import OBJECT_THRESHOLD

from .int8 import IN_FLOAT, count_layers, quantize
from .network import check_outputs
from .onnx import require, trace

# Best triplets of an image that int8 is judged by, and the share of them that it must keep.
TOP_K, KEPT = 50, 0.965


def export_openvino(
    model: EGTR,
    info: ModelInfo,
    output: str | os.PathLike[str],
    size: tuple[int, int] | None = None,
    *,
    half: bool = False,
    object_threshold: float = OBJECT_THRESHOLD,
    calibration: Source | Iterable[Source] | None = None,
) -> dict[str, float]:
    """Write a model for OpenVINO, with its record in the ``rt_info``.

    The files are written only if OpenVINO agrees with PyTorch about images of several sizes.

    Args:
        model, info, size, half, object_threshold: see :func:`egtr.export.export_onnx`.
        output: the ``.xml`` file; a ``.bin`` of the same name holds the weights.
        calibration: images that show int8 which values occur, see :class:`egtr.data.sources.ImageStream`, arrays in
            RGB; about 100 of the kind that the model is for. None: no int8.

    Returns:
        The largest difference of each output, in float32. With int8 also "kept": the share of the 50 best triplets
        that int8 keeps, mean over the calibration images; and "int8": the share of layers that are int8.

    Raises:
        ConfigurationError: onnx, onnxscript, openvino or nncf is missing; the model has no relations, or PyTorch's
            exporter cannot trace it.
        DataError: a calibration image cannot be read.
        WriteError: a file cannot be written; the export differs from the model, or int8 keeps less than KEPT.
    """
    require("onnx", "onnxscript", "openvino")
    with tempfile.TemporaryDirectory() as folder:
        traced, file = Path(folder, "model.onnx"), Path(folder, "model.xml")
        images, wanted = trace(model, info, traced, size, half, object_threshold)
        convert(traced, file)
        found = check_outputs(open_session(str(file)).run, images, wanted, output)
        if calibration is not None:
            exact, file = LitePredictor(file), Path(folder, "int8.xml")
            samples = [source.read() for source in ImageStream(calibration, "RGB")]
            pixels = [exact.preprocess(image) for image in samples]
            # The parts of a model that lose too much stay in float.
            for step in range(len(IN_FLOAT)):
                convert(traced, file, pixels, step)
                found["kept"] = share_kept(exact, LitePredictor(file), samples)
                if found["kept"] >= KEPT:
                    break
            else:
                raise WriteError(
                    f"{output}: not written, since int8 keeps only {found['kept']:.1%} of the {TOP_K} best triplets "
                    f"of the calibration images, less than {KEPT:.1%}. Leave out --int8"
                )
            rounded, layers = count_layers(openvino_core().read_model(file))
            found["int8"] = rounded / layers
        write_files(file, output)
    return found


def convert(traced: Path, file: Path, calibration: Sequence[np.ndarray] | None = None, step: int = 0) -> None:
    """Convert an ONNX file, to int8 if there are images to calibrate with; see :func:`egtr.export.int8.quantize`."""
    import openvino

    # Not convert_model, which sends statistics to its makers.
    model = openvino_core().read_model(traced)
    if calibration is not None:
        model = quantize(model, calibration, step)
    # No weight is rounded in silence.
    openvino.save_model(model, file, compress_to_fp16=False)


def share_kept(exact: LitePredictor, rounded: LitePredictor, images: Sequence[np.ndarray]) -> float:
    """Compute the share of the best triplets that a second model keeps, mean over images."""
    with _without_doubts():
        return statistics.mean(
            share_of_triplets(exact(image, "RGB"), rounded(image, "RGB"), TOP_K) for image in images
        )


@contextmanager
def _without_doubts() -> Iterator[None]:
    """Hide the doubts of models about these graphs, which are only counted."""
    logger = logging.getLogger(LitePredictor.__module__)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def write_files(file: Path, output: str | os.PathLike[str]) -> None:
    """Copy a checked ``.xml`` and its ``.bin`` to their place; both are whole before either takes its name.

    Raises:
        WriteError: a file cannot be written.
    """
    weights = Path(output).with_suffix(".bin")
    with writing(output), replacing(output) as target, writing(weights), replacing(weights) as weights_target:
        target.write(file.read_bytes())
        weights_target.write(file.with_suffix(".bin").read_bytes())
