"""Feed every layer of the candidate the reference's recorded input, to see which layers are wrong in themselves."""

from __future__ import annotations

from typing import Any

from parity.errors import ParityError
from parity.layers import check_input
from parity.numerics.distance import Distance, distance
from parity.tracing.backend import Backend
from parity.tracing.trace import Trace
from parity.tracing.watch import flatten, inference_mode

# By layer and call: how far its output is from the reference's, or why it could not take the reference's input.
Replay = dict[tuple[str, int], Distance | str]


def replay(backend: Backend, network: Any, reference: Trace) -> Replay:
    """Return how far each layer, given the reference's float64 input, is from the reference's float64 output.

    Runs on failure only. A layer whose call was more than tensors (keywords, numbers) is left out.
    """
    layers = dict(backend.layers(network))
    found: Replay = {}
    with inference_mode(backend, network), backend.double(network), backend.autograd(False):
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
                first = str(error).strip().split("\n")[0]
                found[call.key] = first if isinstance(error, ParityError) else f"{type(error).__name__}: {first}"
                continue
            gaps = [
                distance(backend.to_numpy(tensor), reference.tensor(name))
                for tensor, name in zip(outputs, call.outputs, strict=False)
            ]
            found[call.key] = max(
                gaps, key=lambda gap: (gap.relative != gap.relative, gap.relative), default=Distance(0.0)
            )
    return found
