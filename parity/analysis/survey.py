"""Find the input sizes at which a network's pooling depends on rounding, or on the framework.

The network runs at each size for its shapes only: convolutions and linear layers return zeros of the right shape,
pooling layers zeros of the shape that a rule gives, elementwise layers their input. So one network can run under either
framework's rule. Pooling that is called as a function, or whose padding differs before and after an axis, is run by its
own framework and not reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.errors import ParityError
from parity.layers import check_input, known
from parity.numerics.pooling import Pool, output_shape, rounds
from parity.tracing.backend import Backend
from parity.tracing.watch import inference_mode, watched


@dataclass(frozen=True)
class SizeReport:
    """How pooling behaves at one input size.

    Attributes:
        size: Height and width of the input, in pixels.
        layers: Every call of a pooling layer that was reached, by the rule of the network's own framework.
        rounds: Those at which floor and ceil differ.
        parts: Pooling layers at which torch and Paddle place different numbers of windows, in order.
        refused: By "torch" and "paddle": the layer that fails, and the reason; absent where none does.
    """

    size: int
    layers: tuple[str, ...]
    rounds: tuple[str, ...]
    parts: tuple[str, ...]
    refused: Mapping[str, tuple[str, str]]

    @property
    def differs(self) -> bool:
        """Whether torch and Paddle differ at this size; a size that both refuse is not a difference."""
        return len(self.refused) == 1 or (bool(self.parts) and not self.refused)


@dataclass(frozen=True)
class Step:
    """One call of a pooling layer: its name, its window, and (height, width) of its input and its output."""

    layer: str
    pool: Pool
    size: tuple[int, int]
    windows: tuple[int, int]

    @property
    def differs(self) -> bool:
        """Whether torch and Paddle place different numbers of windows on this input, or only one of them places any."""
        return _windows(self, "torch") != _windows(self, "paddle")

    def rounds(self, rule: str) -> bool:
        """Return whether floor and ceil differ on this input."""
        return any(rounds(size, pool, rule) for size, pool in zip(self.size, self.pool.axes, strict=True))


def survey(
    backend: Backend,
    network: Any,
    channels: int | None,
    sizes: Sequence[int],
    progress: Callable[[int], None] | None = None,
) -> list[SizeReport]:
    """Return how pooling behaves at each input size.

    Args:
        backend: The network's backend.
        network: A live network that takes one batch of images (N, C, H, W); unchanged afterwards.
        channels: C; None for that of the network's first convolution.
        sizes: H = W, in pixels.
        progress: Called with the number of sizes done.
    """
    other = "paddle" if backend.NAME == "torch" else "torch"
    channels = channels or _channels(backend, network)
    reports = []
    for size in sizes:
        shape = (1, channels, size, size)
        steps, refusal = walk(backend, network, shape, backend.NAME)
        refused, parts = {backend.NAME: refusal}, ()
        if refusal is not None or any(step.differs for step in steps):
            other_steps, refused[other] = walk(backend, network, shape, other)
            parts = tuple(
                step.layer
                for i, step in enumerate(max(steps, other_steps, key=len))
                if i >= min(len(steps), len(other_steps)) or steps[i].windows != other_steps[i].windows
            )
        rounded = tuple(step.layer for step in steps if step.rounds(backend.NAME))
        layers = tuple(step.layer for step in steps)
        refusals = {rule: refusal for rule, refusal in refused.items() if refusal is not None}
        reports.append(SizeReport(size, layers, rounded, parts, refusals))
        if progress is not None:
            progress(len(reports))
    return reports


def walk(
    backend: Backend, network: Any, shape: tuple[int, ...], rule: str
) -> tuple[list[Step], tuple[str, str] | None]:
    """Return every call of a pooling layer at one input shape under a rule, and where and why the network fails.

    Args:
        backend: The network's backend.
        network: A live network; unchanged afterwards.
        shape: Shape of the input, (N, C, H, W).
        rule: "torch" or "paddle".

    Returns:
        The calls up to the end or the failure; its place ("fc (Linear)", or the exception's name) and reason, or None.
    """
    hollow = _Hollow(backend, network, rule)
    try:
        with inference_mode(backend, network), hollow.forwards(), backend.autograd(False):
            network(hollow.zeros(shape))
    except Exception as error:  # where branches no longer fit, a framework raises any exception
        reason = str(error).strip().split("\n")[0]
        return hollow.steps, (hollow.where if isinstance(error, ParityError) else type(error).__name__, reason)
    return hollow.steps, None


class _Hollow:
    """Makes every layer whose output shape is known return zeros of that shape."""

    def __init__(self, backend: Backend, network: Any, rule: str):
        self.backend, self.rule = backend, rule
        self.steps: list[Step] = []
        self.where = ""
        self.layers = [(name, layer, *backend.describe(layer)) for name, layer in backend.layers(network)]
        # Any layer with weights shows their dtype and device, faster than the whole network.
        weighted = (layer for _, layer, _, config in self.layers if {"in_channels", "in_features"} & config.keys())
        self.like = next(weighted, network)

    def zeros(self, shape: tuple[int, ...]) -> Any:
        return self.backend.to_tensor(np.zeros(shape, np.float32), self.like)

    def forwards(self) -> AbstractContextManager[None]:
        described = {id(layer): (kind, config) for _, layer, kind, config in self.layers}
        replaced = lambda name, layer, forward: self._forward(name, layer, *described[id(layer)]) or forward
        return watched([(name, layer) for name, layer, *_ in self.layers], replaced)

    def _forward(self, name: str, layer: Any, kind: str, config: Mapping[str, Any]) -> Callable[..., Any] | None:
        if known(kind).pointwise:
            return lambda x, *_, **__: x
        if kind == "Linear":
            shape_of = lambda shape: (*shape[:-1], config["out_features"])
        elif kind == "Conv2d" and isinstance(config["padding"], list):
            shape_of = lambda shape: _convolved(shape, config)
        elif kind in ("MaxPool2d", "AvgPool2d") and len(config["padding"]) == 2 and isinstance(config["padding"], list):
            kernel, stride, padding, dilation = (
                tuple(config.get(word, (1, 1))) for word in ("kernel_size", "stride", "padding", "dilation")
            )
            window = Pool(kernel, stride, padding, dilation, config["ceil_mode"])
            shape_of = lambda shape: self._pooled(name, window, shape)
        else:
            return None
        masked = getattr(layer, "return_mask", False) or getattr(layer, "return_indices", False)

        def forward(x: Any, *_: Any, **__: Any) -> Any:
            self.where = f"{name} ({kind})"
            if "Pool" not in kind:
                check_input(name, kind, config, tuple(x.shape))
            y = self.zeros(shape_of(tuple(x.shape)))
            return (y, self.backend.to_tensor(np.zeros(tuple(y.shape), np.int64), self.like)) if masked else y

        return forward

    def _pooled(self, name: str, window: Pool, shape: tuple[int, ...]) -> tuple[int, ...]:
        earlier = sum(1 for step in self.steps if step.layer.partition(" ")[0] == name)
        size = shape[-2], shape[-1]
        windows = output_shape(size, window, self.rule)
        self.steps.append(Step(f"{name} (call {earlier + 1})" if earlier else name, window, size, windows))
        return (*shape[:-2], *windows)


def _convolved(shape: tuple[int, ...], config: Mapping[str, Any]) -> tuple[int, ...]:
    padding = config["padding"]
    before, after = (padding[::2], padding[1::2]) if len(padding) == 4 else (padding, padding)
    numbers = zip(
        shape[2:], before, after, *(config[word] for word in ("kernel_size", "stride", "dilation")), strict=True
    )
    windows = ((size + a + b - d * (k - 1) - 1) // s + 1 for size, a, b, k, s, d in numbers)
    return (shape[0], config["out_channels"], *windows)


def _windows(step: Step, rule: str) -> tuple[int, int] | None:
    try:
        return output_shape(step.size, step.pool, rule)
    except ParityError:
        return None


def _channels(backend: Backend, network: Any) -> int:
    configs = (backend.describe(layer)[1] for _, layer in backend.layers(network))
    return next((config["in_channels"] for config in configs if "in_channels" in config), 3)
