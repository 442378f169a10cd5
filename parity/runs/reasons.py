"""What is known of a comparison besides its traces: how the networks were given, and what an experiment shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from parity.judging.comparison import Comparison, Culprit, Layer
from parity.numerics.distance import distance
from parity.tracing.trace import Trace

_ROLES = "reference", "candidate"
_FORWARD = "the forward code of "


def with_notes(comparison: Comparison) -> Comparison:
    """Return the comparison with notes: wrappers taken off, weights that were made to fit, layers not registered."""
    notes, culprits = list[str](), list[Culprit]()
    for role, manifest in zip(_ROLES, (comparison.reference, comparison.candidate), strict=True):
        notes += [f"in the {role}, {sentence}" for sentence in manifest.get("built", ())]
        if wrappers := manifest.get("wrappers"):
            notes.append(f"taken off the {role} before it was compared: {', '.join(wrappers)}")
        told = manifest.get("weights_notes")  # of a user's trace, anything
        notes += [f"weights: {note}" for note in told if isinstance(note, str)] if isinstance(told, list) else []
        hidden = manifest.get("unregistered", ())
        if comparison.verdict == "invalid":  # for this reason, as like as not
            culprits += [Culprit("", f"in the {role}, {sentence}") for sentence in hidden]
        else:
            notes += [f"in the {role}, {sentence}" for sentence in hidden]
    return dataclasses.replace(
        comparison, notes=(*comparison.notes, *dict.fromkeys(notes)), culprits=(*culprits, *comparison.culprits)
    )


def with_overwriting(comparison: Comparison, tried: Callable[[int, float], list[str]]) -> Comparison:
    """Return the comparison with the reason of a forward that differs because an in-place layer overwrites.

    Args:
        comparison: With its culprits.
        tried: Called with 0 for the reference or 1 for the candidate and a distance; returns as
            `tracing.overwriting.overwriting` does.
    """
    layer = _unexplained(comparison)
    if layer is None:
        return comparison
    for side, name in enumerate(comparison.names):
        if layers := tried(side, layer.allowance):
            reason = (
                f"overwrites its input in {name} (inplace=True), and the forward code uses that tensor again; "
                "with inplace=False the two are the same function"
            )
            return dataclasses.replace(comparison, culprits=(Culprit(layers[0], reason),))
    return comparison


def with_order(comparison: Comparison, reference: Trace, candidate: Trace) -> Comparison:
    """Return the comparison with the reason of a forward that differs because it returns its outputs in another order.

    Args:
        comparison: With its culprits.
        reference: The traces that it judged.
        candidate: Likewise.
    """
    layer = _unexplained(comparison)
    ends = [next((call for call in trace.calls if call.key == ("", 0)), None) for trace in (reference, candidate)]
    if layer is None or ends[0] is None or ends[1] is None:
        return comparison
    expected = [reference.tensor(name) for name in ends[0].outputs]
    actual = [candidate.tensor(name) for name in ends[1].outputs]
    labels = [end.labels or tuple(map(str, range(len(end.outputs)))) for end in ends if end is not None]
    partners = [
        [j for j, b in enumerate(actual) if a.shape == b.shape and distance(b, a).relative <= layer.allowance]
        for a in expected
    ]
    if len(expected) != len(actual) or {j for found in partners for j in found[:1]} != {*range(len(actual))}:
        return comparison
    moved = [
        f"{labels[0][i]} is {labels[1][js[0]]}" for i, js in enumerate(partners) if labels[0][i] != labels[1][js[0]]
    ]
    reason = f"its outputs are right, in another order or by other names: {', '.join(moved)} in the candidate"
    return dataclasses.replace(comparison, culprits=(Culprit("", reason),))


def _unexplained(comparison: Comparison) -> Layer | None:
    """Return the network's own row if its output differs, and no culprit but forward code was found."""
    forwards = [each for each in comparison.culprits if each.explanation.startswith(_FORWARD)]
    row = next((layer for layer in comparison.layers if layer.layer == ""), None)
    return row if row is not None and row.verdict == "different" and len(forwards) == len(comparison.culprits) else None
