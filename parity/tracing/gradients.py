"""Record gradients: of what every call returns, of every parameter, of the network's inputs.

They are those of a fixed projection of the network's outputs. What a call takes that no recorded call has returned (the
result of a `detach`, or of an operator of the user's own) has a gradient of its own, so that a place where the gradient
stops or changes lies between two recorded tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from parity.numerics.arrays import Array
from parity.numerics.fixed_random import projection
from parity.tracing.backend import Backend

Entry = dict[str, Any]


class _Watched(NamedTuple):
    """A tensor whose gradient is recorded: the call it belongs to, its layer, its label, its version at the call."""

    entry: Entry
    layer: Any
    label: str
    tensor: Any
    version: int


class GradientWatch:
    """The tensors of one run whose gradients are recorded.

    Args:
        backend: The backend of the network.
        store: Called with a call's entry, a label and the gradient; keeps it.
    """

    def __init__(self, backend: Backend, store: Callable[[Entry, str, Array], None]):
        self._backend, self._store = backend, store
        self._watched = list[_Watched]()
        self._inputs, self._given = list[Any](), list[Any]()
        self._known = set[int]()  # what recorded calls return, and the inputs; the lists above keep them alive

    def input(self, tensor: Any) -> Any:
        """Return an input of the network, not to be changed in place by its leaf: it may be overwritten."""
        if not tensor.is_floating_point():
            return tensor
        self._inputs.append(self._backend.leaf(tensor))
        given = self._inputs[-1].clone()
        self._given.append(given)
        self._known.add(id(given))
        return given

    def before(self, inputs: Sequence[Any]) -> tuple[tuple[Any, int, bool], ...]:
        """Return a call's inputs, each with its version and whether it has a gradient, as they are before the call."""
        return tuple((each, self._backend.version(each), self._backend.is_tracked(each)) for each in inputs)

    def call(
        self, entry: Entry, layer: Any, inputs: Sequence[tuple[Any, int, bool]], outputs: Sequence[Any], leaf: bool
    ) -> None:
        """Watch the tensors of a call that has returned.

        Args:
            entry: What is recorded of it.
            layer: The layer; None for a function.
            inputs: From `before`.
            outputs: What it returned.
            leaf: Whether its outputs are watched; its parameters always are.
        """
        if layer is not None and entry["number"] == 0:
            self._watch(entry, layer, self._backend.parameters(layer))
            entry["frozen"] = tuple(self._backend.frozen(layer))
        if leaf:
            detached = [f"input {i}" for i, (each, _, tracked) in enumerate(inputs) if _is_cut(each, tracked)]
            for i, (tensor, version, _) in enumerate(inputs):
                if id(tensor) not in self._known:
                    self._known.add(id(tensor))
                    self._watched.append(_Watched(entry, None, f"input {i}", tensor, version))
            self._known |= {id(tensor) for tensor in outputs}
            if len(outputs) == 1:
                self._watch(entry, None, {"output 0": outputs[0]})
            else:
                # Paddle 3.3 raises a SystemError where it is asked for the gradient of a part of a split.
                self._given += outputs
            cut = [_is_cut(tensor, self._backend.is_tracked(tensor)) for tensor in outputs]
            entry["detached"] = (*detached, *(f"output {i}" for i, each in enumerate(cut) if each))

    def _watch(self, entry: Entry, layer: Any, tensors: dict[str, Any]) -> None:
        self._watched += [
            _Watched(entry, layer, label, tensor, self._backend.version(tensor)) for label, tensor in tensors.items()
        ]

    def backward(self, network: Entry, outputs: list[Any]) -> None:
        """Compute and store every gradient.

        Args:
            network: What is recorded of the network's own call.
            outputs: Those of the network.
        """
        self._watch(network, None, {f"input {i}": tensor for i, tensor in enumerate(self._inputs)})
        network["detached"] = tuple(
            f"output {i}" for i, each in enumerate(outputs) if _is_cut(each, self._backend.is_tracked(each))
        )
        # A tensor changed in place since its call is now another one. The gradient of an output is its cotangent, and
        # asking Paddle for it cuts off everything behind it.
        ends = {id(tensor) for tensor in outputs if self._backend.is_tracked(tensor)}
        watched = [
            each
            for each in self._watched
            if each.tensor.is_floating_point()
            and self._backend.version(each.tensor) == each.version
            and id(each.tensor) not in ends
        ]
        tensors = list({id(each.tensor): each.tensor for each in watched}.values())
        cotangents = [projection(tuple(tensor.shape)) for tensor in outputs]
        found = self._backend.gradients(outputs, cotangents, tensors)
        gradients = {id(tensor): gradient for tensor, gradient in zip(tensors, found, strict=True)}
        for entry, layer, label, tensor, _ in watched:
            gradient = gradients[id(tensor)]
            if gradient is None:
                entry["unreached"] = tuple(dict.fromkeys([*entry.get("unreached", ()), label]))  # both runs say it
                continue
            array = self._backend.to_numpy(gradient)
            self._store(entry, label, array if layer is None else self._backend.neutral(layer, label, array))


def _is_cut(tensor: Any, tracked: bool) -> bool:
    return not tracked and bool(tensor.is_floating_point())
