"""A reduced stack machine for pickles: nothing that a file names is ever run."""

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


class Buildable:
    """A stand-in for an object of the file, to which the instruction BUILD may give its state."""

    def set(self, state: Any) -> None:
        """Read the state; any exception means that the file is damaged."""
        raise NotImplementedError


def make_mapping() -> dict[str, Any]:
    """Return an empty mapping; later instructions fill it."""
    return {}


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
            stack.append(self._look_up(*(argument.split(" ", 1) if name == "GLOBAL" else self._top(2))))
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
            raise ParityError(f"it holds the instruction {name}, which weights do not need")

    def _call(self, function: Any, arguments: Any) -> Any:
        if not any(function is each for each in self.allowed.values()) or not isinstance(arguments, tuple):
            raise ParityError(f"it calls something {described(function)}")
        result = function(*arguments)
        self.produced += len(result) if isinstance(result, bytes) else 0
        if self.produced > self.size:
            raise ParityError(f"it makes more bytes than the {self.size} it has")
        return result

    def _top(self, count: int) -> list[Any]:
        items = self.stack[len(self.stack) - count :]
        if len(items) != count:
            raise ParityError("its instructions take more values than the stack holds")
        del self.stack[len(self.stack) - count :]
        return items

    def _marked(self) -> list[Any]:
        start = self.marks.pop()
        return self._top(max(0, len(self.stack) - start))

    def _expect(self, kind: Any) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise ParityError(f"it fills something {described(self.stack[-1])}")
        return self.stack[-1]

    def _set_items(self, names: list[Any], values: list[Any]) -> None:
        mapping = self._expect(dict)
        for name, value in zip(names, values, strict=True):
            if not isinstance(name, str):
                raise ParityError(f"it holds a name {described(name)}")
            mapping[name] = value

    def _look_up(self, module: Any, name: Any) -> Any:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ParityError(f"it asks for a name {described(name)}")
        if (module, name) not in self.allowed:
            full = f"{module}.{name}"
            full = full if full.isprintable() and len(full) <= 200 else described(full)
            raise ParityError(f"it asks for {full}, which weights do not need; nothing was run")
        return self.allowed[module, name]
