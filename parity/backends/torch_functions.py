"""Torch's functions and operators during a run: each call of one goes through `watch`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from parity.functions import FUNCTIONS, bound, configured, neutral_name
from parity.layers import Config

_WORDS = {"pad": "padding", "min": "min_val", "max": "max_val", "axis": "dim"}


class _Mode(TorchFunctionMode):
    def __init__(self, watch: Callable[..., Any]):
        super().__init__()
        self.watch = watch

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = neutral_name(getattr(function, "__name__", ""))
        kwargs = kwargs or {}
        return self.watch(name, function, args, kwargs) if name else function(*args, **kwargs)


def functions(network: Any, watch: Callable[..., Any]) -> TorchFunctionMode:
    """Return a context that passes each call of a function to `watch(name, function, args, kwargs)`, which calls it."""
    del network
    return _Mode(watch)


def describe_function(
    name: str, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], shape: Sequence[int]
) -> tuple[str, Config]:
    """Return the neutral kind and configuration of a call.

    Args:
        name: Neutral name of the function.
        function: Torch's own.
        args: Its positional arguments.
        kwargs: The others.
        shape: Of its first tensor.
    """
    del function
    if name not in FUNCTIONS:
        return name, {}
    arguments = bound(name, [_plain(value) for value in args], {k: _plain(v) for k, v in kwargs.items()}, _WORDS)
    return FUNCTIONS[name].kind, configured(name, arguments, shape)


def _plain(value: Any) -> Any:
    """Return an argument without tensors: sizes as numbers, and weights as their shapes."""
    if isinstance(value, (list, tuple)):
        return [*map(_plain, value)]
    if not isinstance(value, torch.Tensor):
        return value
    data = value.ndim > 1 or value.is_floating_point() or value.numel() > 16 or value.is_meta
    return tuple(value.shape) if data else value.tolist()
