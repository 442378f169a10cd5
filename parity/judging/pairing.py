"""Find the partners of two runs' calls where names alone do not: between a framework's layers and a file's nodes.

Exporters and optimisers rename layers, split them (a convolution and the addition of its bias) and join them (BatchNorm
folded into a convolution). So partners are looked for among units: a weighted layer with what is applied to its output
by constants alone, taken as one, or any other layer. Units pair in their order, one whose names say so first.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from parity.layers import known
from parity.tracing.trace import Call, Trace

_SAME, _NAMED = 2, 5


@dataclass(frozen=True)
class Alignment:
    """Partners of two Traces.

    Attributes:
        pairs: Reference's and candidate's calls, in the reference's order.
        folded: Keys of the reference's calls that hold a BatchNorm on one side and none on the other.
        inside: Of each side, keys of calls that are part of a unit which has its partner.
        by_order: Whether they were found by kinds, shapes and order: a file took part.
    """

    pairs: list[tuple[Call, Call]]
    folded: frozenset[tuple[str, int]] = frozenset()
    inside: tuple[frozenset[tuple[str, int]], frozenset[tuple[str, int]]] = frozenset(), frozenset()
    by_order: bool = False


@dataclass(frozen=True)
class _Unit:
    calls: tuple[Call, ...]
    shape: tuple[int, ...]

    @property
    def names(self) -> set[str]:
        return {call.layer for call in self.calls}

    @property
    def kind(self) -> str:
        return _alike(self.calls[0].kind)

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(call.kind for call in self.calls)

    @property
    def whole(self) -> Call:
        """Return the unit as one call: what went into its first, what came out of its last."""
        return dataclasses.replace(self.calls[-1], inputs=self.calls[0].inputs)


def by_name(reference: Trace, candidate: Trace) -> Alignment:
    """Return the calls of the same layer and number: two frameworks' layers have the same names."""
    partners = {call.key: call for call in candidate.calls}
    pairs = [(call, partners[call.key]) for call in reference.calls if call.key in partners]
    return Alignment(pairs)


def align(reference: Trace, candidate: Trace) -> Alignment:
    """Return the partners of two Traces, by name unless one of them is a file's.

    The network's own outputs are partners always. Layers that are not are no verdict: the outputs judge them.
    """
    if "onnx" not in (reference.manifest.get("framework"), candidate.manifest.get("framework")):
        return by_name(reference, candidate)
    ours, theirs = _units(reference), _units(candidate)
    found = list[tuple[_Unit, _Unit]]()
    left = list(range(len(ours))), list(range(len(theirs)))
    while matched := _common([ours[i] for i in left[0]], [theirs[i] for i in left[1]]):
        found += [(ours[left[0][i]], theirs[left[1][j]]) for i, j in matched]
        gone = {i for i, _ in matched}, {j for _, j in matched}
        left = tuple([k for i, k in enumerate(left[n]) if i not in gone[n]] for n in (0, 1))
    pairs = list[tuple[Call, Call]]()
    paired_norms = set[tuple[str, int]]()
    for one, other in found:
        if one.kinds == other.kinds:
            pairs += zip(one.calls, other.calls, strict=True)
        else:
            pairs.append((one.whole, other.whole))
        if one.kinds.count("BatchNorm2d") == other.kinds.count("BatchNorm2d"):
            paired_norms |= {call.key for call in one.calls}
    folding = (
        Counter(kind for unit in ours for kind in unit.kinds)["BatchNorm2d"]
        != Counter(kind for unit in theirs for kind in unit.kinds)["BatchNorm2d"]
    )
    folded = {
        unit.calls[-1].key
        for unit in ours
        if folding and known(unit.kind).weighted and not paired_norms & {call.key for call in unit.calls}
    }
    pairs += [(a, b) for a in reference.calls if a.key == ("", 0) for b in candidate.calls if b.key == ("", 0)]
    order = {call.key: i for i, call in enumerate(reference.calls)}
    inside = tuple(frozenset(call.key for units in found for call in units[role].calls) for role in (0, 1))
    return Alignment(
        sorted(pairs, key=lambda pair: order[pair[0].key]), frozenset(folded), (inside[0], inside[1]), by_order=True
    )


def _units(trace: Trace) -> list[_Unit]:
    calls = [call for call in trace.calls if call.leaf and call.outputs]
    readers = Counter(name for call in calls for name in call.inputs)
    units, ends = list[list[Call]](), dict[str, list[Call]]()
    for call in calls:
        unit = ends.pop(call.inputs[0], None) if len(call.inputs) == 1 and _constant(call) else None
        if unit is not None and readers[call.inputs[0]] == 1:
            unit.append(call)
        else:
            unit = [call]
            units.append(unit)
        if known(_alike(unit[0].kind)).weighted:
            ends[call.outputs[0]] = unit
    return [_Unit(tuple(unit), trace.shape(unit[-1].outputs[0])) for unit in units]


def _alike(kind: str) -> str:
    """Return one word for kinds that files and frameworks call by several."""
    return known(kind).like or kind


def _constant(call: Call) -> bool:
    """Return whether a call does no more than what can be folded into a weighted layer before it."""
    return call.kind == "BatchNorm2d" or call.config.get("constant", 0) > 1


def _common(ours: Sequence[_Unit], theirs: Sequence[_Unit]) -> list[tuple[int, int]]:
    """Return the pairs of positions, rising in both, that are worth most together: the longest common subsequence."""
    known = {name for unit in ours for name in unit.names} & {name for unit in theirs for name in unit.names}
    rows = [(_token(unit), unit.names & known) for unit in ours]
    columns = [(_token(unit), unit.names & known) for unit in theirs]
    best = [[0] * (len(columns) + 1) for _ in range(len(rows) + 1)]
    for i in range(len(rows) - 1, -1, -1):
        here, below = best[i], best[i + 1]
        for j in range(len(columns) - 1, -1, -1):
            worth = _worth(rows[i], columns[j])
            here[j] = max(below[j], here[j + 1], below[j + 1] + worth if worth else 0)
    found, i, j = list[tuple[int, int]](), 0, 0
    while i < len(rows) and j < len(columns):
        worth = _worth(rows[i], columns[j])
        if worth and best[i][j] == best[i + 1][j + 1] + worth:
            found.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return found


def _token(unit: _Unit) -> Hashable:
    return unit.kind, unit.shape


def _worth(one: tuple[Hashable, set[str]], other: tuple[Hashable, set[str]]) -> int:
    if one[0] != other[0]:
        return 0
    if one[1] and other[1]:  # both names are known on the other side
        return _NAMED if one[1] & other[1] else 0
    return _SAME
