"""Outline a network: run it once and record what a summary table needs. Nothing here knows a framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.layers import check_input
from parity.tracing.backend import Backend
from parity.tracing.watch import TensorCache, flatten, inference_mode, leaves, watched


@dataclass(frozen=True)
class Tensor:
    """One tensor of a run.

    Attributes:
        shape: Its shape.
        sources: Numbers of the tensors it may be computed from, if code between layers computed it, such as a sum or a
            concatenation; empty for the output of a layer.
    """

    shape: tuple[int, ...]
    sources: tuple[int, ...] = ()


@dataclass(frozen=True)
class LayerCall:
    """One call of one layer.

    Attributes:
        layer: Dotted path; "" is the network itself.
        kind: Neutral kind, "Conv2d"; for a layer of the user, its class.
        config: Configuration in neutral words.
        leaf: Whether it holds no layers of its own.
        parameters: The layer's own trained numbers, without those that an earlier call counted.
        inputs: Numbers of its input tensors.
        outputs: Numbers of its output tensors.
    """

    layer: str
    kind: str
    config: Mapping[str, Any]
    leaf: bool
    parameters: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Uncalled:
    """A layer that has parameters and was not called."""

    layer: str
    kind: str
    parameters: int


@dataclass(frozen=True)
class Outline:
    """One run of a network.

    Attributes:
        tensors: Every tensor, in the order they were first seen; 0 is the input. Its number is its place here.
        calls: Every layer call, in the order they ended.
        uncalled: Layers that have parameters and were not called.
    """

    tensors: tuple[Tensor, ...]
    calls: tuple[LayerCall, ...]
    uncalled: tuple[Uncalled, ...]


def outline(backend: Backend, network: Any, shape: Sequence[int]) -> Outline:
    """Return the calls and the tensors of one run.

    Args:
        backend: The network's backend.
        network: A live network; its weights may be hollow (`backend.hollow`).
        shape: Shape of its one input, (N, C, H, W).

    Raises:
        ParityError: If a layer cannot take its input.
    """
    watcher = _Watcher(backend, network)
    image = backend.to_tensor(np.zeros(tuple(shape), np.float32), network)
    _ = watcher.number(image)
    with inference_mode(backend, network), watched(watcher.layers, watcher.wrap), backend.autograd(False):
        _ = network(image)
    called = {call.layer for call in watcher.calls}
    uncalled = tuple(
        Uncalled(name, backend.describe(layer)[0], parameters)
        for name, layer in watcher.layers
        if name not in called and (parameters := watcher.count(layer))
    )
    return Outline(tuple(watcher.tensors), tuple(watcher.calls), uncalled)


class _Watcher:
    def __init__(self, backend: Backend, network: Any):
        self.backend = backend
        self.layers = list(backend.layers(network))
        self.leaves = leaves(backend, self.layers)
        self.tensors: list[Tensor] = []
        self.calls: list[LayerCall] = []
        self._seen = TensorCache(backend.version)
        self._counted: set[int] = set()
        self._within: list[list[int]] = [[]]  # for each open call: tensors that code in it can use

    def number(self, tensor: Any, by_layer: bool = False) -> int:
        """Return a tensor's number; a new tensor was computed `by_layer`, or by the code around the layers."""
        known = self._seen.get(tensor)
        if known is None:
            known = len(self.tensors)
            sources = () if by_layer else tuple(sorted(set(self._within[-1])))
            self.tensors.append(Tensor(tuple(map(int, tensor.shape)), sources))
            self._seen.put(tensor, known)
        return known

    def count(self, layer: Any) -> int:
        """Return how many trained numbers a layer itself holds, each tensor counted once."""
        new = {
            id(tensor): tensor for tensor in self.backend.parameters(layer).values() if id(tensor) not in self._counted
        }
        self._counted |= new.keys()
        return sum(int(np.prod(tensor.shape)) for tensor in new.values())

    def wrap(self, name: str, layer: Any, forward: Callable[..., Any]) -> Callable[..., Any]:
        kind, config = self.backend.describe(layer)
        leaf = id(layer) in self.leaves

        def outlined(*args: Any, **kwargs: Any) -> Any:
            tensors = flatten((args, kwargs), self.backend.is_tensor)
            if leaf and tensors:
                check_input(name, kind, config, tuple(tensors[0].shape))
            inputs = [self.number(tensor) for tensor in tensors]
            self._within.append(list(inputs))
            result = forward(*args, **kwargs)
            outputs = [self.number(tensor, by_layer=leaf) for tensor in flatten(result, self.backend.is_tensor)]
            _ = self._within.pop()
            self._within[-1] += outputs
            counted = self.count(layer)
            self.calls.append(LayerCall(name, kind, config, leaf, counted, tuple(inputs), tuple(outputs)))
            return result

        return outlined
