"""A file of 8-bit integers that differs from its network: which of its layers cost most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from parity.judging.comparison import Comparison, Culprit
from parity.judging.units import Unit, pair_units, units
from parity.processes import jobs
from parity.processes.workers import Worker, ask
from parity.tracing.trace import Trace

_NAMED = 3


def with_losses(
    comparison: Comparison, reference: Trace, candidate: Trace, worker: Worker, timeout: float
) -> Comparison:
    """Return the comparison with the layers that lose most as its culprits, the most costly first.

    Every layer of such a file differs, and its distance in the table is that of all layers so far. What one layer adds
    is measured on the reference's own input: by its weights, on that input as it is; by its output, at the layer that
    reads it rounded.

    Args:
        comparison: Of a file that rounds to grids of integers; it differs.
        reference: The network's trace, or the float file's.
        candidate: The file's.
        worker: That recorded the file.
        timeout: In seconds.

    Raises:
        ParityError: If the file's worker fails.
    """
    ours = units(reference)
    pairs = [
        (one, other)
        for one, other in pair_units(ours, units(candidate))
        if one.kernel and one.shape == other.shape and len(one.calls[0].inputs) == 1
    ]
    asked = [
        (*other.calls[0].key, *other.calls[-1].key, one.calls[0].inputs[0], one.calls[-1].outputs[0])
        for one, other in pairs
    ]
    losses = list[tuple[float, str, str]]()
    for (one, _), (weights, both) in zip(
        pairs, ask(worker, jobs.Losses(reference.path, tuple(asked)), timeout), strict=True
    ):
        name = one.calls[-1].layer
        losses.append((weights, name, f"its weights, rounded to integers, put its output {weights:.2g} of the rms off"))
        if both > weights:
            source = _writer(one, ours)
            losses.append(
                (both, source, f"its output, rounded to integers, puts the output of {name} {both:.2g} of the rms off")
            )
    costliest = sorted(losses, key=lambda each: -each[0])
    named = dict[str, str]()
    for _, layer, reason in costliest:
        _ = named.setdefault(layer, reason)
    chosen = list(named.items())[:_NAMED]
    head = f"costs most of {len(pairs)} layers with weights: "
    culprits = [Culprit(layer, (head if not i else "") + reason) for i, (layer, reason) in enumerate(chosen)]
    return replace(comparison, culprits=tuple(culprits)) if culprits else comparison


def _writer(unit: Unit, others: Sequence[Unit]) -> str:
    """Return the nearest layer with weights that a unit's input comes from, by single inputs; "" for the network's."""
    while len(unit.reads) == 1 and unit.reads[0] is not None:
        unit = others[unit.reads[0]]
        if unit.kernel:
            break
    else:
        return unit.calls[-1].layer if len(unit.reads) > 1 else ""
    return unit.calls[-1].layer
