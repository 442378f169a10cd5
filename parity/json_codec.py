"""Between dataclasses and JSON, by type hints: what is read is checked field by field, and told by its path.

Standard library only: a worker's interpreter need not have more than numpy and safetensors.
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
    """JSON that is not what a type hint asks for: the path of the field, what was expected, what was found."""


def encode(value: Any, *, strict: bool = True) -> Any:
    """Return a value as `json.dumps` takes it: dataclasses as objects, tuples as lists, paths as strings.

    Args:
        value: Dataclasses, mappings by strings, tuples, lists, paths, numbers, strings, None; nested.
        strict: Whether infinity and NaN, which JSON does not have, become "inf", "-inf" and "nan". Where they do not,
            `json.dumps` writes words that Python reads, and a float behind the hint `Any` comes back as one.

    Raises:
        TypeError: If there is anything else in it.
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
        raise TypeError(f"the names of a JSON object are strings, {key!r} is none")
    return key


@overload
def decode(hint: type[T], data: Any, where: str = "") -> T: ...
@overload
def decode(hint: Any, data: Any, where: str = "") -> Any: ...
def decode(hint: Any, data: Any, where: str = "") -> Any:
    """Return what `json.loads` made of an encoded value, as the type hint says.

    Args:
        hint: A dataclass, str, int, float, bool, None, Any, Path, Literal, list, tuple, dict or Mapping (by strings),
            or a union of these. Of a union's dataclasses the one is taken whose fields are those of the data.
        data: Plain JSON. An integer may stand for a float; true and false are no integers.
        where: The path of `data` in its document, for the message.

    Raises:
        DecodeError: If a value is of another type, or a field is missing or unknown.
        TypeError: If the hint is none of those above: a mistake in the program, not in the data.
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
            raise _unlike(" or ".join(map(repr, get_args(hint))), data, where)
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
                raise _unlike("a number that a float can hold", data, where) from None
    if type(data) is not kind:  # not isinstance: True is no integer
        raise _unlike(_PLAIN[kind], data, where)
    return data


def _one_of(hints: tuple[Any, ...], data: Any, where: str) -> Any:
    """Return data as one of a union's members; a dataclass is told by the names of its fields."""
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
    raise _unlike(" or ".join(map(_words, hints)), data, where)


def _fields(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise _unlike(_words(kind), data, where)
    if wrong := _misnamed(kind, data):
        raise DecodeError(f"{where or kind.__name__}: {wrong}")
    hints = _hints(kind)
    return kind(**{name: decode(hints[name], item, f"{where}.{name}".lstrip(".")) for name, item in data.items()})


def _misnamed(kind: Any, data: Mapping[str, Any]) -> str:
    """Return which fields of a dataclass are missing from an object, and which of the object's are unknown."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    none = dataclasses.MISSING
    needed = {name for name, field in fields.items() if field.default is none and field.default_factory is none}
    told = {"missing": sorted(needed - data.keys()), "unknown": sorted(data.keys() - fields.keys())}
    return "; ".join(f"{word}: {', '.join(map(_shown, names))}" for word, names in told.items() if names)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _items(kind: type, hints: tuple[Any, ...], data: Any, where: str) -> Any:
    if not isinstance(data, (list, tuple)):
        raise _unlike("a list", data, where)
    if kind is list or hints[1:] == (...,):
        hints = (hints[0] if hints else Any,) * len(data)
    if len(hints) != len(data):
        raise _unlike(f"a list of {len(hints)}", data, where)
    return kind(decode(hint, item, f"{where}[{i}]") for i, (hint, item) in enumerate(zip(hints, data, strict=True)))


def _entries(hints: tuple[Any, ...], data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise _unlike("an object", data, where)
    value = hints[1] if hints else Any
    return {
        _plain(str, name, f"{where}: a name"): decode(value, item, f"{where}[{_shown(name)}]")
        for name, item in data.items()
    }


def _words(hint: Any) -> str:
    if dataclasses.is_dataclass(hint):
        return f"an object, {getattr(hint, '__name__', hint)}"
    origin = get_origin(hint) or hint
    return _PLAIN.get(hint) or {tuple: "a list", list: "a list", Path: "a path"}.get(origin, "an object")


def _shown(data: Any) -> str:
    text = ascii(data)  # of whatever a file may hold: one line, and nothing a terminal would obey
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unlike(expected: str, data: Any, where: str) -> DecodeError:
    return DecodeError(f"{where or 'the whole'}: expected {expected}, found {_shown(data)}")
