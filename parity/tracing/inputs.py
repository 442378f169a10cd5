"""What a network is called with: arrays and plain values, in a list by position or in a mapping by name."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from parity.errors import ParityError, UserCodeError, in_layer
from parity.numerics.arrays import Array

# An item is an array, a number, None, or a list, tuple or mapping of items.
Inputs = Sequence[Any] | Mapping[str, Any]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def bound(network: Any, inputs: Inputs) -> Arguments:
    """Return the positional and the keyword arguments of a network's `forward`, by its signature.

    A mapping is the keyword arguments if `forward` takes those names; else it is one argument, as PaddleDetection's
    networks and others take it.

    Args:
        network: A live network, its `forward` not wrapped.
        inputs: By position or by name.

    Raises:
        ParityError: If `forward` cannot be called so.
    """
    forward = network.forward
    try:
        signature = inspect.signature(getattr(forward, "dygraph_function", forward))  # of Paddle's to_static
    except (TypeError, ValueError):  # it is not written in Python
        signature = None
    takes = f"{type(network).__name__}.forward takes {_parameters(signature)}"
    if not isinstance(inputs, Mapping):
        if not _binds(signature, inputs, {}):
            raise ParityError(
                f"inputs: {takes}; {len(inputs)} given by position. Give one for each, or name them"
                + (" (parity export takes networks of one input)." if len(inputs) == 1 else ".")
            )
        return tuple(inputs), {}
    if all(isinstance(name, str) for name in inputs) and signature is not None and _binds(signature, (), inputs):
        return (), dict(inputs)
    known = {} if signature is None else signature.parameters
    if any(name in known for name in inputs) or not _binds(signature, (inputs,), {}):
        raise ParityError(
            f"inputs: {takes}; given by name: {', '.join(map(str, inputs))}. Give those names, or a list by position."
        )
    return (dict(inputs),), {}


@contextlib.contextmanager
def as_bound(network: Any, inputs: Inputs, arguments: Arguments) -> Iterator[None]:
    """Add to an error about a dict that a `forward` was given one as its argument, because of its signature.

    Raises:
        UserCodeError: That error, or, in place of a RecursionError, that the network's layers are nested too deeply.
    """
    try:
        yield
    except RecursionError as error:  # raised between layers, or where they are listed
        raise in_layer(type(network).__name__, error) from error
    except UserCodeError as error:
        if not isinstance(inputs, Mapping) or not arguments[0] or "dict" not in str(error):
            raise
        names = ", ".join(map(str, inputs))
        raise UserCodeError(
            f"{error}; given one dict ({names}), as {type(network).__name__}.forward takes no such names"
        ) from error.__cause__


def _binds(signature: inspect.Signature | None, arguments: Sequence[Any], named: Mapping[str, Any]) -> bool:
    if signature is None:
        return True
    try:
        _ = signature.bind(*arguments, **named)
    except TypeError:
        return False
    return True


def _parameters(signature: inspect.Signature | None) -> str:
    return "(...)" if signature is None else f"({', '.join(map(str, signature.parameters.values()))})"


def mapped(value: Any, of_array: Callable[[Array], Any]) -> Any:
    """Return a structure of items with each array replaced by what `of_array` makes of it."""
    if isinstance(value, np.ndarray):
        return of_array(value)
    if isinstance(value, Mapping):
        return {key: mapped(item, of_array) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [mapped(item, of_array) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def ordered(inputs: Inputs, names: Sequence[str], what: str) -> list[Any]:
    """Return the inputs in the order of a file's: by name where they have names.

    Raises:
        ParityError: If the names are others; a single input may have any.
    """
    if not isinstance(inputs, Mapping):
        return list(inputs)
    if len(inputs) == len(names) == 1:
        return list(inputs.values())
    if {*inputs} != {*names}:
        raise ParityError(f"{what}: its inputs are {', '.join(names)}; given: {', '.join(map(str, inputs))}")
    return [inputs[name] for name in names]


def input_digest(inputs: Inputs) -> str:
    """Return the SHA-256 (hex) of the inputs' names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for part in _parts(inputs, top=True):
        if isinstance(part, np.ndarray):
            digest.update(repr((part.dtype.str, part.shape)).encode() + np.ascontiguousarray(part).tobytes())
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()


def _parts(value: Any, top: bool = False) -> Iterator[Any]:
    """Yield the arrays and values of a structure, with what tells it from others; of a list of arrays, the arrays."""
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield str(key)
            yield from _parts(value[key])
    elif isinstance(value, (list, tuple)):
        if not top:
            yield len(value)
        for item in value:
            yield from _parts(item)
    else:
        yield value
