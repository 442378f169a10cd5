"""Run a network in training mode: the same masks in every dropout, and its random numbers put back afterwards.

`numerics.dropout` has the masks. What a network draws by itself (`torch.rand` for a drop path) cannot be
the same on both sides; that it did so is noticed.
"""

from __future__ import annotations

import contextlib
import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from parity.numerics.dropout import alpha, factor, mask
from parity.tracing.backend import Backend
from parity.tracing.watch import inference_mode, training_mode

Mode = Literal["eval", "train"]

_CHANNELS = ("dropout1d", "dropout2d", "dropout3d", "feature_dropout", "feature_alpha_dropout")
_ALPHA = ("alpha_dropout", "feature_alpha_dropout")
_DROPOUTS = {"dropout", *_CHANNELS, *_ALPHA}


@contextlib.contextmanager
def running(backend: Backend, network: Any, mode: Mode) -> Iterator[list[str]]:
    """Put a network into a mode for a while, as the Python code that it is.

    Args:
        backend: Its backend.
        network: A live network.
        mode: "eval", or "train" with fixed dropout masks. Weights and statistics are the caller's to restore.

    Yields:
        A list; at the end it holds the sources of random numbers that the network drew from in training mode.
    """
    drawn = list[str]()
    if mode == "eval":
        with inference_mode(backend, network):
            yield drawn
        return
    masked = lambda name, function, args, kwargs: _masked(backend, function, args, kwargs)
    dropout = backend.functions(network, masked)
    with _random_numbers(backend, drawn), training_mode(backend, network), backend.eager(), dropout:
        yield drawn


@contextlib.contextmanager
def _random_numbers(backend: Backend, drawn: list[str]) -> Iterator[None]:
    python, numpy, used = random.getstate(), np.random.get_state(), list[bool]()
    try:
        with backend.random_numbers() as used:
            yield
    finally:
        changed = {
            backend.NAME: bool(used),
            "random": random.getstate() != python,
            "numpy.random": any(np.any(a != b) for a, b in zip(np.random.get_state(), numpy, strict=True)),
        }
        random.setstate(python)
        np.random.set_state(numpy)
        drawn += [name for name, each in changed.items() if each]


def _masked(backend: Backend, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return what a function returns; of a dropout in training mode, with the fixed mask."""
    name = str(getattr(function, "__name__", "")).rstrip("_")
    if name not in _DROPOUTS:
        return function(*args, **kwargs)
    arguments = _arguments(function, args, kwargs)
    if not arguments["training"]:
        return function(*args, **kwargs)
    x, p = next(iter(arguments.values())), float(arguments["p"])
    kept = mask(tuple(map(int, x.shape)), p, _axes(name, arguments, len(x.shape)))
    if name in _ALPHA:
        scale, shift = alpha(kept, p)
        return x * backend.like(scale, x) + backend.like(shift, x)
    # Paddle's other mode scales in evaluation.
    by = backend.like(factor(kept, p, arguments.get("mode") != "downscale_in_infer"), x)
    if arguments.get("inplace") or str(getattr(function, "__name__", "")).endswith("_"):
        return x.mul_(by) if hasattr(x, "mul_") else x.multiply_(by)
    return x * by


def _arguments(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except ValueError:  # written in C++: torch.dropout(input, p, train)
        named = dict(zip(("input", "p", "train"), args, strict=False)) | dict(kwargs)
        return {**named, "training": named["train"]}
    bound.apply_defaults()
    return dict(bound.arguments)


def _axes(name: str, arguments: Mapping[str, Any], rank: int) -> Sequence[int] | None:
    """Return the axes along which a mask differs; None for all."""
    axes = arguments.get("axis")
    if axes is None and name in _CHANNELS:
        channels_last = str(arguments.get("data_format", "NC")) in ("NHWC", "NDHWC")
        return (0, rank - 1) if channels_last else (0, 1)
    return [axes] if isinstance(axes, int) else axes
