"""Sketch a network: one run, of which only the calls and the shapes are kept, to pair layers before weights move."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from parity.errors import ParityError
from parity.tracing.backend import Backend
from parity.tracing.inputs import Inputs, as_bound, bound, mapped
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
    return _sketched(backend, network, inputs, backend.native(network))


def quick_sketch(backend: Backend, network: Any, inputs: Inputs) -> Sketch:
    """Return what `sketch` does, of a run that costs less: without arithmetic, or on a part of the batch.

    Without arithmetic settings that are read from tensors are unknown, and on a part of the batch the first axis of
    shapes is another; `judging.structure` compares neither. What the run leaves in the network's attributes is taken
    back. Where the network's code cannot do with less, it runs as it is given.

    Raises:
        ParityError: As `record` does.
    """
    hollow = backend.hollow_run(network)
    fewer = inputs if hollow is not None else _two_examples(inputs)
    if hollow is not None or fewer is not inputs:
        # A tensor that has no hollow copy is a RuntimeError of torch's. What fails for good, the full run says.
        with contextlib.suppress(ParityError, RuntimeError), _kept_attributes(backend, network):
            return _sketched(backend, network, fewer, hollow or backend.native(network))
    return sketch(backend, network, inputs)


def _sketched(backend: Backend, network: Any, inputs: Inputs, tensors: AbstractContextManager[Any]) -> Sketch:
    arguments = bound(network, inputs)
    with as_bound(network, inputs, arguments):
        recorder = _Sketcher(backend, network)
        layers, functions = watched(recorder.layers, recorder.wrap), backend.functions(network, recorder.function)
        with inference_mode(backend, network), layers, functions, tensors:
            recorder.run("sketch", arguments)
    return Sketch(tuple(recorder.recorded()), recorder.shapes)


def _two_examples(inputs: Inputs) -> Inputs:
    """Return the first two examples of a batch; the inputs themselves where they have no common first axis, or no more.

    Of one alone, an axis could not be told from those that code squeezes.
    """
    sizes = set[int]()
    _ = mapped(inputs, lambda array: sizes.add(array.shape[0] if array.ndim else 0))
    return mapped(inputs, lambda array: array[:2]) if len(sizes) == 1 and max(sizes) > 2 else inputs


@contextlib.contextmanager
def _kept_attributes(backend: Backend, network: Any) -> Iterator[None]:
    """Put back at the end what the layers hold: code may keep a table that it makes of the first input."""
    stores = [vars(layer) for _, layer in backend.layers(network)]
    stores += [value for store in stores for value in store.values() if isinstance(value, (dict, list))]
    before = [(store, copy.copy(store)) for store in stores]
    try:
        yield
    finally:
        for store, held in before:
            if isinstance(store, dict):
                store.clear()
                store.update(held)
            else:
                store[:] = held


class _Sketcher(Recorder):
    """Gives each tensor a name, and stores nothing."""

    def __init__(self, backend: Backend, network: Any):
        super().__init__(backend, network, None)
        self.shapes = dict[str, tuple[int, ...]]()

    def _kernel(self, kind: str, layer: Any) -> tuple[int, ...]:
        del kind, layer
        return ()  # only noise needs it

    def _store(self, tensor: Any, layer: str) -> str:
        del layer
        name = self.cache.get(tensor)
        if name is None:
            name = f"t{len(self.shapes)}"
            self.shapes[name] = tuple(map(int, tensor.shape))
            self.cache.put(tensor, name)
        return name
