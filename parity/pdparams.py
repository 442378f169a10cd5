"""Read and write Paddle's .pdparams files without executing them.

A .pdparams file is a pickle, and a pickle is a program for a small stack machine. Here is that machine with less in
it: the instructions Paddle's writer uses, a few names that stand for functions of ours, mappings keyed by strings.
Python's own Unpickler, even with `find_class` closed, hashes whatever a file makes a key: a tuple nested a million
deep ends the process, and one that holds itself twice at each of forty levels takes forever.
"""

from __future__ import annotations

import math
import mmap
import pickle
import pickletools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parity.errors import ParityError
from parity.state import Array
from parity.stream import pieces

_LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_CODES = {"f4", "f8", "f2", "i8", "i4", "i2", "i1", "u1", "b1"}


class Buildable:
    """What the instruction BUILD may fill: a stand-in for something of the file's that takes its state apart."""

    def set(self, state: Any) -> None:
        """Take the state; any exception means that the file is damaged."""
        raise NotImplementedError


class _DType(Buildable):
    """What numpy.dtype("f4", False, True) and its state (version, byte order, ...) come to."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False):
        if not isinstance(code, str) or code not in _CODES:
            raise ParityError(f"dtype {_shown(code)} is refused")
        self.dtype = np.dtype(code)

    def set(self, state: Any) -> None:
        if state[1] not in ("<", "|", "="):
            raise ParityError(f"byte order {_shown(state[1])} is refused")


class _NDArray(Buildable):
    """What numpy's _reconstruct and its state (version, shape, dtype, Fortran order, bytes) come to."""

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
        raise ParityError(f"an array says its shape is {shape} of {dtype.dtype}, and holds {len(data)} bytes")
    flat = np.frombuffer(data, dtype.dtype)
    return flat.reshape(shape[::-1]).T if order == "F" else flat.reshape(shape)


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> _NDArray:
    made = _NDArray()
    made.array = _array(data, dtype, shape, order)
    return made


def _encode(text: str, encoding: Any) -> bytes:
    if encoding != "latin1":
        raise ParityError(f"encoding {_shown(encoding)} is refused")
    return text.encode("latin1")  # how protocol 2 spells bytes


def _tuple(items: Any) -> tuple[Any, ...]:
    if not isinstance(items, tuple):
        raise ParityError(f"it makes a tuple of something {_shown(items)}")
    return items  # paddle.save spells a tensor as tuple((name, array))


def make_mapping() -> dict[str, Any]:
    """Return an empty mapping, which instructions of their own will fill."""
    return {}


_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _NDArray,
    ("collections", "OrderedDict"): make_mapping,
    ("builtins", "tuple"): _tuple,
    ("__builtin__", "tuple"): _tuple,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _NDArray for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}


def _shown(value: Any) -> str:
    """Return a file's word for a message: short, on one line, and never the whole of a structure."""
    return repr(value[:60]) if isinstance(value, str) else f"of type {type(value).__name__}"


class Machine:
    """Carries out a pickle's instructions, one at a time; any other exception than ParityError is a damaged file."""

    def __init__(self, size: int, admitted: Mapping[tuple[str, str], Any]):
        self.size, self.made, self.admitted = size, 0, admitted
        self.stack, self.marks, self.memo = list[Any](), list[int](), dict[int, Any]()

    def run(self, program: Any) -> Any:
        """Return what the pickle in these bytes, or in this file, makes."""
        for opcode, argument, _ in pickletools.genops(program):
            self.step(opcode.name, argument)
        return self.stack[-1]

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        stack = self.stack
        if name in ("FRAME", "LONG_BINPUT") and argument > self.size:
            raise ParityError(f"its instruction {name} claims {argument}, and the file has {self.size} bytes")
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            stack.append(tuple(self._top(_TUPLES[name])))
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(self._marked()))
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if name == "EMPTY_LIST" else {})
        elif name in ("APPEND", "APPENDS"):
            items = self._marked() if name == "APPENDS" else self._top(1)
            self._expect(list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._marked() if name == "SETITEMS" else self._top(2)
            self._set_items(items[::2], items[1::2])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            stack.append(self._admit(*(argument.split(" ", 1) if name == "GLOBAL" else self._top(2))))
        elif name == "REDUCE":
            stack.append(self._call(*self._top(2)))
        elif name == "BUILD":
            (state,) = self._top(1)
            self._expect(Buildable).set(state)
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise ParityError(f"it holds the instruction {name}, which weights have no need of")

    def _call(self, function: Any, arguments: Any) -> Any:
        if not any(function is admitted for admitted in self.admitted.values()) or not isinstance(arguments, tuple):
            raise ParityError(f"it calls something {_shown(function)}")
        made = function(*arguments)
        self.made += len(made) if isinstance(made, bytes) else 0
        if self.made > self.size:
            raise ParityError(f"it makes more bytes than the {self.size} it has")
        return made

    def _top(self, count: int) -> list[Any]:
        taken = self.stack[len(self.stack) - count :]
        if len(taken) != count:
            raise ParityError("its instructions take more than they were given")
        del self.stack[len(self.stack) - count :]
        return taken

    def _marked(self) -> list[Any]:
        start = self.marks.pop()
        return self._top(max(0, len(self.stack) - start))

    def _expect(self, kind: Any) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise ParityError(f"it fills something {_shown(self.stack[-1])}")
        return self.stack[-1]

    def _set_items(self, names: list[Any], values: list[Any]) -> None:
        mapping = self._expect(dict)
        for name, value in zip(names, values, strict=True):
            if not isinstance(name, str):
                raise ParityError(f"it holds a name {_shown(name)}")
            mapping[name] = value

    def _admit(self, module: Any, name: Any) -> Any:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ParityError(f"it asks for a name {_shown(name)}")
        if (module, name) not in self.admitted:
            asked = f"{module}.{name}"
            asked = asked if asked.isprintable() and len(asked) <= 200 else _shown(asked)
            raise ParityError(f"it asks for {asked}, which weights have no need of; nothing was run")
        return self.admitted[module, name]


class _Mapped:
    """A memory map as pickletools reads files: what is long comes as a view of it, not as a copy."""

    def __init__(self, content: mmap.mmap):
        self.content, self.tell, self.readline = content, content.tell, content.readline

    def read(self, count: int) -> bytes | memoryview:
        if count <= mmap.PAGESIZE:
            return self.content.read(count)
        start = self.tell()
        self.content.seek(min(start + count, len(self.content)))
        return memoryview(self.content)[start : start + count]


def read_pdparams(path: Path, mapped: bool = False) -> dict[str, Array]:
    """Return the arrays of a .pdparams file by name; where `mapped`, as views of the file, which must stay as it is.

    Raises:
        ParityError: If it is missing, truncated, damaged, claims sizes it does not have, or names anything but arrays
            and containers. Nothing it names is ever run.
    """
    try:
        with path.open("rb") as file:
            # A memory map, unlike a file, hands out no more bytes than there are, whatever size is asked for.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return _arrays(Machine(len(content), _ADMITTED).run(_Mapped(content) if mapped else content))
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
        if not isinstance(value, _NDArray) or value.array is None:
            raise ParityError(f"{_shown(name)} is no array")
        arrays[name] = value.array
    return arrays


def write_pdparams(tensors: Mapping[str, Array], path: Path) -> None:
    """Write arrays as paddle.save writes a state dict; paddle.load reads it, under any version of numpy.

    They are written piece by piece: Python's own pickler would copy each, and keep the copies to the end.
    """
    with path.open("wb") as file:
        _ = file.write(b"\x80\x04}")
        for name, array in tensors.items():
            # name, (name, _reconstruct(ndarray, (0,), b"b") with the state (1, shape, dtype, C order, bytes))
            made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + _literal((0,)) + b"C\x01b\x87R"
            state = b"(K\x01" + _literal(array.shape) + _literal(array.dtype) + b"\x89"
            _ = file.write(_literal(name) * 2 + made + state + b"\x8e" + array.nbytes.to_bytes(8, "little"))
            for piece in pieces(array):
                _ = file.write(piece)
            _ = file.write(b"tb\x86s")
        _ = file.write(b".")


def _literal(value: Any) -> bytes:
    return pickle.dumps(value, protocol=2)[2:-1]  # without the protocol before and the stop behind
