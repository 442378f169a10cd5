"""Find the culprits: the layers whose own function differs, and why, in words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from parity.functions import caller_of
from parity.judging.bounds import allowance, growth
from parity.judging.comparison import SAME_OUTPUT, Comparison, Culprit, Layer, is_within, layers_within
from parity.judging.notes import describe_settings
from parity.layers import KINDS, differing_settings, is_weighted
from parity.numerics.arrays import Array, same_bits, same_but_ones
from parity.numerics.distance import Distance
from parity.tracing.replay import Replay
from parity.tracing.trace import Call, Trace

States = tuple[Mapping[str, Array], Mapping[str, Array]]


def with_culprits(
    comparison: Comparison, reference: Trace, candidate: Trace, replayed: Replay, states: States | None
) -> Comparison:
    """Return the comparison with its culprits.

    Args:
        comparison: One that is not ok.
        reference: The Traces it judged.
        candidate: Likewise.
        replayed: What each layer of the candidate computes from the reference's inputs; empty if it could not be run.
        states: Weights of the reference and of the candidate, if available.
    """
    candidate_calls = {call.key: call for call in candidate.calls}
    partners = {
        (layer.layer, layer.call): candidate_calls.get((layer.partner, layer.partner_call))
        for layer in comparison.layers
    }
    judged = {(layer.layer, layer.call): layer for layer in comparison.layers}
    differing = [call for call in reference.calls if replayed and _differs(call, reference, replayed, judged)]
    reasons: dict[str, str] = {}
    for call in differing:
        if not call.leaf and any(is_within(other.layer, call.layer) for other in differing):
            continue  # a layer within it is the culprit
        differences = _differences(call, partners.get(call.key), reference, comparison.names, states)
        if isinstance(result := replayed.get(call.key), str):
            differences.append(f"it cannot take the reference's input: {result}")
        if not differences and not call.leaf:
            differences = [_forward(call.layer, call.kind, comparison, replayed)]
        _ = reasons.setdefault(call.layer, "; ".join(differences) or _unknown(call, result, judged))
    for layer in comparison.layers:  # what a float64 replay does not show
        if layer.verdict == "different" and layer.reason.endswith(SAME_OUTPUT):
            _ = reasons.setdefault(layer.layer, layer.reason)
    for layer in comparison.layers:
        if layer.verdict == "precision" or (layer.verdict == "invalid" and not reasons):
            _ = reasons.setdefault(layer.layer, layer.reason)
            break
    divergence = comparison.first_divergence
    if divergence is not None and not reasons:
        call = next(call for call in reference.calls if call.key == (divergence.layer, divergence.call))
        differences = _differences(call, partners.get(call.key), reference, comparison.names, states)
        if divergence.where == "between":
            caller, kind = (caller_of(call.layer), "") if call.leaf else (call.layer, call.kind)
            differences.append(_forward(caller, kind, comparison, replayed))
        reasons[call.layer] = "; ".join(differences or ["its output differs", *comparison.notes])
    names = comparison.partners
    aside = lambda layer: f"({names[layer]} in the candidate) " if names.get(layer, layer) != layer else ""
    culprits = tuple(Culprit(layer, aside(layer) + reason) for layer, reason in reasons.items())
    return dataclasses.replace(comparison, culprits=culprits)


def _differs(call: Call, reference: Trace, replayed: Replay, judged: Mapping[tuple[str, int], Layer]) -> bool:
    """Return whether a layer's own function differs: by its replay, or, if it has none, where its inputs agree."""
    result = replayed.get(call.key)
    if result is None:
        layer = judged.get(call.key)
        if layer is None or not layer.leaf or layer.reason.endswith(SAME_OUTPUT):
            return False
        return layer.inputs_agree and layer.verdict in ("different", "invalid")
    if isinstance(result, str):
        return True
    grown = growth([call] if call.leaf else reference.calls)[-1]
    elements = math.prod(reference.shape(call.outputs[0])) if call.outputs else 1
    return not result.relative <= allowance(grown, result.peak, elements)


def _unknown(call: Call, result: Distance | str | None, judged: Mapping[tuple[str, int], Layer]) -> str:
    if not isinstance(result, Distance):
        return judged[call.key].reason
    if math.isnan(result.relative):
        return "NaN on both sides: look for it in the input and the weights"
    gap = f"distance {result.relative:.3g} on the reference's own input"
    return f"{call.kind} of the same configuration and weights, yet another function ({gap})"


def _forward(layer: str, kind: str, comparison: Comparison, replayed: Replay) -> str:
    """Return the reason for a layer that differs while no layer within it does: it calls them in another way."""
    unmatched = [
        f"{name} is only in the {role}"
        for role, names in comparison.unmatched.items()
        for name in names
        if is_within(name, layer)
    ]
    compared = any(
        inner.inputs_agree or (inner.layer, inner.call) in replayed for inner in layers_within(comparison, layer)
    )
    calls = "what it calls is right" if compared else "nothing it calls was compared"
    name = f"{layer or 'the network'}{f' ({kind})' if kind else ''}"
    return "; ".join([f"the forward code of {name} differs, {calls}", *unmatched[:4]])


def _differences(
    call: Call, partner: Call | None, reference: Trace, names: tuple[str, str], states: States | None
) -> list[str]:
    """Return the differences of two paired calls in kind, configuration and weights."""
    if partner is None:
        return ["it has no partner of that name in the candidate"]
    differences = [f"{call.config['node']} in the reference"] if "node" in call.config else []
    differences += [f"{partner.config['node']} in the file"] if "node" in partner.config else []
    rank = len(reference.shape(call.inputs[0])) if call.inputs else 4
    settings = _settings(call, partner, rank) if call.leaf else []
    if "node" in call.config or "node" in partner.config:  # exporters write layers as other operators, and join them
        settings = [word for word in settings if word != "kind"]
    folded = [each.kind for each, other in ((call, partner), (partner, call)) if _is_folded(each, other)]
    differences += [f"the {kind} is folded into it" for kind in folded]
    differences += describe_settings(settings, call, partner, names)
    differences += _attributes(call.config.get("attributes", {}), partner.config.get("attributes", {}), names)
    reference_trains, candidate_trains = (each.config.get("training", False) for each in (call, partner))
    if reference_trains != candidate_trains:
        name = names[1] if candidate_trains else names[0]
        differences.append(f"in training mode in {name}: call .eval() on the network")
    if states is not None and call.leaf:
        differences += _weights(call.layer, partner.layer, *states)
    return differences


def _attributes(expected: Mapping[str, Any], actual: Mapping[str, Any], names: tuple[str, str]) -> list[str]:
    """Return the attributes that differ of two files' nodes."""
    return [
        f"{word} differs: {names[0]}={expected[word]}, {names[1]}={actual[word]}"
        for word in expected
        if word in actual and expected[word] != actual[word]
    ]


def _is_folded(call: Call, partner: Call) -> bool:
    return call.kind.startswith("BatchNorm") and "node" in partner.config and is_weighted(partner.config)


def _settings(call: Call, partner: Call, rank: int) -> list[str]:
    """Return the settings that make two layers different functions."""
    differ, in_training = differing_settings((call.kind, call.config), (partner.kind, partner.config), rank)
    training = call.config.get("training") or partner.config.get("training")
    unknown = ["kind"] if call.kind != partner.kind and not {call.kind, partner.kind} <= KINDS.keys() else []
    return [*unknown, *differ, *(in_training if training else [])]


def _weights(layer: str, partner: str, reference: Mapping[str, Array], candidate: Mapping[str, Array]) -> list[str]:
    names = [(name, f"{partner}.{name.rpartition('.')[2]}".removeprefix(".")) for name in reference]
    pairs = [(name, other) for name, other in names if name.rpartition(".")[0] == layer and other in candidate]
    reshaped = lambda name, array: (
        array.reshape(reference[name].shape) if same_but_ones(array.shape, reference[name].shape) else array
    )
    differ = [pair for pair in pairs if not same_bits(reference[pair[0]], reshaped(pair[0], candidate[pair[1]]))]
    return [f"{name.rpartition('.')[2]} {_how(name, reference, candidate[other])}" for name, other in differ]


def _how(name: str, reference: Mapping[str, Array], actual: Array) -> str:
    """Return how a weight of the candidate differs from the reference's: the common porting mistakes."""
    expected = reference[name]
    if same_but_ones(actual.shape, expected.shape):
        actual = actual.reshape(expected.shape)
    if actual.shape != expected.shape:
        return f"has another shape: {expected.shape}, {actual.shape}"
    if expected.ndim == 2 and same_bits(actual, expected.T):
        return "is transposed"
    others = [other for other in reference if other != name and same_bits(reference[other], actual)]
    if others and len(np.unique(actual)) > 1:
        return f"holds the reference's {others[0]}"
    if np.unique(actual).size == 1 and np.unique(expected).size > 1:
        return f"was not copied: all of it is {actual.flat[0]:g}"
    if same_bits(np.sort(expected, axis=None), np.sort(actual, axis=None)):
        for axis in range(expected.ndim):
            if _rows(expected, axis) == _rows(actual, axis):
                return f"has the right numbers, permuted along axis {axis}"
        return "has the right numbers in another order"
    gap = np.abs(actual.astype(np.float64) - expected)
    index = np.unravel_index(int(gap.argmax()), gap.shape)
    count = int(np.count_nonzero(gap))
    worst = f"worst at {tuple(map(int, index))}: {expected[index]:.9g}, {actual[index]:.9g}"
    return f"differs in {count} of {gap.size} elements; {worst}"


def _rows(array: Array, axis: int) -> list[bytes]:
    return sorted(np.ascontiguousarray(row).tobytes() for row in np.moveaxis(array, axis, 0))
