"""Checkpoints on the disk: written whole or not at all, and checked before they are used."""

import contextlib
import errno
import logging
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from egtr.structures import ConfigurationError, ModelInfo, WeightsError, WriteError
from egtr.structures.files import PART, replacing
from egtr.structures.model_info import METADATA_KEY

logger = logging.getLogger(__name__)

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# The first bytes of a zip file, which torch.save has written since torch 1.6.
_ZIP_MAGIC = b"PK\x03\x04"


def write_checkpoint(path: str, content: dict[str, Any]) -> None:
    """Save by ``torch.save``, and leave ``path`` as it was unless the new file can be read back without an error.

    Raises:
        WriteError: it cannot be written; the message says what to do.
    """
    try:
        with replacing(path) as file:
            torch.save(content, file)
            file.flush()
            verify_checkpoint(file.name)
    # torch wraps errors of writing into errors of its own.
    except (OSError, RuntimeError) as error:
        raise WriteError(
            f"{path}: cannot be written ({describe_write_error(error)}). Earlier checkpoints are as they were. "
            "Make room or choose another OUTPUT_DIR, then go on with --resume"
        ) from error


def export_weights(
    model: nn.Module | Mapping[str, torch.Tensor],
    path: str | Path,
    half: bool = False,
    info: ModelInfo | None = None,
) -> int:
    """Write a model-only file for sharing.

    Args:
        model: a model or its state dict.
        path: ``.safetensors``, or ``.pth`` for a Detectron2 checkpoint, which ``DefaultPredictor`` reads too.
        half: store the weights of linear, embedding and convolution layers (2-D and 4-D tensors) as float16.
            Everything else (norm statistics, biases, the frequency table) is small and keeps its precision.
        info: the record of the model, for the metadata of a ``.safetensors``.

    Returns:
        Size of the file in bytes.

    Raises:
        ConfigurationError: the path ends in something else.
        WriteError: the file cannot be written; an older one stays as it was.
    """
    path = Path(path)
    if path.suffix not in (".safetensors", ".pth"):
        raise ConfigurationError(f"{path}: weights are written as .safetensors or .pth; choose one of these endings")
    state_dict = model.state_dict() if isinstance(model, nn.Module) else model
    tensors: dict[str, torch.Tensor] = {}
    written: set[tuple] = set()
    for name, tensor in state_dict.items():
        tensor = tensor.detach().cpu()
        # Shared tensors are written once, under their first name: loading fills all their names.
        storage = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.numel() and storage in written:
            continue
        written.add(storage)
        if half and tensor.dtype == torch.float32 and tensor.ndim in (2, 4):
            tensor = tensor.half()
        tensors[name] = tensor.clone(memory_format=torch.contiguous_format)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as file:
            if path.suffix == ".safetensors":
                save_file(tensors, file.name, {METADATA_KEY: info.to_json()} if info else None)
            else:
                torch.save({"model": tensors}, file)
    # torch and safetensors wrap errors of writing into errors of their own.
    except (OSError, RuntimeError, SafetensorError) as error:
        raise WriteError(
            f"{path}: cannot be written ({describe_write_error(error)}); name a place that has room and is open"
        ) from error
    return path.stat().st_size


def check_finite(model: nn.Module, what: str) -> None:
    """Refuse weights that are NaN or infinite, so that they never replace good ones.

    Buffers may be infinite, as masks are, but not NaN.

    Args:
        model: the model.
        what: the beginning of the message.

    Raises:
        WeightsError: a parameter or buffer of the model is not finite.
    """
    for kind, named, is_bad in (
        ("parameter", model.named_parameters(), lambda tensor: not torch.isfinite(tensor).all()),
        ("buffer", model.named_buffers(), lambda tensor: torch.isnan(tensor).any()),
    ):
        for name, tensor in named:
            if is_bad(tensor.detach()):
                raise WeightsError(
                    f"{what}: is not written, because the {kind} {name} is not finite (NaN or infinite): training "
                    "has diverged. Earlier checkpoints are as they were: go on from one by --resume, or "
                    "start again, with a lower SOLVER.BASE_LR"
                )


def describe_write_error(error: BaseException) -> str:
    """Describe an error of writing in the words of the operating system, even if torch has wrapped it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def is_full_disk(error: BaseException) -> bool:
    """Tell if a write was stopped by a full disk, a quota or the largest permitted file."""
    return isinstance(error, OSError) and error.errno in _NO_SPACE


def verify_checkpoint(path: str) -> None:
    """Read a file of ``torch.save`` and compare every part of it with the checksum written with it.

    Files of other formats pass, because they have no checksums.

    Raises:
        WeightsError: the file is cut off, or a bit of it has changed.
    """
    with open(path, "rb") as file:
        magic = file.read(len(_ZIP_MAGIC))
        # A power cut may leave a file of length 0.
        if magic and magic != _ZIP_MAGIC:
            return
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        OSError,
    ) as error:
        raise WeightsError(f"{path}: the file is damaged ({error})") from error
    if broken is not None:
        raise WeightsError(f"{path}: the file is damaged (checksum of {broken})")


def list_checkpoints(folder: str) -> list[str]:
    """List the checkpoints from which a run can resume: the one in ``last_checkpoint``, then the newest first."""
    found = [path for path in Path(folder).glob("model_*.pth") if re.fullmatch(r"model_(\d{7,}|final)", path.stem)]
    found.sort(key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
    with contextlib.suppress(OSError, UnicodeDecodeError, ValueError):
        name = Path(folder, "last_checkpoint").read_text().strip()
        last = Path(folder, name)
        if name and last.is_file():
            found = [last, *(path for path in found if path != last)]
    return [str(path) for path in found]


def remove_old_checkpoints(folder: str, keep: int, iteration: int) -> None:
    """Delete periodic checkpoints up to ``iteration``, except the ``keep`` newest, by the number in their name."""
    numbered = {}
    for path in Path(folder).glob("model_*.pth"):
        number = re.fullmatch(r"model_(\d{7,})", path.stem)
        if number and int(number[1]) <= iteration:
            numbered[int(number[1])] = path
    for number in sorted(numbered)[:-keep]:
        numbered[number].unlink(missing_ok=True)


def remove_leftovers(folder: str) -> None:
    """Delete half-written files of a killed process."""
    for path in Path(folder).glob(f"*{PART}"):
        logger.info("%s: left by a run that was killed while it wrote; removed", path)
        path.unlink(missing_ok=True)
