"""Sketch a network: one run, of which only the calls and the shapes are kept, to pair layers before weights move."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parity.tracing.backend import Backend
from parity.tracing.inputs import Inputs, as_bound, bound
from parity.tracing.record import Recorder
from parity.tracing.trace import Call
from parity.tracing.watch import inference_mode, watched


@dataclass(frozen=True)
class Sketch:
    """The calls of one run, without numbers.

    Attributes:
        calls: Every call of a layer and of a function, in the order in which they ended.
        shapes: Shape of each tensor, by its name in a Call.
    """

    calls: tuple[Call, ...]
    shapes: Mapping[str, tuple[int, ...]]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape, by its name in a Call."""
        return self.shapes[name]


def sketch(backend: Backend, network: Any, inputs: Inputs) -> Sketch:
    """Return the calls of one run in the network's own precision.

    Raises:
        ParityError: As `record` does.
    """
    arguments = bound(network, inputs)
    with as_bound(network, inputs, arguments):
        recorder = _Sketcher(backend, network)
        layers, functions = watched(recorder.layers, recorder.wrap), backend.functions(network, recorder.function)
        with inference_mode(backend, network), layers, functions, backend.native(network):
            recorder.run("sketch", arguments)
    return Sketch(tuple(recorder.recorded()), recorder.shapes)


class _Sketcher(Recorder):
    """Gives each tensor a name, and stores nothing."""

    def __init__(self, backend: Backend, network: Any):
        super().__init__(backend, network, None)
        self.shapes = dict[str, tuple[int, ...]]()

    def _store(self, tensor: Any, layer: str) -> str:
        del layer
        name = self.cache.get(tensor)
        if name is None:
            name = f"t{len(self.shapes)}"
            self.shapes[name] = tuple(map(int, tensor.shape))
            self.cache.put(tensor, name)
        return name
