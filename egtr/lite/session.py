"""The runtimes that compute an exported network: one file in, arrays out."""

import functools
import importlib.util
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from egtr.structures import ConfigurationError, WeightsError

if TYPE_CHECKING:
    import openvino

# Names of the tensors of an exported network, see egtr/export/network.py.
INPUT = "image"
OUTPUTS = ("logits", "boxes", "connectivity", "relation")
# OpenVINO keeps the metadata of an ONNX file there, and writes it into its own files.
RT_INFO = "framework"
# Precision of the calculation to OpenVINO's name of it. Whatever is int8 in the file stays int8.
PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
_CORE_LOCK = threading.Lock()


class Session(Protocol):
    """An opened network.

    Attributes:
        metadata: texts by key, which the export wrote: the record of the model, and how to rank.
    """

    metadata: dict[str, str]

    def run(self, image: np.ndarray) -> tuple[np.ndarray, ...]:
        """Compute the outputs of one image.

        Args:
            image: (1, 3, H, W) float32, 0..255.

        Returns:
            The arrays of OUTPUTS, in this order; shapes as :class:`egtr.export.network.ExportedNetwork` returns them.
        """


def open_session(
    path: str,
    providers: str | Sequence[str] | None = None,
    threads: int = 0,
    runtime: str | None = None,
    precision: str = "float32",
) -> Session:
    """Open an exported network.

    Args:
        path: the file.
        providers, threads, runtime, precision: see :class:`egtr.lite.LitePredictor`.

    Raises:
        ConfigurationError: the runtime is not installed, is not known, or lacks a provider or the precision; the
            number of threads is negative.
        WeightsError: the file is missing or broken.
    """
    if runtime is None:
        only_openvino = importlib.util.find_spec("onnxruntime") is None and importlib.util.find_spec("openvino")
        runtime = "openvino" if only_openvino or path.lower().endswith(".xml") else "onnxruntime"
    # A string is a sequence, too: of letters.
    providers = [providers] if isinstance(providers, str) else providers
    if threads < 0:
        raise ConfigurationError(f"threads is {threads}; give 0 for all cores, or the number of threads")
    if precision not in PRECISIONS:
        raise ConfigurationError(f"precision {precision!r}: give one of {', '.join(PRECISIONS)}")
    if runtime == "openvino":
        return OpenVINOSession(path, providers, threads, precision)
    if runtime != "onnxruntime":
        raise ConfigurationError(f"runtime {runtime!r}: give onnxruntime or openvino")
    if precision != "float32":
        raise ConfigurationError(f"precision {precision}: onnxruntime keeps to the file's; give runtime openvino")
    return OnnxSession(path, providers, threads)


class OnnxSession:
    """An ``.onnx`` file in onnxruntime; see :func:`open_session` for arguments and errors."""

    def __init__(self, path: str, providers: Sequence[str] | None = None, threads: int = 0):
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigurationError(
                "onnxruntime is missing, which runs exported models: pip install onnxruntime"
            ) from error
        wanted = list(providers or ["CPUExecutionProvider"])
        unknown = [name for name in wanted if name not in onnxruntime.get_available_providers()]
        if unknown:
            raise ConfigurationError(
                f"provider {', '.join(unknown)}: this onnxruntime has only "
                f"{', '.join(onnxruntime.get_available_providers())}. Install the onnxruntime package that has it"
            )
        if not os.path.isfile(path):
            raise WeightsError(f"{path}: there is no such file")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Warnings about nodes that constant folding could not improve say nothing to users.
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=wanted)
        except Exception as error:  # onnxruntime raises several kinds of its own, none of them public.
            raise WeightsError(f"{path}: onnxruntime cannot open it ({error}). Export the model again") from error
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, image: np.ndarray) -> tuple[np.ndarray, ...]:
        """Compute the outputs of one image; see :class:`Session`."""
        return tuple(self._session.run(list(OUTPUTS), {INPUT: image}))


class OpenVINOSession:
    """An ``.xml`` file with its ``.bin``, or an ``.onnx`` file, in OpenVINO; arguments as of :func:`open_session`."""

    def __init__(self, path: str, devices: Sequence[str] | None = None, threads: int = 0, precision: str = "float32"):
        core, wanted = openvino_core(), list(devices or ["CPU"])
        unknown = [name for name in wanted if name not in core.available_devices]
        if unknown:
            raise ConfigurationError(
                f"device {', '.join(unknown)}: this OpenVINO finds only {', '.join(core.available_devices)}"
            )
        files = [Path(path)] + ([Path(path).with_suffix(".bin")] if path.lower().endswith(".xml") else [])
        for file in files:
            if not file.is_file():
                raise WeightsError(f"{file}: there is no such file")
        # Left to itself, OpenVINO computes in bfloat16 on processors that have it.
        options = {"INFERENCE_PRECISION_HINT": PRECISIONS[precision], "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        device = wanted[0] if len(wanted) == 1 else f"AUTO:{','.join(wanted)}"
        try:
            model = core.read_model(path)
            self._compiled = core.compile_model(model, device, options)
        except RuntimeError as error:  # The only kind that OpenVINO raises.
            reason = " ".join(str(error).split())
            raise WeightsError(f"{path}: openvino cannot open it ({reason}). Export the model again") from error
        info = model.get_rt_info()
        keys = info[RT_INFO].keys() if RT_INFO in info else ()
        self.metadata = {key: str(model.get_rt_info([RT_INFO, key]).value) for key in keys}
        self._lock = threading.Lock()

    def run(self, image: np.ndarray) -> tuple[np.ndarray, ...]:
        """Compute the outputs of one image; see :class:`Session`."""
        # One request at a time: unlike a session of onnxruntime, a request cannot be used by two threads.
        with self._lock:
            found = self._compiled({INPUT: image})
            return tuple(found[name] for name in OUTPUTS)


def openvino_core() -> "openvino.Core":
    """Return OpenVINO's core, the only one of this process.

    Each core sets the stack on which the calling thread handles signals, and puts back the one before when it is
    destroyed. Two cores could leave a thread with a stack that is freed already; the next signal, such as Ctrl-C or
    the end of a child process, would then kill the process without a word.

    Raises:
        ConfigurationError: OpenVINO is not installed.
    """
    # If two threads ask at the same time, a cache without a lock gives each a core of its own.
    with _CORE_LOCK:
        return _make_core()


@functools.cache
def _make_core() -> "openvino.Core":
    try:
        import openvino
    except ImportError as error:
        raise ConfigurationError("openvino is missing, which runs .xml models: pip install openvino") from error
    return openvino.Core()
