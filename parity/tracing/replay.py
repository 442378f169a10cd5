"""Feed every layer of the candidate the reference's recorded input, to find the layers whose own function differs."""

from __future__ import annotations

import math
from typing import Any

from parity.errors import ParityError
from parity.layers import check_input
from parity.numerics.distance import Distance, distance
from parity.tracing.backend import Backend
from parity.tracing.trace import Trace
from parity.tracing.training import Mode, running
from parity.tracing.watch import flatten

# By layer and call: the distance of its output from the reference's, or why it could not take the reference's input.
Replay = dict[tuple[str, int], Distance | str]


def replay(backend: Backend, network: Any, reference: Trace, mode: Mode = "eval") -> Replay:
    """Return the distance of each layer's float64 output from the reference's, given the reference's float64 input.

    Runs on failure only. A layer that was called with more than tensors (keywords, numbers) is left out.
    """
    layers = dict(backend.layers(network))
    results: Replay = {}
    with running(backend, network, mode), backend.double(network), backend.autograd(False):
        for call in reference.calls:
            if not call.replayable or call.layer not in layers:
                continue
            layer = layers[call.layer]
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
