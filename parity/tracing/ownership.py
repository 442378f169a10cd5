"""Say which call each of a network's tensors belongs to: a layer's, or a function's that code gives it to."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from parity.tracing.backend import Backend
from parity.weights.names import owner_of

Shapes = dict[str, tuple[int, ...]]


class Ownership:
    """The tensors that the layers of a network own; constants, which another network may write out, are none.

    A layer that computes by functions alone owns its weights. Those that a block, or a layer that is not called, gives
    to a function belong to that function: the other network may have a layer for it.
    """

    def __init__(self, backend: Backend, network: Any):
        self._backend, self._network = backend, network
        self._owned = dict[str, Shapes]()  # by layer and role
        for name, slot in backend.slots(network).items():
            if not slot.buffer:
                layer, role = owner_of(name)
                self._owned.setdefault(layer, {})[role] = slot.shape
        self._blocks = {path for path in self._owned for other in self._owned if other != path and _holds(path, other)}
        self._names, self._derived = dict[int, str](), list[Any]()

    def find(self) -> None:
        """Look for the network's tensors: a run in another precision has others."""
        self._names = dict.fromkeys(map(id, (*self._network.parameters(), *self._network.buffers())), "")
        for path, layer in self._backend.layers(self._network):
            parameters = self._backend.parameters(layer)
            self._names |= {id(tensor): f"{path}.{role}".strip(".") for role, tensor in parameters.items()}

    def derive(self, sources: Sequence[Any], results: Sequence[Any]) -> None:
        """Hold what is computed of weights, or of sizes, alone for no data: a token expanded to the batch."""
        names = [name for tensor in sources if (name := self._names.get(id(tensor)))]
        self._names |= dict.fromkeys(map(id, results), names[0] if names else "")
        self._derived += results  # while they live, their ids are theirs alone

    def __contains__(self, tensor: Any) -> bool:
        return id(tensor) in self._names

    def of_function(self, tensors: Sequence[Any], called: Set[str]) -> Shapes:
        """Return neutral shapes of the weights that belong to a function's call, by their whole names.

        Args:
            tensors: What it was called with.
            called: The layers whose calls it is a part of.
        """
        given = Shapes()
        for name in [name for tensor in tensors if (name := self._names.get(id(tensor)))]:
            owner, role = owner_of(name)
            if role in self._owned.get(owner, {}) and (owner in self._blocks or owner not in called):
                given[name] = self._owned[owner][role]
        return given

    def of_layer(self, layer: str, given: Set[str]) -> Shapes:
        """Return neutral shapes of the weights that belong to a layer's calls, by role, without those of functions."""
        owned = self._owned.get(layer, {})
        return {role: shape for role, shape in owned.items() if f"{layer}.{role}".strip(".") not in given}


def _holds(block: str, layer: str) -> bool:
    return not block or layer.startswith(f"{block}.")
