"""Reading of pickled results of other projects, without torch and without running code from the file.

Only plain values, numpy arrays, torch tensors and records such as BoxList are made; a tensor becomes a numpy array. A
file that names any other class is refused. Not even numpy's own functions that rebuild arrays are called as the file
asks: they take its word for types and addresses, so that a made-up file could read and write any memory.
"""

import collections
import io
import math
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


class _Dtype:
    """A type of numpy: numbers, text or bytes, whose size no later part of the file can change."""

    def __init__(self, code: Any, *_: Any):
        self.value = np.dtype(code if isinstance(code, str) else None)
        if self.value.kind not in "biufcSUO":
            raise PredictionError(f"holds an array of {self.value}; save only arrays of numbers")

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


class _Array:
    """An array of numpy, which becomes a real one where it is used."""

    def __init__(self, *_: Any):
        self.value = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, content = state
        self.value = _make_array(content, dtype, shape, "F" if is_fortran else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.value, dtype=dtype)


def _make_array(content: Any, dtype: _Dtype, shape: Any, order: str = "C") -> np.ndarray:
    """Make an array of bytes, or of a list of objects, which then are objects of this file."""
    if isinstance(content, list):
        values = np.empty(len(content), object)
        values[:] = content
    else:
        # Python 2 wrote bytes as text. numpy makes no objects of bytes.
        values = np.frombuffer(content.encode("latin1") if isinstance(content, str) else content, dtype.value)
    return values.reshape(shape, order=order)


def _make_scalar(dtype: _Dtype, content: Any) -> Any:
    return _make_array(content, dtype, (1,))[0]


class _Kind(NamedTuple):
    """A type of torch's storage, by its dtype."""

    dtype: np.dtype


# The names that a file may use, and what stands for them. Classes of results may lie in any package: forks rename it.
_RECORDS = {
    "structures.bounding_box.BoxList": type("BoxList", (Record,), {"kind": "BoxList"}),
    "models.relation_heads.approaches.relation_util.Result": type("Result", (Record,), {"kind": "Result"}),
    "torch.Size": tuple,
    "torch.device": type("device", (Record,), {"kind": "device"}),
    "collections.OrderedDict": collections.OrderedDict,
    "collections.defaultdict": collections.defaultdict,
    "builtins.list": list,
    "builtins.set": set,
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
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

        def read(name: str) -> bytes:
            if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
                # A small file could fill the memory.
                raise PredictionError("is compressed, as torch.save writes no file; save it again")
            return archive.read(name)

        def storage(key: str, dtype: np.dtype, size: int) -> np.ndarray:
            return np.frombuffer(read(f"{folder}/data/{key}"), dtype, size)

        return _Unpickler(io.BytesIO(read(main)), storage).load()


def _read_stream(content: bytes) -> Any:
    """Read a plain pickle, or torch's older format: pickles one after the other, then the numbers."""
    stream, storages = io.BytesIO(content), {}

    def storage(key: str, dtype: np.dtype, size: int) -> np.ndarray:
        # The numbers come after the pickle: an array that is filled below.
        return storages.setdefault(key, np.zeros(size, dtype))

    def load() -> Any:
        return _Unpickler(stream, storage).load()

    first = load()
    if not isinstance(first, int) or first != _LEGACY_MAGIC:
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
        # Protocols up to 2 have the names of Python 2; numpy 2 moved its functions.
        full = f"{module}.{name}".replace("__builtin__.", "builtins.").replace("numpy._core.", "numpy.core.")
        if module in ("torch", "torch.cuda") and name in _DTYPES:
            return _Kind(np.dtype(_DTYPES[name]))
        function = _FUNCTIONS.get(full)
        if function is not None:
            # A new one, because a file can set attributes of what it gets.
            return lambda *values: function(*values)
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
        if not isinstance(kind, _Kind):
            raise PredictionError("holds numbers of an unknown type; save only tensors of numbers")
        return self._storage(str(key), kind.dtype, int(size))


def _rebuild_tensor(storage: np.ndarray, offset: int, size: tuple, stride: tuple, *_: Any) -> np.ndarray:
    if not isinstance(storage, np.ndarray) or storage.ndim != 1 or not storage.flags.c_contiguous:
        # The length of another array does not say how much memory it has.
        raise PredictionError("a tensor has no numbers of its own; copy the file again")
    if len(size) and (min(size) < 0 or min(stride) < 0):
        raise PredictionError("a tensor has a negative size; copy the file again")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if all(size) else offset
    # A stride of 0 would make many values of one.
    if offset < 0 or last > len(storage) or (all(size) and last >= len(storage)) or math.prod(size) > len(storage):
        raise PredictionError("a tensor reaches beyond its numbers; copy the file again")
    steps = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], tuple(size), steps)


_FUNCTIONS = {
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy.core.multiarray.scalar": _make_scalar,
    # Since protocol 5 of pickle.
    "numpy.core.numeric._frombuffer": _make_array,
    # Bytes in protocol 2; only empty ones have their class.
    "builtins.bytes": lambda: b"",
    "_codecs.encode": lambda text, encoding="latin1": text.encode(encoding),
}
