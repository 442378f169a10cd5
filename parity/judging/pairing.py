"""Pair two runs' calls: by name, or, between a framework's layers and a file's nodes, by kind, shape and order.

Exporters and optimisers rename layers, split them (a convolution and the addition of its bias) and join them (BatchNorm
folded into a convolution). So units are paired, not layers: a unit is a weighted layer together with the operations
with constants on its output, or any other layer. Units are paired in order; those of the same name first.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from parity.functions import is_function
from parity.judging.sequences import pair_rest
from parity.layers import known
from parity.tracing.trace import Call, Noise, Trace

# The value of a pair of units of the same kind and shape, and of one that shares a name as well.
_SAME, _NAMED = 2, 5


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


@dataclass(frozen=True)
class _Unit:
    calls: tuple[Call, ...]
    shape: tuple[int, ...]

    @property
    def names(self) -> set[str]:
        return {call.layer for call in self.calls}

    @property
    def kind(self) -> str:
        return _common_kind(self.calls[0].kind)

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(call.kind for call in self.calls)

    @property
    def as_call(self) -> Call:
        """Return the unit as one call: the inputs of its first, the outputs of its last."""
        return dataclasses.replace(self.calls[-1], inputs=self.calls[0].inputs)


def by_name(reference: Trace, candidate: Trace) -> Alignment:
    """Return the pairs of layer calls of the same name and number, and of the calls between them.

    Where a layer computes inside one network by itself and in the other by functions, those are its partner.
    """
    partners = {call.key: call for call in candidate.calls if not is_function(call.layer)}
    pairs = [(call, partners[call.key]) for call in reference.calls if call.key in partners]
    named = frozenset(call.key for call, _ in pairs)
    rest = pair_rest(reference, candidate, pairs)
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
    reference_units, candidate_units = _units(reference), _units(candidate)
    unit_pairs = _pair_units(reference_units, candidate_units)
    pairs = list[tuple[Call, Call]]()
    paired_norms = set[tuple[str, int]]()
    for one, other in unit_pairs:
        if one.kinds == other.kinds:
            pairs += zip(one.calls, other.calls, strict=True)
        else:
            pairs.append((one.as_call, other.as_call))
        if _norms([one]) == _norms([other]):
            paired_norms |= {call.key for call in one.calls}
    folding = _norms(reference_units) != _norms(candidate_units)
    folded = {
        unit.calls[-1].key
        for unit in reference_units
        if folding and known(unit.kind).weighted and not paired_norms & {call.key for call in unit.calls}
    }
    pairs += [(a, b) for a in reference.calls if a.key == ("", 0) for b in candidate.calls if b.key == ("", 0)]
    order = {call.key: i for i, call in enumerate(reference.calls)}
    inside = (
        frozenset(call.key for unit, _ in unit_pairs for call in unit.calls),
        frozenset(call.key for _, unit in unit_pairs for call in unit.calls),
    )
    return Alignment(sorted(pairs, key=lambda pair: order[pair[0].key]), frozenset(folded), inside, by_order=True)


def _pair_units(reference: list[_Unit], candidate: list[_Unit]) -> list[tuple[_Unit, _Unit]]:
    """Return pairs until no two of the remaining units match: a unit may have moved past others."""
    pairs = list[tuple[_Unit, _Unit]]()
    while matches := _common_subsequence(reference, candidate):
        pairs += [(reference[i], candidate[j]) for i, j in matches]
        reference_matched, candidate_matched = {i for i, _ in matches}, {j for _, j in matches}
        reference = [unit for i, unit in enumerate(reference) if i not in reference_matched]
        candidate = [unit for j, unit in enumerate(candidate) if j not in candidate_matched]
    return pairs


def _norms(units: Iterable[_Unit]) -> int:
    return sum(unit.kinds.count("BatchNorm2d") for unit in units)


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


def _units(trace: Trace) -> list[_Unit]:
    calls = [call for call in trace.calls if call.leaf and call.outputs]
    readers = Counter(name for call in calls for name in call.inputs)
    units = list[list[Call]]()
    open_units = dict[str, list[Call]]()  # by the name of their output
    for call in calls:
        unit = open_units.pop(call.inputs[0], None) if len(call.inputs) == 1 and _is_foldable(call) else None
        if unit is not None and readers[call.inputs[0]] == 1:
            unit.append(call)
        else:
            unit = [call]
            units.append(unit)
        if known(_common_kind(unit[0].kind)).weighted:
            open_units[call.outputs[0]] = unit
    return [_Unit(tuple(unit), trace.shape(unit[-1].outputs[0])) for unit in units]


def _common_kind(kind: str) -> str:
    """Return one name for kinds that have several in files and frameworks."""
    return known(kind).like or kind


def _is_foldable(call: Call) -> bool:
    """Return whether a call can be folded into a weighted layer before it."""
    return call.kind == "BatchNorm2d" or call.config.get("constant", 0) > 1


def _common_subsequence(reference: Sequence[_Unit], candidate: Sequence[_Unit]) -> list[tuple[int, int]]:
    """Return the pairs of positions, rising in both, of the greatest total value: a longest common subsequence."""
    names = [{name for unit in units for name in unit.names} for units in (reference, candidate)]
    shared = names[0] & names[1]
    rows = [(_token(unit), unit.names & shared) for unit in reference]
    columns = [(_token(unit), unit.names & shared) for unit in candidate]
    best = [[0] * (len(columns) + 1) for _ in range(len(rows) + 1)]
    for i in range(len(rows) - 1, -1, -1):
        current, below = best[i], best[i + 1]
        for j in range(len(columns) - 1, -1, -1):
            value = _value(rows[i], columns[j])
            current[j] = max(below[j], current[j + 1], below[j + 1] + value if value else 0)
    pairs = list[tuple[int, int]]()
    i, j = 0, 0
    while i < len(rows) and j < len(columns):
        value = _value(rows[i], columns[j])
        if value and best[i][j] == best[i + 1][j + 1] + value:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def _token(unit: _Unit) -> Hashable:
    return unit.kind, unit.shape


def _value(one: tuple[Hashable, set[str]], other: tuple[Hashable, set[str]]) -> int:
    if one[0] != other[0]:
        return 0
    if one[1] and other[1]:  # the other trace has both names
        return _NAMED if one[1] & other[1] else 0
    return _SAME
