"""Reading of pickled results of other projects, without torch and without running code from the file.

Only plain values, numpy arrays, torch tensors and records such as BoxList are made; a tensor becomes a numpy array. A
file that names any other class is refused.
"""

import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from egtr.structures import PredictionError

# Begins a file that torch.save wrote before version 1.6.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    **{"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BoolStorage": "?"},
    **{"LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1"},
}
# Functions that rebuild numpy arrays; numpy 2 moved them.
_NUMPY = {
    "multiarray._reconstruct": np.empty(0).__reduce__()[0],
    "multiarray.scalar": np.float64().__reduce__()[0],
}


class Record:
    """An object of a foreign class: its attributes, and nothing that it could do.

    Attributes:
        kind: the name of the class, without its module.
    """

    kind = ""

    def __init__(self, *_: Any, **__: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        # Slots, or attributes of a class that has both.
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.__dict__.update(part)


class _Kind(NamedTuple):
    """A type of torch's storage, by its dtype."""

    dtype: np.dtype


# Classes of results, whatever package they lie in: forks rename it.
_RECORDS = {
    "structures.bounding_box.BoxList": type("BoxList", (Record,), {"kind": "BoxList"}),
    "models.relation_heads.approaches.relation_util.Result": type("Result", (Record,), {"kind": "Result"}),
    "torch.Size": tuple,
    "torch.device": type("device", (Record,), {"kind": "device"}),
    "collections.OrderedDict": collections.OrderedDict,
    "collections.defaultdict": collections.defaultdict,
    "builtins.list": list,
    "builtins.set": set,
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    "_codecs.encode": lambda text, encoding="latin1": text.encode(encoding),
}


def read_pickled(path: str | Path) -> Any:
    """Read a file of ``torch.save`` or ``pickle.dump``.

    Raises:
        PredictionError: the file cannot be read, is damaged, or holds objects of other classes than those above.
    """
    try:
        if zipfile.is_zipfile(path):
            return _read_zip(path)
        with open(path, "rb") as file:
            content = file.read()
        return _read_stream(content)
    except PredictionError as error:
        raise PredictionError(f"{path}: {error}") from error
    # A damaged pickle can raise nearly anything.
    except Exception as error:
        raise PredictionError(
            f"{path}: cannot be read as a file of torch.save or pickle ({error}); copy it again"
        ) from error


def _read_zip(path: str | Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        main = next((name for name in names if name.rpartition("/")[2] == "data.pkl"), None)
        if main is None:
            raise PredictionError("is a zip archive, but no file of torch.save")
        folder = main.rpartition("/")[0]

        def storage(key: str, dtype: np.dtype, size: int) -> np.ndarray:
            return np.frombuffer(archive.read(f"{folder}/data/{key}"), dtype, size)

        return _Unpickler(io.BytesIO(archive.read(main)), storage).load()


def _read_stream(content: bytes) -> Any:
    """Read a plain pickle, or torch's older format: pickles one after the other, then the numbers."""
    stream, storages = io.BytesIO(content), {}

    def storage(key: str, dtype: np.dtype, size: int) -> np.ndarray:
        # The numbers come after the pickle: an array that is filled below.
        return storages.setdefault(key, np.zeros(size, dtype))

    def load() -> Any:
        return _Unpickler(stream, storage).load()

    first = load()
    if first != _LEGACY_MAGIC:
        return first
    # A version, and facts about the machine.
    load(), load()
    result = load()
    for key in load():
        size = int(np.frombuffer(stream.read(8), "<i8")[0])
        array = storages[str(key)]
        if size != len(array):
            raise PredictionError(f"the numbers of tensor {key} do not fit; copy the file again")
        array[:] = np.frombuffer(stream.read(size * array.itemsize), array.dtype)
    return result


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, storage: Any):
        # Python 2 wrote some of these files.
        super().__init__(file, encoding="latin1")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if module in ("torch", "torch.cuda") and name in _DTYPES:
            return _Kind(np.dtype(_DTYPES[name]))
        if full == "torch._utils._rebuild_tensor_v2":
            return _rebuild_tensor
        if module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            function = _NUMPY.get(f"multiarray.{name}")
            if function is not None:
                return function
        if full in _RECORDS:
            return _RECORDS[full]
        # As "maskrcnn_benchmark.structures.bounding_box.BoxList".
        tail = full.partition(".")[2]
        if tail in _RECORDS and tail.startswith(("structures.", "models.")):
            return _RECORDS[tail]
        raise PredictionError(
            f"holds an object of {full}, whose making could run code, so the file is refused; save only the results, "
            "as tensors, arrays and BoxLists"
        )

    def persistent_load(self, pid: Any) -> np.ndarray:
        _, kind, key, _, size, *_ = pid
        return self._storage(str(key), kind.dtype, int(size))


def _rebuild_tensor(storage: np.ndarray, offset: int, size: tuple, stride: tuple, *_: Any) -> np.ndarray:
    if len(size) and (min(size) < 0 or min(stride) < 0):
        raise PredictionError("a tensor has a negative size; copy the file again")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if all(size) else offset
    if offset < 0 or last > len(storage) or (all(size) and last >= len(storage)):
        raise PredictionError("a tensor reaches beyond its numbers; copy the file again")
    steps = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], tuple(size), steps)
