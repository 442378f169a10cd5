"""Encode dataclasses as JSON and decode them by type hints; each field is checked, and an error names its path.

Standard library only: a worker's interpreter needs only numpy and safetensors.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, overload

T = TypeVar("T")

_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_PLAIN = {str: "a string", int: "an integer", float: "a number", bool: "true or false", types.NoneType: "null"}


class DecodeError(ValueError):
    """JSON that does not match a type hint: the path of the field, the expected type, the value."""


def encode(value: Any, *, strict: bool = True) -> Any:
    """Return a value for `json.dumps`: dataclasses as objects, tuples as lists, paths as strings.

    Args:
        value: Dataclasses, mappings by strings, tuples, lists, paths, numbers, strings, None; nested.
        strict: Whether infinity and NaN, which JSON does not have, become "inf", "-inf" and "nan". If not, `json.dumps`
            writes words that only Python reads, and such a float with the hint `Any` stays a float.

    Raises:
        TypeError: If it holds anything else.
    """
    inner = functools.partial(encode, strict=strict)
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return str(float(value)) if strict and not math.isfinite(value) else float(value)
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: inner(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {_key(key): inner(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [inner(item) for item in value]
    raise TypeError(f"JSON cannot hold a {type(value).__name__}")


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"the names of a JSON object are strings, {key!r} is not")
    return key


@overload
def decode(hint: type[T], data: Any, where: str = "") -> T: ...
@overload
def decode(hint: Any, data: Any, where: str = "") -> Any: ...
def decode(hint: Any, data: Any, where: str = "") -> Any:
    """Return the value of plain JSON data, as the type hint states.

    Args:
        hint: A dataclass, str, int, float, bool, None, Any, Path, Literal, list, tuple, dict or Mapping (by strings),
            or a union of these. Of a union's dataclasses, the one with the fields of the data is used.
        data: Plain JSON. An integer is accepted for a float; true and false are not integers.
        where: The path of `data` in its document, for the message.

    Raises:
        DecodeError: If a value has another type, or a field is missing or unknown.
        TypeError: If the hint is another one: a mistake in the program, not in the data.
    """
    if hint is Any:
        return data
    if hint is None:
        hint = types.NoneType
    origin = get_origin(hint) or hint
    if origin in _PLAIN:
        return _plain(origin, data, where)
    if origin is Path:
        return Path(_plain(str, data, where))
    if origin is Literal:
        if not any(data == word and type(data) is type(word) for word in get_args(hint)):
            raise _mismatch(" or ".join(map(repr, get_args(hint))), data, where)
        return data
    if origin in (Union, types.UnionType):
        return _one_of(get_args(hint), data, where)
    if dataclasses.is_dataclass(origin):
        return _fields(origin, data, where)
    if origin in (tuple, list):
        return _items(origin, get_args(hint), data, where)
    if origin in (dict, Mapping):
        return _entries(get_args(hint), data, where)
    raise TypeError(f"{where}: no way to read a {hint} from JSON")


def _plain(kind: type, data: Any, where: str) -> Any:
    if kind is float:
        if isinstance(data, str) and data in _NOT_FINITE:
            return _NOT_FINITE[data]
        if type(data) is int:
            try:
                return float(data)
            except OverflowError:
                raise _mismatch("a number that a float can hold", data, where) from None
    if type(data) is not kind:  # not isinstance: True is not an integer
        raise _mismatch(_PLAIN[kind], data, where)
    return data


def _one_of(hints: tuple[Any, ...], data: Any, where: str) -> Any:
    """Return data as one of a union's members; a dataclass is recognised by the names of its fields."""
    classes = [hint for hint in hints if dataclasses.is_dataclass(hint)]
    if classes and isinstance(data, Mapping):
        fitting = [hint for hint in classes if not _misnamed(hint, data)]
        if len(fitting) == 1 or len(classes) == 1:
            return _fields((fitting or classes)[0], data, where)
    for hint in hints:
        if hint not in classes:
            try:
                return decode(hint, data, where)
            except DecodeError:
                continue
    raise _mismatch(" or ".join(map(_named, hints)), data, where)


def _fields(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise _mismatch(_named(kind), data, where)
    if problem := _misnamed(kind, data):
        raise DecodeError(f"{where or kind.__name__}: {problem}")
    hints = _hints(kind)
    return kind(**{name: decode(hints[name], item, f"{where}.{name}".lstrip(".")) for name, item in data.items()})


def _misnamed(kind: Any, data: Mapping[str, Any]) -> str:
    """Return the fields of a dataclass that an object lacks, and the object's unknown fields, as text."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    missing = dataclasses.MISSING
    needed = {name for name, field in fields.items() if field.default is missing and field.default_factory is missing}
    problems = {"missing": sorted(needed - data.keys()), "unknown": sorted(data.keys() - fields.keys())}
    return "; ".join(f"{word}: {', '.join(map(_shown, names))}" for word, names in problems.items() if names)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _items(kind: type, hints: tuple[Any, ...], data: Any, where: str) -> Any:
    if not isinstance(data, (list, tuple)):
        raise _mismatch("a list", data, where)
    if kind is list or hints[1:] == (...,):
        hints = (hints[0] if hints else Any,) * len(data)
    if len(hints) != len(data):
        raise _mismatch(f"a list of {len(hints)}", data, where)
    return kind(decode(hint, item, f"{where}[{i}]") for i, (hint, item) in enumerate(zip(hints, data, strict=True)))


def _entries(hints: tuple[Any, ...], data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise _mismatch("an object", data, where)
    value = hints[1] if hints else Any
    return {
        _plain(str, name, f"{where}: a name"): decode(value, item, f"{where}[{_shown(name)}]")
        for name, item in data.items()
    }


def _named(hint: Any) -> str:
    if dataclasses.is_dataclass(hint):
        return f"an object, {getattr(hint, '__name__', hint)}"
    origin = get_origin(hint) or hint
    return _PLAIN.get(hint) or {tuple: "a list", list: "a list", Path: "a path"}.get(origin, "an object")


def _shown(data: Any) -> str:
    text = ascii(data)  # safe for a terminal, whatever the file holds: one line, no control characters
    return text if len(text) <= 60 else f"{text[:57]}..."


def _mismatch(expected: str, data: Any, where: str) -> DecodeError:
    return DecodeError(f"{where or 'the document'}: expected {expected}, found {_shown(data)}")
