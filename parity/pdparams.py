"""Read and write Paddle's .pdparams files without executing them.

A .pdparams file is a pickle, and a pickle is a program. Two gates stand before it: a scan that admits only the opcodes
Paddle's writer uses, with sizes the file can keep; then an unpickler whose every name is one of ours, so that nothing
of numpy or anybody else is called with the file's words.
"""

from __future__ import annotations

import collections
import math
import mmap
import pickle
import pickletools
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from parity.errors import ParityError
from parity.state import Array

_OPCODES = {
    "PROTO", "FRAME", "STOP", "MARK", "EMPTY_DICT", "DICT", "EMPTY_LIST", "LIST", "EMPTY_TUPLE", "TUPLE",
    "TUPLE1", "TUPLE2", "TUPLE3", "SETITEM", "SETITEMS", "APPEND", "APPENDS", "GLOBAL", "STACK_GLOBAL",
    "REDUCE", "BUILD", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINPUT",
    "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET",
}  # fmt: skip
_CODES = {"f4", "f8", "f2", "i8", "i4", "i2", "i1", "u1", "b1"}


class _DType:
    """What numpy.dtype("f4", False, True) and its state (version, byte order, ...) come to."""

    def __init__(self, code: str, align: bool = False, copy: bool = False):
        if code not in _CODES:
            raise ParityError(f"dtype {code!r} is refused")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", "|", "="):
            raise ParityError(f"byte order {state[1]!r} is refused")


class _NDArray:
    """What numpy's _reconstruct and its state (version, shape, dtype, Fortran order, bytes) come to."""

    def __init__(self, *_: Any):
        self.array: Array | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.array = _array(data, dtype, shape, "F" if fortran else "C")


def _array(data: Any, dtype: Any, shape: Any, order: str) -> Array:
    if not (isinstance(dtype, _DType) and isinstance(data, bytes) and isinstance(shape, tuple)):
        raise ParityError("an array is not of numpy's form")
    if not all(isinstance(n, int) and n >= 0 for n in shape) or len(data) != math.prod(shape) * dtype.dtype.itemsize:
        raise ParityError(f"an array says its shape is {shape} of {dtype.dtype}, and holds {len(data)} bytes")
    flat = np.frombuffer(data, dtype.dtype)
    return flat.reshape(shape[::-1]).T if order == "F" else flat.reshape(shape)


def _frombuffer(data: Any, dtype: Any, shape: Any, order: str) -> _NDArray:
    made = _NDArray()
    made.array = _array(data, dtype, shape, order)
    return made


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ParityError(f"encoding {encoding!r} is refused")
    return text.encode("latin1")  # how protocol 2 spells bytes


def _make_tuple(items: Any) -> tuple[Any, ...]:
    return tuple(items)  # paddle.save spells a tensor as tuple((name, array))


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _NDArray,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "tuple"): _make_tuple,
    ("__builtin__", "tuple"): _make_tuple,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _NDArray for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise ParityError(f"it asks for {module}.{name}, which weights have no need of; nothing was run") from None


def read_pdparams(path: Path) -> dict[str, Array]:
    """Return the arrays of a .pdparams file by name.

    Raises:
        ParityError: If it is missing, truncated, damaged, claims sizes it does not have, or names anything but arrays
            and containers. Nothing it names is ever run.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            # A memory map, unlike a file, hands out no more bytes than there are, whatever size is asked for.
            for opcode, argument, _ in pickletools.genops(cast(IO[bytes], content)):
                if opcode.name not in _OPCODES:
                    raise ParityError(f"it holds the instruction {opcode.name}, which weights have no need of")
                if opcode.name == "LONG_BINPUT" and (argument or 0) > len(content):
                    raise ParityError(f"it asks for a table of {argument} entries")
            content.seek(0)
            loaded = _Unpickler(cast(IO[bytes], content)).load()
        return _arrays(loaded)
    except ParityError as error:
        raise ParityError(f"{path}: no .pdparams file, or a hostile one: {error}.") from error
    except OSError as error:
        raise ParityError(f"{path}: cannot read: {error.strerror or error}.") from error
    except Exception as error:  # a damaged pickle can trip its reader in any way
        raise ParityError(f"{path}: no .pdparams file, or a damaged one: {error}.") from error


def _arrays(loaded: Any) -> dict[str, Array]:
    if not isinstance(loaded, dict):
        raise ParityError("it holds no mapping of names to arrays")
    _ = loaded.pop("StructuredToParameterName@@", None)  # Paddle's table of its own internal names
    arrays = {}
    for name, value in loaded.items():
        if isinstance(value, tuple) and len(value) == 2:
            value = value[1]  # (internal name, array)
        if not isinstance(name, str) or not isinstance(value, _NDArray) or value.array is None:
            raise ParityError(f"{name!r} is no array")
        arrays[name] = value.array
    return arrays


def write_pdparams(tensors: Mapping[str, Array], path: Path) -> None:
    """Write arrays as paddle.save writes a state dict; paddle.load reads it."""
    content = {name: (name, np.ascontiguousarray(array)) for name, array in tensors.items()}
    with path.open("wb") as file:
        pickle.dump(content, file, protocol=4)
