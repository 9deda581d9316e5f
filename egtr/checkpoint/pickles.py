"""Reading pickles, of torch.save and of numpy arrays, without running code from them."""

import argparse
import pathlib
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.utils.file_io import PathManager

from egtr.structures import WeightsError


class _Nothing:
    """Stands for an object that weights do not need. Making it does nothing, whatever the arguments are."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


# PyTorch Lightning saves more beside "state_dict": hyper_parameters (a Namespace, an AttributeDict, paths), callbacks
# (named by their class before version 1.5; scores as numpy numbers), optimizer_states and loops (plain). The objects
# listed here take the place of the named ones, so Lightning need not be installed.
_HARMLESS: dict[str, Any] = {"argparse.Namespace": argparse.Namespace}
for _module in ("pathlib", "pathlib._local"):
    for _system in ("Posix", "Windows"):
        for _name in (f"{_system}Path", f"Pure{_system}Path"):
            _HARMLESS[f"{_module}.{_name}"] = getattr(pathlib, f"Pure{_system}Path")
for _module in (
    "pytorch_lightning.utilities.parsing",
    "lightning.pytorch.utilities.parsing",
    "lightning_fabric.utilities.data",
    "lightning.fabric.utilities.data",
):
    _HARMLESS[f"{_module}.AttributeDict"] = dict
for _package in ("pytorch_lightning", "lightning.pytorch"):
    for _name in (
        "model_checkpoint.ModelCheckpoint",
        "early_stopping.EarlyStopping",
        "lr_monitor.LearningRateMonitor",
    ):
        _HARMLESS[f"{_package}.callbacks.{_name}"] = _Nothing
for _module in ("numpy.core", "numpy._core"):
    _HARMLESS[f"{_module}.multiarray.scalar"] = np.float64().__reduce__()[0]
_HARMLESS["numpy.dtype"] = np.dtype
for _type in (np.float32, np.float64, np.int32, np.int64, np.bool_):
    _class = type(np.dtype(_type))
    _HARMLESS[f"numpy.dtypes.{_class.__name__}"] = _class

# The parts of a pickle of arrays. Anything else in a .pkl could run code while it is read.
_ARRAY_GLOBALS = {
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
}


def load_torch_file(path: str | Path, advice: str, unsafe_pickle: bool = False) -> Any:
    """Read a file of ``torch.save``: tensors, plain values and what PyTorch Lightning adds to them.

    Args:
        path: the file.
        advice: what to do about a file with other objects, for the message.
        unsafe_pickle: read objects of any class, which lets the file run any code. Only for files that you trust.

    Raises:
        WeightsError: the file needs other objects, which are named, or is damaged.
    """
    allowed = [(stand_in, name) for name, stand_in in _HARMLESS.items()]
    try:
        # By a path torch would let the ending decide about the format.
        with open(path, "rb") as file, torch.serialization.safe_globals([] if unsafe_pickle else allowed):
            return torch.load(file, map_location="cpu", weights_only=not unsafe_pickle)
    except pickle.UnpicklingError as error:
        strangers, reason = _strangers(path, allowed), _reason(error)
        if not strangers and reason.startswith("Unsupported operand"):
            # Damaged, or of an unknown kind: unsafe_pickle would not help.
            raise WeightsError(f"{path}: not a checkpoint of torch.save ({reason}). Copy it again") from error
        raise WeightsError(
            f"{path}: holds more than weights: {strangers or reason}. "
            f"Making such objects can run code, so the file is refused. {advice}"
        ) from error
    except (ImportError, AttributeError) as error:
        raise WeightsError(
            f"{path}: holds objects of a package that is not installed ({error}). Install it, or save only the "
            "weights on a machine that has it"
        ) from error
    except (EOFError, OSError, RuntimeError, ValueError, LookupError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"{path}: the file is damaged or missing ({reason}). Copy it again") from error


def _strangers(path: str | Path, allowed: list) -> str:
    """List the objects in a file beyond plain values; return "" if that is impossible without loading it."""
    try:
        with open(path, "rb") as file, torch.serialization.safe_globals(allowed):
            return ", ".join(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file)))
    except (ValueError, RuntimeError, pickle.UnpicklingError):
        return ""


def _reason(error: pickle.UnpicklingError) -> str:
    """Return torch's reason for refusing a file, without the advice in front."""
    found = re.search(r"(?:WeightsUnpickler error:\s*|\n\n)(\S.*)", str(error))
    return found.group(1) if found else str(error).splitlines()[0]


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAY_GLOBALS:
            raise pickle.UnpicklingError(f"{module}.{name} is not an array")
        return super().find_class(module, name)


def load_arrays(filename: str) -> dict[str, Any]:
    """Read a pickle of a dict that holds only arrays and plain values.

    Raises:
        WeightsError: the file holds other objects, is damaged, or holds no dict.
    """
    with PathManager.open(filename, "rb") as f:
        try:
            data = _ArrayUnpickler(f, encoding="latin1").load()
        except (pickle.UnpicklingError, EOFError, UnicodeDecodeError) as error:
            raise WeightsError(
                f"{filename}: not a pickle of arrays ({error}). Save it as .pth or .safetensors"
            ) from error
    if not isinstance(data, dict):
        raise WeightsError(f"{filename}: holds a {type(data).__name__}, expected a dict of arrays")
    return data
