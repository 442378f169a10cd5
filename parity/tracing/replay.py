"""Feed every layer of the candidate the reference's recorded input, to find the layers whose own function differs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from parity.errors import ParityError
from parity.layers import check_input
from parity.numerics.distance import Distance, distance
from parity.tracing.backend import Backend
from parity.tracing.trace import Trace
from parity.tracing.watch import flatten, inference_mode

# By layer and call: the distance of its output from the reference's, or why it could not take the reference's input.
Replay = dict[tuple[str, int], Distance | str]


def replay(backend: Backend, network: Any, reference: Trace, partners: Mapping[str, str] | None = None) -> Replay:
    """Return the distance of each layer's float64 output from the reference's, given the reference's float64 input.

    Runs on failure only. A layer that was called with more than tensors (keywords, numbers) is left out.

    Args:
        backend: The network's backend.
        network: The candidate.
        reference: The reference's Trace.
        partners: The network's layer of each of the reference's, where names differ.
    """
    names = partners or {}
    layers = dict(backend.layers(network))
    results: Replay = {}
    with inference_mode(backend, network), backend.double(network), backend.autograd(False):
        for call in reference.calls:
            layer = layers.get(names.get(call.layer, call.layer))
            if not call.replayable or layer is None:
                continue
            try:
                if call.leaf:
                    kind, config = backend.describe(layer)
                    check_input(call.layer, kind, config, reference.shape(call.inputs[0]))
                inputs = [backend.to_tensor(reference.tensor(name), network) for name in call.inputs]
                outputs = flatten(layer(*inputs), backend.is_tensor)
            except Exception as error:  # whatever a framework raises for a shape it cannot take
                message = str(error).strip().split("\n")[0]
                results[call.key] = message if isinstance(error, ParityError) else f"{type(error).__name__}: {message}"
                continue
            gaps = [
                distance(backend.to_numpy(tensor), reference.tensor(name))
                for tensor, name in zip(outputs, call.outputs, strict=False)
            ]
            # NaN counts as the largest.
            results[call.key] = max(
                gaps, key=lambda gap: (math.isnan(gap.relative), gap.relative), default=Distance(0.0)
            )
    return results
