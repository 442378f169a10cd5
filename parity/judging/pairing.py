"""Pair two runs' calls: by name, or, where one of them is a file's, as `parity.judging.units` does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from parity.functions import is_function
from parity.judging.comparison import is_within
from parity.judging.sequences import near, pair_rest
from parity.judging.structure import pair_layers, same_names
from parity.judging.units import ROUNDED, folded, pair_calls, pair_units, units
from parity.layers import known
from parity.numerics.arrays import without_ones
from parity.tracing.trace import Call, Noise, Trace
from parity.weights.names import owner_of


@dataclass(frozen=True)
class Alignment:
    """The pairs of calls of two Traces.

    Attributes:
        pairs: Reference's and candidate's calls, in the reference's order.
        folded: Keys of the reference's calls whose unit has a BatchNorm in one of the two Traces only.
        inside: For reference and candidate, keys of the calls in a unit that has a partner.
        by_order: Whether they were paired by kind, shape and order, because one of the two is a file.
        named: Keys of the reference's calls that were paired by name.
        other_names: Whether the names of the two tell nothing.
    """

    pairs: list[tuple[Call, Call]]
    folded: frozenset[tuple[str, int]] = frozenset()
    inside: tuple[frozenset[tuple[str, int]], frozenset[tuple[str, int]]] = frozenset(), frozenset()
    by_order: bool = False
    named: frozenset[tuple[str, int]] = frozenset()
    other_names: bool = False


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


def by_structure(reference: Trace, candidate: Trace, layers: Mapping[str, str]) -> Alignment:
    """Return the pairs of two networks of other names: `structure.pair_layers`, and the calls between them.

    Args:
        reference: The run held to be right.
        candidate: The other one.
        layers: The candidate's layer of a layer of the reference, where it is known.
    """
    calls = {call.key: call for call in candidate.calls}
    given = [(call.key, (layers[call.layer], call.number)) for call in reference.calls if call.layer in layers]
    found = pair_layers(reference, candidate, [*given, *same_names(reference, candidate)])
    pairs = [(call, calls[found[call.key]]) for call in reference.calls if call.key in found]
    # A layer that computes by functions, and a function that takes its weights: their functions are partners.
    split = [pair for pair in pairs if _are_split(*pair)]
    pairs = [pair for pair in pairs if pair not in split]
    joined = [with_activation(pair, reference, candidate) for pair in pairs]
    inside = (
        frozenset(key for each in joined for key in each[1][0]),
        frozenset(key for each in joined for key in each[1][1]),
    )
    pairs = [pair for pair, _ in joined]
    pairs += [(call, calls[call.key]) for call in reference.calls if call.key == ("", 0) and call.key not in found]
    pairs += _blocks(reference, candidate, pairs)
    pairs += pair_rest(reference, candidate, pairs, inside)
    order = {call.key: i for i, call in enumerate(reference.calls)}
    pairs = sorted(pairs, key=lambda pair: order[pair[0].key])
    owning = inside[0] | {a.key for a, _ in split}, inside[1] | {b.key for _, b in split}
    return Alignment(pairs, inside=owning, named=frozenset([("", 0)]), other_names=True)


def _are_split(call: Call, partner: Call) -> bool:
    return is_function(call.layer) != is_function(partner.layer) and not (call.leaf and partner.leaf)


_Keys = tuple[list[tuple[str, int]], list[tuple[str, int]]]


def with_activation(pair: tuple[Call, Call], reference: Trace, candidate: Trace) -> tuple[tuple[Call, Call], _Keys]:
    """Return a pair, one with the activation behind it if the other has that inside; and the activation's key.

    Paddle's old BatchNorm has `act`. The activation inside is seen by its name or by the result.
    """
    a, b = pair
    if not a.outputs or not b.outputs or near(_print(reference, a), _print(candidate, b)):
        return pair, ([], [])
    behind = _activation(reference, a)
    if behind is not None and _holds(b, behind, near(_print(reference, behind), _print(candidate, b))):
        return (_joined(a, behind), b), ([behind.key], [])
    behind = _activation(candidate, b)
    if behind is not None and _holds(a, behind, near(_print(reference, a), _print(candidate, behind))):
        return (a, _joined(b, behind)), ([], [behind.key])
    return pair, ([], [])


def _joined(call: Call, behind: Call) -> Call:
    """Return a call that ends where the call behind it does."""
    ours = lambda labels: [label for label in labels if not label.startswith("output ")]
    ends = lambda labels: [label for label in labels if label.startswith("output ")]
    merged = lambda own, end: {label: own[label] for label in ours(own)} | {label: end[label] for label in ends(end)}
    return replace(
        call,
        outputs=behind.outputs,
        noise=behind.noise,
        gradients=merged(call.gradients, behind.gradients),
        gradient_noise=merged(call.gradient_noise, behind.gradient_noise),
        unreached=(*ours(call.unreached), *ends(behind.unreached)),
        detached=(*ours(call.detached), *ends(behind.detached)),
    )


def _print(trace: Trace, call: Call) -> float:
    return trace.fingerprints[call.outputs[0]]


def _holds(call: Call, activation: Call, same_result: bool) -> bool:
    return same_result or call.config.get("act") == activation.kind.lower()


def _activation(trace: Trace, call: Call) -> Call | None:
    """Return the only innermost call that reads a call's output, if it changes each element by itself."""
    reader = trace.only_reader(call)
    return reader if reader is not None and known(reader.kind).pointwise and not reader.weights else None


def _blocks(reference: Trace, candidate: Trace, pairs: Sequence[tuple[Call, Call]]) -> list[tuple[Call, Call]]:
    """Return pairs of layers of layers: those that hold the two sides of the same pairs, the innermost first."""
    owners = {a.layer: b.layer for a, b in pairs if a.weights}
    taken = {a.key for a, _ in pairs}, {b.key for _, b in pairs}
    inner = [[path for path in side if path] for side in (owners, owners.values())]
    partners = defaultdict[frozenset[str], list[Call]](list)
    for call in candidate.calls:
        if not call.leaf and call.key not in taken[1]:
            partners[frozenset(path for path in inner[1] if is_within(path, call.layer))].append(call)
    found = list[tuple[Call, Call]]()
    for call in reference.calls:
        held = frozenset(owners[path] for path in inner[0] if is_within(path, call.layer))
        if call.leaf or call.key in taken[0] or not held or not partners[held]:
            continue
        # One may begin with a pooling that the other has before it.
        whole = [_shapes(reference, call) == _shapes(candidate, other) for other in partners[held]]
        if any(whole):
            found.append((call, partners[held].pop(whole.index(True))))
    return found


def _shapes(trace: Trace, call: Call) -> list[list[tuple[int, ...]]]:
    return [[without_ones(trace.shape(name)) for name in names] for names in (call.inputs, call.outputs)]


def align(reference: Trace, candidate: Trace, layers: Mapping[str, str] | None = None) -> Alignment:
    """Return the pairs of two Traces: by name; by structure where names differ; as units where one is a file's.

    The network's own outputs are always a pair. A layer without a partner has no verdict: the outputs judge it.

    Args:
        reference: The run held to be right.
        candidate: The other one.
        layers: The candidate's layer of a layer of the reference, where it is known; None: names may be the same.
    """
    if "onnx" not in (reference.manifest.get("framework"), candidate.manifest.get("framework")):
        if _owners(reference) == _owners(candidate) and not layers:
            return by_name(reference, candidate)
        return by_structure(reference, candidate, layers or {})
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


def _owners(trace: Trace) -> set[tuple[str, int]]:
    """Return layer and number of each call that works with weights."""
    calls = [call for call in trace.calls if call.weights]
    functions = [call for call in calls if is_function(call.layer)]
    given = {(owner_of(name)[0], call.number) for call in functions for name in call.weights}
    return {call.key for call in calls if not is_function(call.layer)} | given


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
