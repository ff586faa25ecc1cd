"""Reads the pickles of MovieGraphs and of its features; nothing in them is ever run.

A pickle is a program that names functions to call. Here every name leads to something inert that is defined below, or to a plain
container; any other name is refused. Arrays and tensors come out as NumPy arrays, the published graph classes as objects with
attributes and nothing else.
"""

from __future__ import annotations

import io
import pickle
import re
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from emotion_perception.engine.errors import DatasetError, EmotionPerceptionError

# Numbers, booleans and texts; a data type that could hold objects or fields is none of these.
_PLAIN_DTYPE = re.compile(r"[<>|=]?(?:[biufcSU]\d+|\?|[bBhHiIlLqQefd])")
_TORCH_DTYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4"}
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C


def read_pickles(file: str | Path, count: int) -> list[Any]:
    """Reads a file that holds several pickles, one after the other.

    Args:
        file: The file.
        count: How many it must hold at least.

    Returns:
        What the first ``count`` hold; texts of Python 2 are read as latin-1, as the published loader does.

    Raises:
        DatasetError: The file cannot be read, is damaged, or wants something that the published files do not need.
    """
    path = Path(file)
    try:
        with path.open("rb") as stream:
            return [_Reader(stream).load() for _ in range(count)]
    except OSError as error:
        raise DatasetError(f"cannot read {str(path)!r}: {error.strerror or error}") from None
    except EmotionPerceptionError as error:
        raise DatasetError(f"{str(path)!r} {error}") from None
    except EOFError:
        raise DatasetError(f"{str(path)!r} ends too early, expected {count} pickle{'s' if count > 1 else ''}; copy it again") from None
    except Exception as error:  # a damaged pickle may raise anything
        raise DatasetError(f"{str(path)!r} is not a whole pickle ({type(error).__name__}: {error}); copy it again") from None


class _Sealed(type):
    """Classes that a pickle cannot change."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise DatasetError(f"wants to change {cls.__name__}.{name}, which is refused")


class Inert(metaclass=_Sealed):
    """Stands in for an object of a published class: it has that object's attributes, and does nothing."""


class _Rebuilt(metaclass=_Sealed):
    """Stands in for ``copyreg._reconstructor``."""

    def __new__(cls, kind: object, *_: object) -> Any:
        if kind is not Inert:
            raise DatasetError("rebuilds an object of a class that is none of MovieGraphs', which is refused")
        return Inert()


class _Latin1(metaclass=_Sealed):
    """Stands in for ``_codecs.encode``, by which old protocols store bytes."""

    def __new__(cls, text: str, encoding: str = "latin1") -> Any:
        return str(text).encode("latin1")


class _Dtype(metaclass=_Sealed):
    """Stands in for ``numpy.dtype``, of plain types only."""

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or not _PLAIN_DTYPE.fullmatch(code):
            raise DatasetError(f"has an array of type {str(code)[:40]!r}, which is refused; expected numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray[Any, Any]):
    """An array that takes only a state with a plain type and as many bytes as its shape needs."""

    def __setstate__(self, state: Any, /) -> None:
        _, shape, kind, is_fortran, content = state
        if not isinstance(kind, _Dtype) or not isinstance(content, bytes):
            raise DatasetError("has an array of objects, which is refused; expected numbers")
        checked: Any = 1, tuple(map(int, shape)), kind.dtype, bool(is_fortran), content
        super().__setstate__(checked)


class _EmptyArray(metaclass=_Sealed):
    """Stands in for NumPy's function that makes the array whose state follows."""

    def __new__(cls, *_: object) -> Any:
        return np.empty(0, np.uint8).view(_Array)


class _ArrayOf(metaclass=_Sealed):
    """Stands in for NumPy's function that makes an array of a buffer, in protocol 5."""

    def __new__(cls, content: Any, kind: Any, shape: Any, order: str = "C") -> Any:
        values = np.frombuffer(bytes(content), kind.dtype)
        return values.reshape(tuple(map(int, shape)), order="F" if order == "F" else "C")


class _Scalar(metaclass=_Sealed):
    """Stands in for NumPy's function that makes a number."""

    def __new__(cls, kind: Any, content: Any) -> Any:
        return np.frombuffer(content, kind.dtype, count=1)[0]


class _Storage(metaclass=_Sealed):
    """Stands in for torch's function that reads the values of a tensor: a file in its old format, within the pickle."""

    def __new__(cls, content: Any) -> Any:
        stream = io.BytesIO(content)
        if _Reader(stream).load() != _TORCH_MAGIC:
            raise DatasetError("has a tensor in a format that is not known; expected that of torch.save before zip files")
        _Reader(stream).load(), _Reader(stream).load()  # version, and facts about the machine
        dtype = _StorageReader(stream).load()
        _Reader(stream).load()  # names of the storages; there is one
        count = int.from_bytes(stream.read(8), "little")
        return np.frombuffer(stream.read(), dtype, count)


class _Tensor(metaclass=_Sealed):
    """Stands in for torch's function that makes a tensor of stored values."""

    def __new__(cls, values: Any, offset: int, shape: Any, strides: Any, *_: object) -> Any:
        shape, strides = [int(size) for size in shape], [int(stride) for stride in strides]
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        if not isinstance(values, np.ndarray) or offset < 0 or min(strides, default=0) < 0 or (0 not in shape and last >= values.size):
            raise DatasetError("has a tensor beyond its values, which is refused")
        view = np.lib.stride_tricks.as_strided(values[offset:], shape, [stride * values.itemsize for stride in strides])
        return view.copy()


class _Reader(pickle.Unpickler):
    """Knows the names that the published files need, and no other."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands in for a name; raises `DatasetError` for any that is not known."""
        if module == "GraphClasses" or (module.startswith("networkx.classes.") and name.endswith("Graph")):
            return Inert
        found = _KNOWN.get((module.replace("numpy._core", "numpy.core").replace("__builtin__", "builtins"), name))
        if found is None:
            raise DatasetError(f"wants {module}.{name}, which MovieGraphs does not need; refused, nothing of it was run")
        return found


class _StorageReader(_Reader):
    """Reads the reference to the values of a tensor."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _TORCH_DTYPES:
            return np.dtype(_TORCH_DTYPES[name])
        return super().find_class(module, name)

    def persistent_load(self, reference: Any) -> Any:
        if not isinstance(reference, tuple) or len(reference) < 2 or not isinstance(reference[1], np.dtype):
            raise DatasetError("has a tensor of a kind that is refused; expected numbers")
        return reference[1]


_KNOWN: Mapping[tuple[str, str], Any] = {
    **{("builtins", kind.__name__): kind for kind in (dict, list, set, frozenset, tuple, bytes, int, float, object)},
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("copy_reg", "_reconstructor"): _Rebuilt,
    ("copyreg", "_reconstructor"): _Rebuilt,
    ("_codecs", "encode"): _Latin1,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): Inert,
    ("numpy.core.multiarray", "_reconstruct"): _EmptyArray,
    ("numpy.core.multiarray", "scalar"): _Scalar,
    ("numpy.core.numeric", "_frombuffer"): _ArrayOf,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch.storage", "_load_from_bytes"): _Storage,
}
