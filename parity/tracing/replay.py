"""Feed every layer of the candidate the reference's recorded input, to find the layers whose own function differs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from parity.errors import ParityError
from parity.layers import check_input
from parity.numerics.arrays import Array, same_but_ones
from parity.numerics.distance import Distance, distance
from parity.tracing.backend import Backend
from parity.tracing.trace import Trace
from parity.tracing.training import Mode, running
from parity.tracing.watch import flatten

# By layer and call: the distance of its output from the reference's, or why it could not take the reference's input.
Replay = dict[tuple[str, int], Distance | str]


def replay(
    backend: Backend,
    network: Any,
    reference: Trace,
    partners: Mapping[str, str] | None = None,
    mode: Mode = "eval",
) -> Replay:
    """Return the distance of each layer's float64 output from the reference's, given the reference's float64 input.

    Runs on failure only. A layer that was called with more than tensors (keywords, numbers) is left out.

    Args:
        backend: The network's backend.
        network: The candidate.
        reference: The reference's Trace.
        partners: The network's layer of each of the reference's, where names differ.
        mode: That of the runs, evaluation or training.
    """
    names = partners or {}
    layers = dict(backend.layers(network))
    results: Replay = {}
    with running(backend, network, mode), backend.double(network), backend.autograd(False):
        for call in reference.calls:
            layer = layers.get(names.get(call.layer, call.layer))
            if not call.replayable or layer is None:
                continue
            try:
                kind, config = backend.describe(layer)
                if "act" in call.config and "act" not in config:
                    continue  # the activation is a call of its own: the layer alone computes something else
                if call.leaf and kind == call.kind:
                    check_input(call.layer, kind, config, reference.shape(call.inputs[0]))
                inputs = [
                    backend.to_tensor(_as_taken(reference.tensor(name), call.kind, kind), network)
                    for name in call.inputs
                ]
                outputs = flatten(layer(*inputs), backend.is_tensor)
            except Exception as error:  # whatever a framework raises for a shape it cannot take
                message = str(error).strip().split("\n")[0]
                results[call.key] = message if isinstance(error, ParityError) else f"{type(error).__name__}: {message}"
                continue
            holds_activation = "act" in config and "act" not in call.config  # the reference's is the call behind
            behind = reference.only_reader(call) if holds_activation else None
            expected = call.outputs if behind is None else behind.outputs
            gaps = [
                _gap(backend.to_numpy(tensor), reference.tensor(name), inner=call.layer != "")
                for tensor, name in zip(outputs, expected, strict=False)
            ]
            # NaN counts as the largest.
            results[call.key] = max(
                gaps, key=lambda gap: (math.isnan(gap.relative), gap.relative), default=Distance(0.0)
            )
    return results


def _as_taken(array: Array, kind: str, taken_by: str) -> Array:
    """Return the input of a Linear as a 1x1 convolution takes it, and the other way round."""
    if kind == "Linear" and taken_by.startswith("Conv") and array.ndim == 2:
        return array[:, :, None, None]
    return array.reshape(array.shape[:2]) if taken_by == "Linear" and array.shape[2:] == (1, 1) else array


def _gap(actual: Array, expected: Array, inner: bool) -> Distance:
    if inner and same_but_ones(actual.shape, expected.shape):
        actual = actual.reshape(expected.shape)
    return distance(actual, expected)
