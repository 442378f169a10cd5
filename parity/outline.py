"""Outline a network: run it once, and write down what a table of it needs. Nothing here knows a framework."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from parity.layers import check_input
from parity.record import Seen, Side, flatten, inference_mode, leaves, watched


def outline(side: Side, network: Any, shape: Sequence[int]) -> dict[str, Any]:
    """Return the calls and the tensors of one run, as JSON holds them.

    Args:
        side: The module of the network's framework.
        network: A live network; its weights may be hollow (`side.hollow`).
        shape: Of its one input, (N, C, H, W).

    Returns:
        `tensors`: one a tensor, in the order they were first seen: `shape`, and `sources`: the numbers of the tensors
        that it may be made of if no layer made it but code between them, such as a sum or a concatenation.
        `calls`: one a layer call, in the order they ended: `layer`, `kind`, `config`, `leaf`, `parameters` (trained
        numbers of the layer's own that no call before counted), `inputs` and `outputs` as numbers of tensors.
        `uncalled`: `layer`, `kind`, `parameters` of what has parameters and was not called.

    Raises:
        ParityError: If a layer cannot take its input.
    """
    watcher = _Watcher(side, network)
    image = side.to_tensor(np.zeros(tuple(shape), np.float32), network)
    _ = watcher.number(image)
    with inference_mode(side, network), watched(watcher.layers, watcher.wrap), side.autograd(False):
        _ = network(image)
    called = {call["layer"] for call in watcher.calls}
    uncalled = [
        {"layer": name, "kind": side.describe(layer)[0], "parameters": parameters}
        for name, layer in watcher.layers
        if name not in called and (parameters := watcher.count(layer))
    ]
    return {"tensors": watcher.tensors, "calls": watcher.calls, "uncalled": uncalled}


class _Watcher:
    def __init__(self, side: Side, network: Any):
        self.side = side
        self.layers = list(side.layers(network))
        self.leaves = leaves(side, self.layers)
        self.tensors: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []
        self._seen = Seen(side.version)
        self._counted: set[int] = set()
        self._within: list[list[int]] = [[]]  # for each open call of a layer of layers: what code in it can reach

    def number(self, tensor: Any, made: bool = False) -> int:
        """Return a tensor's number; a new one is `made` by a layer, or by the code around the layers."""
        known = self._seen.get(tensor)
        if known is None:
            known = len(self.tensors)
            sources = [] if made else sorted(set(self._within[-1]))
            self.tensors.append({"shape": list(map(int, tensor.shape)), "sources": sources})
            self._seen.put(tensor, known)
        return known

    def count(self, layer: Any) -> int:
        """Return how many trained numbers a layer itself holds, each tensor counted once."""
        new = {id(tensor): tensor for tensor in self.side.parameters(layer).values() if id(tensor) not in self._counted}
        self._counted |= new.keys()
        return sum(int(np.prod(tensor.shape)) for tensor in new.values())

    def wrap(self, name: str, layer: Any, forward: Callable[..., Any]) -> Callable[..., Any]:
        kind, config = self.side.describe(layer)
        leaf = id(layer) in self.leaves

        def outlined(*args: Any, **kwargs: Any) -> Any:
            given = flatten((args, kwargs), self.side.is_tensor)
            if leaf and given:
                check_input(name, kind, config, tuple(given[0].shape))
            inputs = [self.number(tensor) for tensor in given]
            self._within.append(list(inputs))
            result = forward(*args, **kwargs)
            outputs = [self.number(tensor, made=leaf) for tensor in flatten(result, self.side.is_tensor)]
            _ = self._within.pop()
            self._within[-1] += outputs
            self.calls.append(
                {
                    "layer": name,
                    "kind": kind,
                    "config": config,
                    "leaf": leaf,
                    "parameters": self.count(layer),
                    "inputs": inputs,
                    "outputs": outputs,
                }
            )
            return result

        return outlined
