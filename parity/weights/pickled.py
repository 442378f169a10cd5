"""Arrays and tensors in pickles: the names that numpy, torch and Paddle write for them, bound to our own functions.

A pickle is a program for a small stack machine, and `pickle_machine` is a smaller such machine. Python's own Unpickler,
even with a `find_class` that refuses all, hashes whatever a file makes a key: a tuple nested a million deep ends the
process, and one that holds itself twice at each of forty levels takes forever.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity.errors import ParityError
from parity.numerics.arrays import Array
from parity.weights.pickle_machine import Buildable, Foreign, HostileError, Machine, described, make_mapping

_CODES = {"f4", "f8", "f2", "i8", "i4", "i2", "i1", "u1", "b1", "u2", "u4", "u8"}
_TEXTS = ("U", "S", "M", "m")  # of arrays that are no weights: names of classes, dates


def mapped_file(path: Path) -> mmap.mmap:
    """Return a memory map of a file: it returns no more bytes than there are, whatever size a pickle asks for."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class Leaf:
    """A tensor or an array of a file; nothing of it is read, or checked, before `array` is called."""

    @property
    def dtype(self) -> str:
        """Return the name of its dtype in the file, "bfloat16" too."""
        raise NotImplementedError

    def array(self) -> Array:
        """Return it as a view of the file; bfloat16, which numpy lacks, as float32.

        Raises:
            ParityError: If it claims what the file does not hold, or has a dtype that weights do not have.
        """
        raise NotImplementedError


def widened(halves: Array) -> Array:
    """Return bfloat16 numbers, given as uint16 of any strides, in float32: each is the upper half of one."""
    return (halves.astype("<u4") << np.uint32(16)).view("<f4")


class _DType(Buildable):
    """The result of numpy.dtype("f4", False, True) and its state (version, byte order, ...)."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False):
        if not isinstance(code, str):
            raise ParityError(f"dtype {described(code)} is refused")
        self.code, self.order = code, "<"

    def set(self, state: Any) -> None:
        self.order = state[1]

    def checked(self) -> np.dtype[Any]:
        if self.code not in _CODES:
            raise ParityError(f"dtype {described(self.code)} is refused")
        if self.order not in ("<", "|", "="):
            raise ParityError(f"byte order {described(self.order)} is refused")
        return np.dtype(self.code)


class _NDArray(Buildable, Leaf):
    """The result of numpy's _reconstruct and its state (version, shape, dtype, Fortran order, bytes)."""

    def __init__(self, *_: Any):
        self.state: tuple[Any, ...] | None = None

    def set(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.state = data, dtype, shape, "F" if fortran else "C"

    @property
    def text(self) -> bool:
        """Return whether it holds text or dates."""
        kind = self.state[1] if self.state is not None else None
        return isinstance(kind, _DType) and kind.code.startswith(_TEXTS)

    @property
    def dtype(self) -> str:
        kind = self.state[1] if self.state is not None else None
        code = kind.code if isinstance(kind, _DType) else "?"
        return "bfloat16" if code == "u2" else np.dtype(code).name if code in _CODES else code

    def array(self) -> Array:
        if self.state is None:
            raise ParityError("an array without numbers")
        found = _array(*self.state)
        return widened(found) if found.dtype == np.uint16 else found  # paddle.save writes bfloat16 so


def _array(data: Any, dtype: Any, shape: Any, order: Any) -> Array:
    if not isinstance(dtype, _DType):
        raise ParityError("an array is not of numpy's form")
    kind = dtype.checked()
    if not (isinstance(data, (bytes, memoryview)) and isinstance(shape, tuple) and len(shape) <= 32):
        raise ParityError("an array is not of numpy's form")
    if not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ParityError("an array's shape is not made of lengths")
    if len(data) != math.prod(shape) * kind.itemsize:
        raise ParityError(f"an array states the shape {shape} of {kind}, and holds {len(data)} bytes")
    flat = np.frombuffer(data, kind)
    return flat.reshape(shape[::-1]).T if order == "F" else flat.reshape(shape)


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> _NDArray:
    result = _NDArray()
    result.state = data, dtype, shape, order
    return result


def _scalar(dtype: Any, data: Any = b"") -> Any:
    """Return a number of numpy's; one of another kind is only shown."""
    if isinstance(dtype, _DType) and dtype.code in _CODES:
        return _array(data, dtype, (), "C")[()]
    return Foreign("numpy scalar", True)


def _encode(text: str, encoding: Any) -> bytes:
    if encoding != "latin1":
        raise ParityError(f"encoding {described(encoding)} is refused")
    return text.encode("latin1")  # protocol 2 writes bytes so


def _tuple(items: Any) -> tuple[Any, ...]:
    if not isinstance(items, tuple):
        raise ParityError(f"it makes a tuple of something {described(items)}")
    return items  # paddle.save writes a tensor as tuple((name, array))


def _attribute(owner: Any, name: Any) -> Foreign:
    """Return the stand-in for a member of a class: Python 3.11 pickles an Enum's so."""
    if not isinstance(owner, Foreign) or not isinstance(name, str) or not name.isidentifier():
        raise HostileError("it asks for builtins.getattr, which weights do not need; nothing was run")
    return Foreign(f"{owner.name}.{name}", True)


class Joined(Leaf):
    """An array of more than 2^30 bytes, which paddle.save cuts into flat parts under the pickle protocols 2 and 3."""

    def __init__(self, parts: list[Any], shape: tuple[int, ...]):
        self.parts, self.shape = parts, shape

    @property
    def dtype(self) -> str:  # noqa: D102
        return self.parts[0].dtype

    def array(self) -> Array:  # noqa: D102
        return np.concatenate([part.array() for part in self.parts]).reshape(self.shape)


@dataclass(frozen=True)
class Kind:
    """Stands for one of torch's storage classes, or its dtypes: the numbers in it."""

    name: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return numpy's dtype for its bytes."""
        return np.dtype("<u2" if self.name == "bfloat16" else self.name)


@dataclass(frozen=True)
class Storage:
    """The bytes of a tensor's storage, and what they hold; `kind` is a Kind where numpy has it."""

    content: memoryview
    kind: Any


class _Tensor(Leaf):
    """The result of torch._utils._rebuild_tensor_v2."""

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any, kind: Any = None):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides
        self.kind = kind if kind is not None or not isinstance(storage, Storage) else storage.kind

    @property
    def dtype(self) -> str:
        return self.kind.name.rpartition(".")[2] if isinstance(self.kind, (Kind, Foreign)) else "?"

    def array(self) -> Array:
        if not isinstance(self.storage, Storage):
            raise ParityError("a tensor has no storage")
        if not isinstance(self.kind, Kind):
            raise ParityError(f"a tensor has the dtype {self.dtype}, which numpy does not have")
        kind, content = self.kind.dtype, self.storage.content
        if math.prod(self.shape) * kind.itemsize > len(content):  # by strides of 0
            raise ParityError(f"a tensor claims the shape {tuple(self.shape)}, more than the file holds")
        strides = tuple(step * kind.itemsize for step in self.strides)
        try:  # numpy checks that it stays inside
            found = np.ndarray(self.shape, kind, content, self.offset * kind.itemsize, strides)
        except ValueError as error:
            raise ParityError(f"a tensor of the shape {tuple(self.shape)} reaches out of its storage") from error
        return widened(found) if self.kind.name == "bfloat16" else found


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


def _tensor_with_dtype(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> _Tensor:
    return _Tensor(storage, offset, shape, strides, rest[2])  # after requires_grad and hooks


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _from_array(array: Any, *_: Any) -> Any:
    return array


def _size(lengths: Any) -> Any:
    return tuple(lengths)


# Of Linear's and BatchNorm's numbers; what numpy lacks is a stand-in's name, and refused only where it is asked for.
_STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip
STORAGE_NAMES = {dtype: name for name, dtype in _STORAGES.items()}
_DTYPES = {**dict.fromkeys(_STORAGES.values()), "uint16": None, "uint32": None, "uint64": None}

ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): make_mapping,
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _NDArray,
    ("builtins", "tuple"): _tuple,
    ("__builtin__", "tuple"): _tuple,
    ("builtins", "getattr"): _attribute,
    ("__builtin__", "getattr"): _attribute,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _NDArray for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
    ("torch", "Size"): _size,
    **{("torch._utils", f"_rebuild_tensor{version}"): _tensor for version in ("", "_v2")},
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_with_dtype,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch._utils", "_rebuild_device_tensor_from_numpy"): _from_array,
    **{(place, name): Kind(dtype) for place in ("torch", "torch.cuda") for name, dtype in _STORAGES.items()},
    **{("torch", name): Kind(name) for name in _DTYPES},
}


class PickleMachine(Machine):
    """The machine for all of these; `storage` returns the bytes of one of torch's, by its key, kind and length."""

    def __init__(self, size: int, storage: Callable[[str, Any, int], Storage] | None = None):
        super().__init__(size, ALLOWED)
        self.storage = storage

    def step(self, name: str, argument: Any) -> None:
        """Run one instruction; a file of torch's has one more than others."""
        if name == "BINPERSID" and self.storage is not None:
            what, kind, *rest = self.stack.pop()
            if what == "module":  # before torch 1.6, a layer's class, and its source
                self.stack.append(kind)
                return
            key, _, count, *_ = rest
            self.stack.append(self.storage(key, kind, count))
        else:
            super().step(name, argument)
