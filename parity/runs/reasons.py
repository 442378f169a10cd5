"""What is known of a comparison besides its traces: how the networks were given, and what an experiment shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from parity.judging.comparison import Comparison, Culprit

_ROLES = "reference", "candidate"
_FORWARD = "the forward code of "


def with_notes(comparison: Comparison) -> Comparison:
    """Return the comparison with notes of the wrappers that were taken off, and of layers that are not registered."""
    notes, culprits = list[str](), list[Culprit]()
    for role, manifest in zip(_ROLES, (comparison.reference, comparison.candidate), strict=True):
        if wrappers := manifest.get("wrappers"):
            notes.append(f"taken off the {role} before it was compared: {', '.join(wrappers)}")
        hidden = manifest.get("unregistered", ())
        if comparison.verdict == "invalid":  # for this reason, as like as not
            culprits += [Culprit("", f"in the {role}, {sentence}") for sentence in hidden]
        else:
            notes += [f"in the {role}, {sentence}" for sentence in hidden]
    return dataclasses.replace(
        comparison, notes=(*comparison.notes, *notes), culprits=(*culprits, *comparison.culprits)
    )


def with_overwriting(comparison: Comparison, tried: Callable[[int, float], list[str]]) -> Comparison:
    """Return the comparison with the reason of a forward that differs because an in-place layer overwrites.

    Args:
        comparison: With its culprits.
        tried: Called with 0 for the reference or 1 for the candidate and a distance; returns as
            `tracing.overwriting.overwriting` does.
    """
    layer = next((layer for layer in comparison.layers if layer.layer == ""), None)
    forwards = [each for each in comparison.culprits if each.explanation.startswith(_FORWARD)]
    if layer is None or layer.verdict != "different" or len(forwards) != len(comparison.culprits):
        return comparison
    for side, name in enumerate(comparison.names):
        if layers := tried(side, layer.allowance):
            reason = (
                f"overwrites its input in {name} (inplace=True), and the forward code uses that tensor again; "
                "with inplace=False the two are the same function"
            )
            return dataclasses.replace(comparison, culprits=(Culprit(layers[0], reason),))
    return comparison
