"""Read and write Paddle's .pdparams files without executing them.

A .pdparams file is a pickle, and a pickle is a program for a small stack machine. This is a smaller such machine: it
has the instructions Paddle's writer uses, a few names bound to our functions, and mappings keyed by strings.
Python's own Unpickler, even with a `find_class` that refuses all, hashes whatever a file makes a key: a tuple nested a
million deep ends the process, and one that holds itself twice at each of forty levels takes forever.
"""

from __future__ import annotations

import math
import mmap
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parity.errors import ParityError
from parity.numerics.arrays import Array, pieces
from parity.weights.pickle_machine import Buildable, Machine, described, make_mapping

_CODES = {"f4", "f8", "f2", "i8", "i4", "i2", "i1", "u1", "b1"}


class _DType(Buildable):
    """The result of numpy.dtype("f4", False, True) and its state (version, byte order, ...)."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False):
        if not isinstance(code, str) or code not in _CODES:
            raise ParityError(f"dtype {described(code)} is refused")
        self.dtype = np.dtype(code)

    def set(self, state: Any) -> None:
        if state[1] not in ("<", "|", "="):
            raise ParityError(f"byte order {described(state[1])} is refused")


class _NDArray(Buildable):
    """The result of numpy's _reconstruct and its state (version, shape, dtype, Fortran order, bytes)."""

    def __init__(self, *_: Any):
        self.array: Array | None = None

    def set(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.array = _array(data, dtype, shape, "F" if fortran else "C")


def _array(data: Any, dtype: Any, shape: Any, order: Any) -> Array:
    if not (
        isinstance(dtype, _DType)
        and isinstance(data, (bytes, memoryview))
        and isinstance(shape, tuple)
        and len(shape) <= 32
    ):
        raise ParityError("an array is not of numpy's form")
    if not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ParityError("an array's shape is not made of lengths")
    if len(data) != math.prod(shape) * dtype.dtype.itemsize:
        raise ParityError(f"an array states the shape {shape} of {dtype.dtype}, and holds {len(data)} bytes")
    flat = np.frombuffer(data, dtype.dtype)
    return flat.reshape(shape[::-1]).T if order == "F" else flat.reshape(shape)


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> _NDArray:
    result = _NDArray()
    result.array = _array(data, dtype, shape, order)
    return result


def _encode(text: str, encoding: Any) -> bytes:
    if encoding != "latin1":
        raise ParityError(f"encoding {described(encoding)} is refused")
    return text.encode("latin1")  # protocol 2 writes bytes so


def _tuple(items: Any) -> tuple[Any, ...]:
    if not isinstance(items, tuple):
        raise ParityError(f"it makes a tuple of something {described(items)}")
    return items  # paddle.save writes a tensor as tuple((name, array))


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _NDArray,
    ("collections", "OrderedDict"): make_mapping,
    ("builtins", "tuple"): _tuple,
    ("__builtin__", "tuple"): _tuple,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _NDArray for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}


class _Mapped:
    """A memory map, as a file for pickletools: it reads long data as a view of the map, not as a copy."""

    def __init__(self, content: mmap.mmap):
        self.content = content
        self.tell, self.readline = content.tell, content.readline

    def read(self, count: int) -> bytes | memoryview:
        if count <= mmap.PAGESIZE:
            return self.content.read(count)
        start = self.tell()
        self.content.seek(min(start + count, len(self.content)))
        return memoryview(self.content)[start : start + count]


def read_pdparams(path: Path, mapped: bool = False) -> dict[str, Array]:
    """Return the arrays of a .pdparams file by name; if `mapped`, as views of the file, which must not change.

    Raises:
        ParityError: If it is missing, truncated, damaged, claims sizes it does not have, or names anything but arrays
            and containers. Nothing it names is ever run.
    """
    try:
        with path.open("rb") as file:
            # A memory map, unlike a file, returns no more bytes than there are, whatever size is asked for.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return _arrays(Machine(len(content), _ALLOWED).run(_Mapped(content) if mapped else content))
    except ParityError as error:
        raise ParityError(f"{path}: no .pdparams file, or a hostile one: {error}.") from error
    except OSError as error:
        raise ParityError(f"{path}: cannot read: {error.strerror or error}.") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise ParityError(f"{path}: no .pdparams file, or a damaged one: {error}.") from error


def _arrays(loaded: Any) -> dict[str, Array]:
    if not isinstance(loaded, dict):
        raise ParityError("it holds no mapping of names to arrays")
    _ = loaded.pop("StructuredToParameterName@@", None)  # Paddle's table of its own internal names
    arrays = {}
    for name, value in loaded.items():
        if isinstance(value, tuple) and len(value) == 2:
            value = value[1]  # (internal name, array)
        if not isinstance(value, _NDArray) or value.array is None:
            raise ParityError(f"{described(name)} is no array")
        arrays[name] = value.array
    return arrays


def write_pdparams(tensors: Mapping[str, Array], path: Path) -> None:
    """Write arrays as paddle.save writes a state dict; paddle.load reads it, under any version of numpy.

    They are written piece by piece: Python's own pickler would copy each, and hold all copies to the end.
    """
    with path.open("wb") as file:
        _ = file.write(b"\x80\x04}")
        for name, array in tensors.items():
            # name, (name, _reconstruct(ndarray, (0,), b"b") with the state (1, shape, dtype, C order, bytes))
            array_object = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + _literal((0,)) + b"C\x01b\x87R"
            state = b"(K\x01" + _literal(array.shape) + _literal(array.dtype) + b"\x89"
            _ = file.write(_literal(name) * 2 + array_object + state + b"\x8e" + array.nbytes.to_bytes(8, "little"))
            for piece in pieces(array):
                _ = file.write(piece)
            _ = file.write(b"tb\x86s")
        _ = file.write(b".")


def _literal(value: Any) -> bytes:
    return pickle.dumps(value, protocol=2)[2:-1]  # without the protocol before and the stop after it
