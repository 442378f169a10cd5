"""Try a network without its in-place layers: does it overwrite a tensor that its forward uses again?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from parity.numerics.distance import distance
from parity.tracing.backend import Backend
from parity.tracing.inputs import Inputs
from parity.tracing.record import outputs64
from parity.tracing.trace import Trace
from parity.tracing.training import Mode


def overwriting(
    backend: Backend, network: Any, inputs: Inputs, other: Trace, limit: float, mode: Mode = "eval"
) -> list[str]:
    """Return the in-place layers that make two networks different: computed out of place, the outputs agree.

    Runs on failure only, once more for each in-place layer that might be the one.

    Args:
        backend: The network's backend.
        network: A live network; unchanged afterwards.
        inputs: Of the run.
        other: The other network's run on the same inputs.
        limit: The largest distance of outputs that agree.
        mode: Of the run.

    Returns:
        The layer that does it alone, if there is one; else all of them; nothing if the outputs do not agree even so.
    """
    in_place = [(name, layer) for name, layer in backend.layers(network) if getattr(layer, "inplace", False) is True]
    expected = next((call for call in other.calls if call.key == ("", 0)), None)
    if not in_place or expected is None:
        return []

    def agrees(layers: Sequence[tuple[str, Any]]) -> bool:
        with _out_of_place([layer for _, layer in layers]):
            outputs = outputs64(backend, network, inputs, mode)
        tensors = [other.tensor(name) for name in expected.outputs]
        return len(outputs) == len(tensors) and all(
            a.shape == b.shape and distance(a, b).relative <= limit for a, b in zip(outputs, tensors, strict=True)
        )

    if not agrees(in_place):
        return []
    return next(([name] for name, layer in in_place if agrees([(name, layer)])), [name for name, _ in in_place])


@contextlib.contextmanager
def _out_of_place(layers: Sequence[Any]) -> Iterator[None]:
    try:
        for layer in layers:
            layer.inplace = False
        yield
    finally:
        for layer in layers:
            layer.inplace = True
