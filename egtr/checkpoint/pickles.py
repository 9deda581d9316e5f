"""Reading files of torch.save without running what is in them."""

import argparse
import pathlib
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from egtr.structures import EGTRError


class _Nothing:
    """Stands for an object that weights do not need. Making it does nothing, whatever it is made with."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


# What PyTorch Lightning puts beside "state_dict": hyper_parameters (a Namespace, an AttributeDict, paths), callbacks
# (named by their class before version 1.5; scores as numpy numbers), optimizer_states and loops (plain). What
# stands here is taken in place of what the names mean, so Lightning need not be installed.
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


def load_lightning_file(path: Path, unsafe_pickle: bool = False) -> Any:
    """The content of a file of ``torch.save``: tensors, plain values and what PyTorch Lightning adds to them.

    Args:
        path: the file.
        unsafe_pickle: read objects of any class, by which the file can run any code. For files of your own.

    Raises:
        EGTRError: the file needs other objects, which are named, or is damaged.
    """
    allowed = [(stand_in, name) for name, stand_in in _HARMLESS.items()]
    try:
        if unsafe_pickle:
            return torch.load(path, map_location="cpu", weights_only=False)
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        strangers, reason = _strangers(path, allowed), _reason(error)
        if not strangers and reason.startswith("Unsupported operand"):
            # A web page or a damaged file, not one to be read all the same.
            raise EGTRError(f"{path}: not a checkpoint of torch.save ({reason}). Copy it again") from error
        raise EGTRError(
            f"{path}: holds more than weights: {strangers or reason}. "
            "Making such objects can run code, so the file is refused. If you trust where it comes from, "
            "unsafe_pickle=True (--unsafe-pickle) reads it all the same"
        ) from error
    except (ImportError, AttributeError) as error:
        raise EGTRError(
            f"{path}: holds objects of a package that is not installed ({error}). Install it, or save the weights "
            "alone where it is"
        ) from error
    except (EOFError, OSError, RuntimeError) as error:
        raise EGTRError(f"{path}: the file is damaged or missing ({error}). Copy it again") from error


def _strangers(path: Path, allowed: list) -> str:
    """What the file asks for beyond plain values; "" where it cannot be told without reading it."""
    try:
        with torch.serialization.safe_globals(allowed):
            return ", ".join(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path)))
    except (ValueError, RuntimeError, pickle.UnpicklingError):
        return ""


def _reason(error: pickle.UnpicklingError) -> str:
    """Torch's own words without its advice, which comes before them."""
    found = re.search(r"(?:WeightsUnpickler error:\s*|\n\n)(\S.*)", str(error))
    return found.group(1) if found else str(error).splitlines()[0]
