"""The runtime that computes an exported network: one file in, arrays out."""

import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from egtr.structures import ConfigurationError, WeightsError

# Names of the tensors of an exported network, see egtr/export/network.py.
INPUT = "image"
OUTPUTS = ("logits", "boxes", "connectivity", "relation")


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


def open_session(path: str, providers: Sequence[str] | None = None, threads: int = 0) -> Session:
    """Open an exported network.

    Args:
        path: the file.
        providers: see :class:`egtr.lite.LitePredictor`.
        threads: threads of one operation; 0: as many as there are cores.

    Raises:
        ConfigurationError: the runtime is not installed, or lacks a provider.
        WeightsError: the file is missing or broken.
    """
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
