"""Wrap the layers of a live network during a run, and restore them afterwards."""

from __future__ import annotations

import contextlib
import dataclasses
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from parity.tracing.backend import Backend


@contextlib.contextmanager
def inference_mode(backend: Backend, network: Any) -> Iterator[None]:
    """Run a network in evaluation mode, as the Python code that it is: see `evaluation_mode` and `Backend.eager`."""
    with evaluation_mode(backend, network), backend.eager():
        yield


@contextlib.contextmanager
def evaluation_mode(backend: Backend, network: Any) -> Iterator[None]:
    """Put a network that is in training mode into evaluation mode, and back; leave any other as it is."""
    layers = [layer for _, layer in backend.layers(network)]
    modes = [layer.training for layer in layers]
    if network.training:
        for layer in layers:
            layer.training = False
    try:
        yield
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode


@contextlib.contextmanager
def training_mode(backend: Backend, network: Any) -> Iterator[None]:
    """Put a network that is in evaluation mode into training mode, by its own `train`, and back; leave any other."""
    layers = [layer for _, layer in backend.layers(network)]
    modes = [layer.training for layer in layers]
    try:
        if not network.training:
            network.train()
        yield
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode


@contextlib.contextmanager
def watched(
    layers: Iterable[tuple[str, Any]], wrap: Callable[[str, Any, Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Replace each layer's `forward` by `wrap(path, layer, forward)`, and put it back afterwards."""
    wrapped = []
    try:
        for name, layer in layers:
            wrapper = wrap(name, layer, layer.forward)
            wrapped.append((layer, layer.__dict__.get("forward")))  # None: it is the class's
            layer.forward = wrapper
        yield
    finally:
        for layer, forward in wrapped:
            del layer.forward
            if forward is not None:
                layer.forward = forward


class TensorCache:
    """Remembers a value for each live tensor object, until the tensor is changed in place or freed."""

    def __init__(self, version: Callable[[Any], int]):
        self._version = version
        self._values: dict[int, tuple[Any, int, Any]] = {}

    def get(self, tensor: Any) -> Any:
        """Return the value put for this tensor as it is now, or None."""
        alive, version, value = self._values.get(id(tensor), (lambda: None, 0, None))
        return value if alive() is tensor and version == self._version(tensor) else None

    def put(self, tensor: Any, value: Any) -> None:
        """Remember a value for this tensor as it is now."""
        self._values[id(tensor)] = (weakref.ref(tensor), self._version(tensor), value)


def leaves(backend: Backend, layers: Iterable[tuple[str, Any]]) -> set[int]:
    """Return the `id` of every layer that holds no layers of its own."""
    return {id(layer) for _, layer in layers if sum(1 for _ in backend.layers(layer)) == 1}


def keys(value: Any, is_tensor: Callable[[Any], bool]) -> tuple[str, ...]:
    """Return the keys of a structure's tensors, in the order of `flatten`: "out", "aux.0"; empty where none has names.

    A mapping, a named tuple and a dataclass have names.
    """
    paths = [".".join(path) for path in _paths(value, is_tensor)]
    return tuple(paths) if _has_names(value) and len(set(paths)) == len(paths) else ()


def _paths(value: Any, is_tensor: Callable[[Any], bool]) -> list[tuple[str, ...]]:
    if is_tensor(value):
        return [()]
    return [(str(key), *path) for key, item in _items(value) for path in _paths(item, is_tensor)]


def _has_names(value: Any) -> bool:
    return _named(value) is not None or (isinstance(value, (tuple, list)) and any(map(_has_names, value)))


def _named(value: Any) -> Mapping[Any, Any] | None:
    """Return a structure with names as a mapping; None for any other."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))  # pyright: ignore[reportAttributeAccessIssue]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    return None


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    named = _named(value)
    if named is not None:
        return named.items()
    return enumerate(value) if isinstance(value, (tuple, list)) else ()


def flatten(value: Any, is_tensor: Callable[[Any], bool]) -> list[Any]:
    """Return the tensors in a structure of tuples, lists, mappings and dataclasses, in order; anything else is left."""
    if is_tensor(value):
        return [value]
    return [leaf for _, item in _items(value) for leaf in flatten(item, is_tensor)]
