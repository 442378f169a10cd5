"""The inputs of a comparison: what a caller gives as objects, or writes on the command line."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parity.backends.load import load_backend
from parity.errors import ParityError, said
from parity.numerics.arrays import Array
from parity.numerics.fixed_random import example
from parity.picture import load_array, load_input, load_picture
from parity.tracing.inputs import Inputs

_TAKES = (
    "Give a numpy array or tensor, a shape such as (1, 3, 224, 224), or the path of a picture or .npy file; "
    "a list of those for several arguments, a dict for named ones."
)
_NAMED = re.compile(r"([A-Za-z_]\w*)=(.+)", re.DOTALL)
_SHAPE = re.compile(r"(\d+(?:,\d+)*)(?::(\w+))?")
_DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
_LARGEST = 1 << 32  # elements of an input that is made here


def from_objects(value: Any) -> Inputs:
    """Return the inputs that a caller gave: an item alone, one for each positional argument, or by name.

    An item is an array, a tensor, a number, None, a list, tuple or dict of items, or the path of a picture or .npy
    file. A tuple of whole numbers is the shape of an input of fixed pseudo-random numbers if no array is given beside
    it.

    Raises:
        ParityError: If it is none of these.
    """
    shapes = not _holds_array(value)
    if _is_shape(value) and len(value) > 1:
        return [_item(tuple(value), "inputs", shapes)]
    if isinstance(value, Mapping):
        return {name: _item(item, f"inputs[{name!r}]", shapes) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_item(item, f"inputs[{i}]", shapes) for i, item in enumerate(value)]
    if value is None:
        raise ParityError(f"inputs: a NoneType is no input. {_TAKES}")
    return [_item(value, "inputs", shapes)]


def _is_shape(value: Any) -> bool:
    whole = (int, np.integer)
    return (
        isinstance(value, (list, tuple))
        and bool(value)
        and all(isinstance(item, whole) and not isinstance(item, bool) for item in value)
    )


def _holds_array(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_array, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_holds_array, value))
    return isinstance(value, (str, Path)) or hasattr(value, "__array__")


def _item(value: Any, what: str, shapes: bool) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if shapes and isinstance(value, tuple) and _is_shape(value):
        return _example(tuple(map(int, value)), "float32", what)
    if isinstance(value, (str, Path)):
        return _file(str(value), what)
    if isinstance(value, Mapping):
        return {key: _item(item, f"{what}[{key!r}]", shapes) for key, item in value.items()}
    if isinstance(value, tuple) or (isinstance(value, list) and not _is_numbers(value)):
        items = [_item(item, f"{what}[{i}]", shapes) for i, item in enumerate(value)]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return _array(value, what)


def _is_numbers(value: Any) -> bool:
    """Return whether a list, nested or not, holds numbers alone."""
    if isinstance(value, list):
        return all(map(_is_numbers, value))
    return isinstance(value, (bool, int, float, complex))


def _array(value: Any, what: str) -> Array:
    try:
        for name in ("torch", "paddle"):
            framework = sys.modules.get(name)  # imported, if the caller has a tensor of it
            if framework is not None and isinstance(value, framework.Tensor):
                value = load_backend(name).to_numpy(value)
        array = np.asarray(value)
    except Exception as error:  # a framework's own, of a tensor that is sparse or quantised
        raise ParityError(
            f"{what}: no numpy array can be made of this {type(value).__name__}: {said(error)}"
        ) from error
    if array.dtype.kind not in "fiub":
        raise ParityError(
            f"{what}: a {type(value).__name__} (dtype {array.dtype}) is no array of real numbers. {_TAKES}"
        )
    return array


def _file(path: str, what: str) -> Array:
    if path.endswith(".npy"):
        return load_array(Path(path), what)
    if not Path(path).is_file():
        raise ParityError(f"{what}: a str, and no file has this name: {path!r}. {_TAKES}")
    try:
        return load_picture(path, 3, 224, 224)
    except ParityError as error:
        raise ParityError(f"{what}: {error}. {_TAKES}") from error


def _example(shape: tuple[int, ...], dtype: str, what: str) -> Array:
    if min(shape) < 1:
        raise ParityError(f"{what}: a shape's numbers are each at least 1, found {','.join(map(str, shape))}")
    if np.prod(shape, dtype=float) > _LARGEST:
        raise ParityError(f"{what}: too large for this machine: {','.join(map(str, shape))}")
    if dtype not in _DTYPES:
        raise ParityError(f"{what}: no dtype {dtype!r}; one of {', '.join(_DTYPES)}")
    try:
        return example(shape, dtype)
    except MemoryError as error:
        raise ParityError(f"{what}: too large for this machine: {','.join(map(str, shape))}") from error


def from_words(words: Sequence[str], shape: tuple[int, int, int, int] | None) -> Inputs:
    """Return the inputs that `--input` names, once for each: WHAT, or NAME=WHAT for a keyword argument.

    Args:
        words: WHAT is a picture, a .npy file, a .npz file (by its arrays' names, if it is the only one), or a shape
            with or without a dtype: 1,3,224,224 or 1,16:int64. None at all: the project's photograph.
        shape: The network's input, (N, C, H, W); None if it is not known.

    Raises:
        ParityError: If one cannot be read, or some have names and some have none.
    """
    if len(words) == 1 and words[0].endswith(".npz") and _NAMED.fullmatch(words[0]) is None:
        return _npz(Path(words[0]))
    if not words:
        return [load_input(None, shape)]
    named = [match.groups() if (match := _NAMED.fullmatch(word)) else ("", word) for word in words]
    names = [name for name, _ in named]
    if "" in names and any(names):
        raise ParityError(f"--input {words[names.index('')]}: name all inputs, or none: NAME=...")
    if any(names) and len({*names}) < len(names):
        raise ParityError(f"--input: two inputs are called {max(names, key=names.count)}")
    arrays = [
        _word(what, shape if len(words) == 1 else None, f"--input {word}")
        for (_, what), word in zip(named, words, strict=True)
    ]
    return dict(zip(names, arrays, strict=True)) if any(names) else arrays


def _word(what: str, shape: tuple[int, int, int, int] | None, option: str) -> Array:
    match = _SHAPE.fullmatch(what)
    if match is None or (shape is not None and match[2] is None):
        return load_input(what, shape)
    return _example(tuple(map(int, match[1].split(","))), match[2] or "float32", option)


def _npz(path: Path) -> Inputs:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: _array(file[name], f"--input {path}: {name}") for name in file.files}
    except ParityError:
        raise
    except OSError as error:
        raise ParityError(f"--input {path}: cannot read: {error.strerror or error}") from error
    except Exception as error:  # a damaged file can raise any exception
        raise ParityError(f"--input {path}: not a .npz file of numbers: {said(error)}") from error
    if not arrays:
        raise ParityError(f"--input {path}: no array in it")
    positional = [f"arr_{i}" for i in range(len(arrays))]  # the names that np.savez gives to arrays without one
    return [arrays[name] for name in positional] if {*positional} == {*arrays} else arrays
