"""Say why: which layers are wrong in themselves, and what about them differs, in words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from parity.judging.bounds import allowance, growth
from parity.judging.comparison import SAME_OUTPUT, Comparison, Culprit
from parity.judging.judge import in_words
from parity.layers import KINDS, differing_settings
from parity.numerics.arrays import Array, same_bits
from parity.numerics.distance import Distance
from parity.tracing.replay import Replay
from parity.tracing.trace import Call, Trace

States = tuple[Mapping[str, Array], Mapping[str, Array]]


def explained(
    comparison: Comparison, reference: Trace, candidate: Trace, replayed: Replay, states: States | None
) -> Comparison:
    """Return the comparison with its culprits.

    Args:
        comparison: One that is not ok.
        reference: The Traces it judged.
        candidate: Likewise.
        replayed: What each layer of the candidate makes of the reference's inputs; empty if it could not be run.
        states: Both sides' weights, if they are at hand.
    """
    called = {call.key: call for call in candidate.calls}
    partners = {
        (layer.layer, layer.call): called.get((layer.partner, layer.partner_call)) for layer in comparison.layers
    }
    wrong = [
        call for call in reference.calls if call.key in replayed and not _right(call, reference, replayed[call.key])
    ]
    reasons: dict[str, str] = {}
    for call in wrong:
        inner = f"{call.layer}." if call.layer else ""
        if not call.leaf and any(other.layer != call.layer and other.layer.startswith(inner) for other in wrong):
            continue  # what it holds is to blame
        words = _difference(call, partners.get(call.key), comparison.names, states)
        if isinstance(result := replayed[call.key], str):
            words.append(f"it cannot take the reference's input: {result}")
        if not words and not call.leaf:
            words = [_forward(call.layer, call.kind, comparison)]
        _ = reasons.setdefault(call.layer, "; ".join(words) or _unknown(call, result))
    for layer in comparison.layers:  # what a float64 replay does not show
        if layer.verdict == "different" and layer.reason.endswith(SAME_OUTPUT):
            _ = reasons.setdefault(layer.layer, layer.reason)
    for layer in comparison.layers:
        if layer.verdict == "precision" or (layer.verdict == "invalid" and not reasons):
            _ = reasons.setdefault(layer.layer, layer.reason)
            break
    where = comparison.first_divergence
    if where is not None and not reasons:
        call = next(call for call in reference.calls if call.key == (where.layer, where.call))
        words = _difference(call, partners.get(call.key), comparison.names, states)
        parent = where.layer.rpartition(".")[0]
        words += [_forward(parent, "", comparison)] if where.where == "between" else []
        reasons[where.layer] = "; ".join(words or ["its output differs", *comparison.notes])
    culprits = tuple(Culprit(layer, words) for layer, words in reasons.items())
    return dataclasses.replace(comparison, culprits=culprits)


def _right(call: Call, reference: Trace, result: Distance | str) -> bool:
    if isinstance(result, str):
        return False
    own = growth([call] if call.leaf else reference.calls)[-1]
    elements = math.prod(reference.shape(call.outputs[0])) if call.outputs else 1
    return result.relative <= allowance(own, result.peak, elements)


def _unknown(call: Call, result: Distance | str) -> str:
    if not isinstance(result, str) and math.isnan(result.relative):
        return "NaN on both sides: look for it in the input and the weights"
    gap = "" if isinstance(result, str) else f" (distance {result.relative:.3g} on the reference's own input)"
    return f"{call.kind} of the same configuration and weights, yet another function{gap}"


def _forward(layer: str, kind: str, comparison: Comparison) -> str:
    """Return what to say of a layer whose parts are right while the whole is not."""
    inside = [
        f"{name} is only in the {role}"
        for role, names in comparison.unmatched.items()
        for name in names
        if not layer or name.startswith(f"{layer}.")
    ]
    name = f"{layer or 'the network'}{f' ({kind})' if kind else ''}"
    return "; ".join([f"the forward code of {name} differs, what it calls is right", *inside[:4]])


def _difference(call: Call, partner: Call | None, names: tuple[str, str], states: States | None) -> list[str]:
    """Return the differences of two paired calls in kind, configuration and weights."""
    if partner is None:
        return ["it has no partner of that name in the candidate"]
    words = [f"{call.config['node']} in the reference"] if "node" in call.config else []
    words += [f"{partner.config['node']} in the file"] if "node" in partner.config else []
    settings = _settings(call, partner) if call.leaf else []
    words += in_words(settings, call, partner, names)
    modes = [one.config.get("training", False) for one in (call, partner)]
    if modes[0] != modes[1]:
        words.append(f"in training mode in {names[bool(modes[1])]}: call .eval() on the network")
    if states is not None and call.leaf:
        words += _weights(call.layer, *states)
    return words


def _settings(call: Call, partner: Call) -> list[str]:
    """Return the settings that differ and tell why two layers are different functions."""
    differ, in_training = differing_settings((call.kind, call.config), (partner.kind, partner.config), 4)
    trained = call.config.get("training") or partner.config.get("training")
    unknown = ["kind"] if call.kind != partner.kind and not {call.kind, partner.kind} <= KINDS.keys() else []
    return [*unknown, *differ, *(in_training if trained else [])]


def _weights(layer: str, ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> list[str]:
    prefix = f"{layer}." if layer else ""
    names = [name for name in ours if name.rpartition(".")[0] == layer and name in theirs]
    differ = [name for name in names if not same_bits(ours[name], theirs[name])]
    return [f"{name.removeprefix(prefix)} {_how(name, ours, theirs)}" for name in differ]


def _how(name: str, ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> str:
    """Return how a weight of the candidate differs from the reference's: the mistakes porting is known for."""
    right, wrong = ours[name], theirs[name]
    if wrong.shape != right.shape:
        return f"has another shape: {right.shape}, {wrong.shape}"
    if right.ndim == 2 and same_bits(wrong, right.T):
        return "is transposed"
    others = [other for other in ours if other != name and same_bits(ours[other], wrong)]
    if others and len(np.unique(wrong)) > 1:
        return f"holds the reference's {others[0]}"
    if np.unique(wrong).size == 1 and np.unique(right).size > 1:
        return f"was not copied: all of it is {wrong.flat[0]:g}"
    if same_bits(np.sort(right, axis=None), np.sort(wrong, axis=None)):
        for axis in range(right.ndim):
            if _rows(right, axis) == _rows(wrong, axis):
                return f"has the right numbers, permuted along axis {axis}"
        return "has the right numbers in another order"
    gap = np.abs(wrong.astype(np.float64) - right)
    index = np.unravel_index(int(gap.argmax()), gap.shape)
    count = int(np.count_nonzero(gap))
    worst = f"worst at {tuple(map(int, index))}: {right[index]:.9g}, {wrong[index]:.9g}"
    return f"differs in {count} of {gap.size} elements; {worst}"


def _rows(array: Array, axis: int) -> list[bytes]:
    return sorted(np.ascontiguousarray(row).tobytes() for row in np.moveaxis(array, axis, 0))
