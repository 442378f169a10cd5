"""Pair two runs' calls: by name, or, where one of them is a file's, as `parity.judging.units` does."""

from __future__ import annotations

from dataclasses import dataclass, replace

from parity.functions import is_function
from parity.judging.sequences import pair_rest
from parity.judging.units import ROUNDED, folded, pair_calls, pair_units, units
from parity.tracing.trace import Call, Noise, Trace


@dataclass(frozen=True)
class Alignment:
    """The pairs of calls of two Traces.

    Attributes:
        pairs: Reference's and candidate's calls, in the reference's order.
        folded: Keys of the reference's calls whose unit has a BatchNorm in one of the two Traces only.
        inside: For reference and candidate, keys of the calls in a unit that has a partner.
        by_order: Whether they were paired by kind, shape and order, because one of the two is a file.
        named: Keys of the reference's calls that were paired by name.
    """

    pairs: list[tuple[Call, Call]]
    folded: frozenset[tuple[str, int]] = frozenset()
    inside: tuple[frozenset[tuple[str, int]], frozenset[tuple[str, int]]] = frozenset(), frozenset()
    by_order: bool = False
    named: frozenset[tuple[str, int]] = frozenset()


def by_name(reference: Trace, candidate: Trace) -> Alignment:
    """Return the pairs of layer calls of the same name and number, and of the calls between them."""
    partners = {call.key: call for call in candidate.calls if not is_function(call.layer)}
    pairs = [(call, partners[call.key]) for call in reference.calls if call.key in partners]
    named = frozenset(call.key for call, _ in pairs)
    # The partner of a layer that computes by functions in the other network: that layer, or the function of its kind.
    rest = [(a, b) for a, b in pair_rest(reference, candidate, pairs) if a.key not in named or a.kind == b.kind]
    replaced = {call.key for call, _ in rest}
    pairs = [*(pair for pair in pairs if pair[0].key not in replaced), *rest]
    order = {call.key: i for i, call in enumerate(reference.calls)}
    return Alignment(sorted(pairs, key=lambda pair: order[pair[0].key]), named=named - replaced)


def align(reference: Trace, candidate: Trace) -> Alignment:
    """Return the pairs of two Traces, by name unless one of them is a file's.

    The network's own outputs are always a pair. A layer without a partner has no verdict: the outputs judge it.
    """
    if "onnx" not in (reference.manifest.get("framework"), candidate.manifest.get("framework")):
        return by_name(reference, candidate)
    sides = units(reference), units(candidate)
    unit_pairs = pair_units(*sides)
    written = dict[str, str]()
    pairs = [pair for one, other in unit_pairs for pair in pair_calls(one, other, written)]
    pairs += [_labelled(a, b) for a in reference.calls if a.key == ("", 0) for b in candidate.calls if b.key == ("", 0)]
    order = {call.key: i for i, call in enumerate(reference.calls)}
    rounded = [[call.key for call in trace.calls if call.kind == ROUNDED] for trace in (reference, candidate)]
    inside = (
        frozenset([*rounded[0], *(call.key for unit, _ in unit_pairs for call in unit.calls)]),
        frozenset([*rounded[1], *(call.key for _, unit in unit_pairs for call in unit.calls)]),
    )
    pairs = sorted(pairs, key=lambda pair: order[pair[0].key])
    return Alignment(pairs, frozenset(folded(*sides, unit_pairs)), inside, by_order=True)


def _labelled(reference: Call, candidate: Call) -> tuple[Call, Call]:
    """Return the calls with the keys of their outputs if the keys are the same; a file's are whatever it was told."""
    if {*reference.labels} == {*candidate.labels}:
        return reference, candidate
    return replace(reference, labels=()), replace(candidate, labels=())


@dataclass(frozen=True)
class OutputPair:
    """A pair of outputs: its label in messages, its names in the two traces, and their float32 noise."""

    label: str
    reference: str
    candidate: str
    noise: tuple[Noise, Noise]


def output_pairs(reference: Call, candidate: Call) -> list[OutputPair]:
    """Return the pairs of outputs: by their keys where both calls have them, else in order."""
    if reference.labels and candidate.labels:
        positions = {label: i for i, label in enumerate(candidate.labels)}
        matches = [(label, i, positions[label]) for i, label in enumerate(reference.labels) if label in positions]
    else:
        matches = [(str(i), i, i) for i in range(min(len(reference.outputs), len(candidate.outputs)))]
    return [
        OutputPair(
            f"output {label}", reference.outputs[i], candidate.outputs[j], (reference.noise[i], candidate.noise[j])
        )
        for label, i, j in matches
    ]


def tensor_pairs(reference: Call, candidate: Call) -> list[tuple[str, str]]:
    """Return the names of all tensors to compare, reference and candidate: inputs, outputs, gradients."""
    labels = [label for label in reference.gradients if label in candidate.gradients]
    return [
        *zip(reference.inputs, candidate.inputs, strict=False),
        *[(pair.reference, pair.candidate) for pair in output_pairs(reference, candidate)],
        *[(reference.gradients[label], candidate.gradients[label]) for label in labels],
    ]
