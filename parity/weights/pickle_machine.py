"""A reduced stack machine for pickles: nothing that a file names is ever imported, built or run."""

from __future__ import annotations

import pickletools
from collections.abc import Mapping
from typing import Any

from parity.errors import ParityError

_LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_COLLECTIONS = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": list}
_LARGEST_KEY = 1 << 64  # a longer number takes long to hash, each time

# What a file of weights has no use for, and a file that attacks has. A stand-in could not harm, but such a file is no
# friend's: it is refused by that name.
_HOSTILE = {
    "_codecs", "_ctypes", "_io", "_operator", "_pickle", "asyncio", "bdb", "code", "codecs", "codeop", "ctypes", "dill",
    "cloudpickle", "http", "imp", "importlib", "io", "joblib", "marshal", "multiprocessing", "nt", "operator", "os",
    "pdb", "pickle", "pip", "platform", "posix", "profile", "cProfile", "pty", "pydoc", "requests", "runpy", "shutil",
    "signal", "site", "socket", "subprocess", "sys", "tempfile", "threading", "timeit", "trace", "urllib", "webbrowser",
}  # fmt: skip
_HOSTILE_NAMES = ("torch.hub.", "torch.load", "torch.serialization.", "torch.package.", "paddle.load", "paddle.hub.")
_BUILTINS = {
    "bool", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "range", "set", "slice", "str",
    "type",
}  # fmt: skip
_NUMPY = {
    "bool", "bool_", "complex128", "complex64", "float16", "float32", "float64", "int16", "int32", "int64", "int8",
    "str_", "uint16", "uint32", "uint64", "uint8",
}  # fmt: skip


class HostileError(ParityError):
    """A file that names what only an attack needs."""


class Buildable:
    """A stand-in for an object of the file, to which the instruction BUILD may give its state."""

    def set(self, state: Any) -> None:
        """Take the state; any exception means that the file is damaged."""
        raise NotImplementedError


class OrderedMapping(dict[str, Any]):
    """A stand-in for an OrderedDict, whose attributes are not read."""


def make_mapping(*_: Any) -> OrderedMapping:
    """Return an empty mapping; later instructions fill it."""
    return OrderedMapping()


class Foreign(Buildable):
    """A stand-in for a class or object of someone else's: shown, never imported or built.

    Attributes:
        name: "module.Class".
        made: Whether it stands for an object; else for the class or function itself.
        arguments: What the object would be made from.
        attributes: Those that the file gives the object.
        entries: What the file puts into it, if it is a mapping.
        elements: What the file appends to it, if it is a list.
    """

    def __init__(self, name: str, made: bool = False, arguments: tuple[Any, ...] = ()):
        self.name, self.made, self.arguments = name, made, arguments
        self.attributes = dict[Any, Any]()
        self.entries = dict[Any, Any]()
        self.elements = list[Any]()

    def set(self, state: Any) -> None:
        """Keep the attributes: a mapping of them, or a pair of two, the second for slots."""
        for part in state if isinstance(state, tuple) and len(state) == 2 else (state,):
            if isinstance(part, dict):
                self.attributes.update(part)


def described(value: Any) -> str:
    """Return a file's value for a message: short, on one line, and never a whole structure."""
    return repr(value[:60]) if isinstance(value, str) else f"of type {type(value).__name__}"


class Machine:
    """Runs a pickle's instructions, one at a time; any exception but ParityError means a damaged file."""

    def __init__(self, size: int, allowed: Mapping[tuple[str, str], Any]):
        self.size, self.allowed = size, allowed
        self.produced = 0  # bytes
        self.stack, self.marks = list[Any](), list[int]()
        self.memo = dict[int, Any]()

    def run(self, program: Any) -> Any:
        """Return the object in a pickle: bytes, or an open file."""
        for opcode, argument, _ in pickletools.genops(program):
            self.step(opcode.name, argument)
        return self.stack[-1]

    def step(self, name: str, argument: Any) -> None:
        """Run one instruction."""
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
        elif name in ("TUPLE", "FROZENSET"):
            stack.append(tuple(self._marked()))
        elif name in _COLLECTIONS:
            stack.append(_COLLECTIONS[name]())
        elif name in ("APPEND", "APPENDS", "ADDITEMS"):
            self._append(self._top(1) if name == "APPEND" else self._marked())
        elif name in ("SETITEM", "SETITEMS"):
            items = self._marked() if name == "SETITEMS" else self._top(2)
            self._set_items(items[::2], items[1::2])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            stack.append(self._look_up(*(argument.split(" ", 1) if name == "GLOBAL" else self._top(2))))
        elif name in ("REDUCE", "NEWOBJ") or name == "NEWOBJ_EX":
            self._make(name)
        elif name == "BUILD":
            self._build()
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise ParityError(f"it holds the instruction {name}, which weights do not need")

    def _make(self, name: str) -> None:
        function, arguments, *_ = self._top(3 if name == "NEWOBJ_EX" else 2)
        if isinstance(function, Foreign) and not function.made and isinstance(arguments, tuple):
            self.stack.append(Foreign(function.name, True, arguments))
        elif name == "REDUCE":
            self.stack.append(self.call(function, arguments))
        else:
            raise ParityError(f"it holds the instruction {name}, which weights do not need")

    def call(self, function: Any, arguments: Any) -> Any:
        """Return what one of the allowed functions makes of its arguments."""
        if not any(function is each for each in self.allowed.values()) or not isinstance(arguments, tuple):
            raise ParityError(f"it calls something {described(function)}")
        result = function(*arguments)
        self.produced += len(result) if isinstance(result, bytes) else 0
        if self.produced > self.size:
            raise ParityError(f"it makes more bytes than the {self.size} it has")
        return result

    def _build(self) -> None:
        (state,) = self._top(1)
        if not isinstance(self.stack[-1], OrderedMapping):  # it keeps versions there, which nobody needs
            self._expect(Buildable).set(state)

    def _top(self, count: int) -> list[Any]:
        items = self.stack[len(self.stack) - count :]
        if len(items) != count:
            raise ParityError("its instructions take more values than the stack holds")
        del self.stack[len(self.stack) - count :]
        return items

    def _marked(self) -> list[Any]:
        start = self.marks.pop()
        return self._top(max(0, len(self.stack) - start))

    def _expect(self, *kinds: Any) -> Any:
        top = self.stack[-1]
        if not isinstance(top, kinds) or (isinstance(top, Foreign) and not top.made):
            raise ParityError(f"it fills something {described(top)}")
        return top

    def _append(self, items: list[Any]) -> None:
        target = self._expect(list, Foreign)
        elements: list[Any] = target.elements if isinstance(target, Foreign) else target
        elements.extend(items)

    def _set_items(self, names: list[Any], values: list[Any]) -> None:
        target = self._expect(dict, Foreign)
        mapping = target.entries if isinstance(target, Foreign) else target
        for name, value in zip(names, values, strict=True):
            if not _is_key(name):
                raise ParityError(f"it holds a name {described(name)}")
            mapping[name] = value

    def _look_up(self, module: Any, name: Any) -> Any:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ParityError(f"it asks for a name {described(name)}")
        full = f"{module}.{name}"
        if (module, name) in self.allowed:
            return self.allowed[module, name]
        shown = full if full.isprintable() and len(full) <= 200 else described(full)
        if _is_hostile(module, name) or shown != full:
            raise HostileError(f"it asks for {shown}, which weights do not need; nothing was run")
        return Foreign(full)


def _is_key(name: Any) -> bool:
    """Return whether hashing it takes no longer than reading it did: a tuple may hold itself twice, at many levels."""
    return isinstance(name, (str, float)) or name is None or (isinstance(name, int) and abs(name) < _LARGEST_KEY)


def _is_hostile(module: str, name: str) -> bool:
    root = module.partition(".")[0]
    if root in ("builtins", "__builtin__"):
        return name not in _BUILTINS
    if root == "numpy":  # its functions read and write files
        return not (module == "numpy" and name in _NUMPY) and not module.startswith("numpy.random.")
    return root in _HOSTILE or f"{module}.{name}".startswith(_HOSTILE_NAMES)
