"""Pair the calls of a framework's layers and a file's nodes: by their weights, by what they read, then by order.

Exporters and optimisers rename layers, split them (a convolution and the addition of its bias) and join them (BatchNorm
folded into a convolution). So units are paired, not layers: a unit is a weighted layer together with the operations
with constants on its output, or any other layer.

Both sides hold the same weights if the port is right, whatever the layers are called. So units with the peaks of
one weight are partners first; then units of one kind that read what partners write; then, between these, units of one
kind and shape in their order.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from parity.judging.sequences import rising
from parity.layers import KINDS, known
from parity.numerics.peaks import likeness
from parity.tracing.trace import Call, Trace

# The value of a pair of units of the same kind and shape, of one that shares a name as well, and of one found before.
_SAME, _NAMED, _FOUND = 2, 5, 50
# Weights in 8 bits keep most of the positions of their largest elements; other weights share few.
_ALIKE = 0.6
# The order of their operands changes nothing.
_COMMUTATIVE = ("Add", "Mul", "Sum", "Mean", "Max", "Min")

# The kind of a call that only rounds a tensor to a grid, in a file of lower precision.
ROUNDED = "DequantizeLinear"

Found = dict[int, int]


@dataclass(frozen=True)
class Unit:
    """A weighted layer with the operations that can be folded into it, or any other layer.

    Attributes:
        calls: In order.
        shape: That of the last call's output.
        reads: The number of the unit that writes each input, None for an input of the network or an unknown one.
    """

    calls: tuple[Call, ...]
    shape: tuple[int, ...]
    reads: tuple[int | None, ...]

    @property
    def names(self) -> set[str]:
        """Return the dotted paths of its layers."""
        return {call.layer for call in self.calls}

    @property
    def kind(self) -> str:
        """Return its first layer's kind, by the name that files and frameworks share."""
        return _common_kind(self.calls[0].kind)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kind of each layer."""
        return tuple(call.kind for call in self.calls)

    @property
    def kernel(self) -> tuple[int, ...]:
        """Return the peaks of its weight; empty without one."""
        return self.calls[0].kernel

    @property
    def norms(self) -> int:
        """Return the number of BatchNorms in it."""
        return sum(kind.startswith("BatchNorm") for kind in self.kinds)


def units(trace: Trace) -> list[Unit]:
    """Return the units of a trace, in order."""
    calls = [call for call in trace.calls if call.leaf and call.outputs and call.kind != ROUNDED]
    readers = Counter(name for call in calls for name in call.inputs)
    groups = list[list[Call]]()
    open_groups = dict[str, list[Call]]()  # by the name of their output
    for call in calls:
        group = open_groups.pop(call.inputs[0], None) if len(call.inputs) == 1 and _is_foldable(call) else None
        if group is not None and readers[call.inputs[0]] == 1:
            group.append(call)
        else:
            group = [call]
            groups.append(group)
        if known(_common_kind(group[0].kind)).weighted:
            open_groups[call.outputs[0]] = group
    writers = {name: i for i, group in enumerate(groups) for call in group for name in call.outputs}
    for call in trace.calls:
        if call.kind == ROUNDED and call.inputs and call.inputs[0] in writers:
            writers[call.outputs[0]] = writers[call.inputs[0]]
    return [
        Unit(
            tuple(group),
            trace.shape(group[-1].outputs[0]),
            tuple(writers.get(name) for name in group[0].inputs),
        )
        for group in groups
    ]


def _common_kind(kind: str) -> str:
    return known(kind).like or kind


def _is_foldable(call: Call) -> bool:
    """Return whether a call can be folded into a weighted layer before it."""
    return call.kind.startswith("BatchNorm") or call.config.get("constant", 0) > 1


def pair_units(reference: Sequence[Unit], candidate: Sequence[Unit]) -> list[tuple[Unit, Unit]]:
    """Return the pairs of units."""
    found = _by_weights(reference, candidate)
    anchored = bool(found)
    while True:
        before = len(found)
        _by_flow(reference, candidate, found, anchored)
        found |= _by_order(reference, candidate, found, anchored)
        if len(found) == before:
            return [(reference[i], candidate[j]) for i, j in sorted(found.items())]


def other_weights(reference: Trace, candidate: Trace) -> bool:
    """Return whether the two hold other weights: most layers' kernels are of shapes that both have, and of no partner.

    False where there are no weights to tell it by.
    """
    sides = units(reference), units(candidate)
    shapes = {unit.kernel[:2] for unit in sides[1] if unit.kernel}
    comparable = [unit for unit in sides[0] if unit.kernel and unit.kernel[:2] in shapes]
    return bool(comparable) and 2 * len(_by_weights(*sides)) < len(comparable)


def _by_weights(reference: Sequence[Unit], candidate: Sequence[Unit]) -> Found:
    """Return the pairs of units, by number, whose weights have the same peaks; the most alike first."""
    groups = defaultdict[Hashable, list[int]](list)
    for j, unit in enumerate(candidate):
        if unit.kernel:
            groups[unit.kind, unit.kernel[:2]].append(j)
    alike = [
        (-likeness(unit.kernel, candidate[j].kernel), not unit.names & candidate[j].names, i, j)
        for i, unit in enumerate(reference)
        if unit.kernel
        for j in groups[unit.kind, unit.kernel[:2]]
    ]
    found, taken = Found(), set[int]()
    for unlikeness, _, i, j in sorted(alike):
        if -unlikeness >= _ALIKE and i not in found and j not in taken:
            found[i] = j
            taken.add(j)
    return found


def _by_flow(reference: Sequence[Unit], candidate: Sequence[Unit], found: Found, anchored: bool) -> None:
    """Add the pairs of units of one kind that read what partners write, in whatever order.

    Layers whose settings we know are partners even if their outputs' shapes differ: the settings then say why.
    """
    if not anchored:
        return
    taken = set(found.values())
    places = defaultdict[Hashable, list[int]](list)
    for j, unit in enumerate(candidate):
        if j not in taken and None not in unit.reads and unit.reads:
            places[unit.kind, tuple(sorted(map(str, unit.reads)))].append(j)
    for i, unit in enumerate(reference):
        if i in found or not unit.reads or any(read not in found for read in unit.reads):
            continue
        read = tuple(sorted(str(found[number]) for number in unit.reads if number is not None))
        settings = bool(KINDS[unit.kind].settings) if unit.kind in KINDS and unit.kind != "Flatten" else False
        for j in places[unit.kind, read]:
            if j not in taken and (settings or unit.shape == candidate[j].shape):
                found[i] = j
                taken.add(j)
                break


def _by_order(reference: Sequence[Unit], candidate: Sequence[Unit], found: Found, anchored: bool) -> Found:
    """Return pairs of one kind and shape: a longest common subsequence that keeps to the pairs found before.

    Without weights that say which layer is which, units may have moved past others: those found before are left out.
    """
    taken = set(found.values())
    rows = [i for i in range(len(reference)) if anchored or i not in found]
    columns = [j for j in range(len(candidate)) if anchored or j not in taken]
    if all(i in found for i in rows) or all(j in taken for j in columns):
        return {}
    pairs = _common_subsequence([reference[i] for i in rows], [candidate[j] for j in columns], found, rows, columns)
    return {rows[i]: columns[j] for i, j in pairs}


def _common_subsequence(
    reference: Sequence[Unit], candidate: Sequence[Unit], found: Found, rows: Sequence[int], columns: Sequence[int]
) -> list[tuple[int, int]]:
    """Return the pairs of positions, rising in both, of the greatest total value: a longest common subsequence."""
    taken = {j: i for i, j in found.items()}
    names = [{name for unit in side for name in unit.names} for side in (reference, candidate)]
    shared = names[0] & names[1]
    kernels = all(bool(unit.kernel) for side in (reference, candidate) for unit in side if known(unit.kind).weighted)
    ours = [
        (_token(unit, kernels), unit.names & shared, i, found.get(i)) for unit, i in zip(reference, rows, strict=True)
    ]
    theirs = [
        (_token(unit, kernels), unit.names & shared, taken.get(j), j)
        for unit, j in zip(candidate, columns, strict=True)
    ]
    return rising(ours, theirs, _value)


def _token(unit: Unit, kernels: bool) -> Hashable:
    return unit.kind, unit.shape, unit.kernel[:2] if kernels else ()


_Entry = tuple[Hashable, set[str], int | None, int | None]  # token, shared names, number in reference, in candidate


def _value(one: _Entry, other: _Entry) -> int:
    if one[3] is not None or other[2] is not None:  # one of them has its partner
        return _FOUND if one[3] == other[3] else 0
    if one[0] != other[0]:
        return 0
    if one[1] and other[1]:  # the other trace has both names
        return _NAMED if one[1] & other[1] else 0
    return _SAME


def pair_calls(one: Unit, other: Unit, written: dict[str, str]) -> list[tuple[Call, Call]]:
    """Return the calls of a pair of units: each with its partner if the kinds are the same, else as a whole.

    Args:
        one: The reference's.
        other: The candidate's.
        written: The reference's tensor that each of the candidate's tensors is a partner of; extended by theirs.
    """
    same = one.kinds == other.kinds
    pairs = list(zip(one.calls, other.calls, strict=True)) if same else [_as_calls(one, other)]
    pairs = [(a, _in_order(a, b, written)) for a, b in pairs]
    for a, b in pairs:
        written.update(zip(b.outputs, a.outputs, strict=False))
    return pairs


def _as_calls(one: Unit, other: Unit) -> tuple[Call, Call]:
    """Return two units as one call each: the inputs of its first, the outputs of its last.

    Its settings are the weighted layer's, and the kinds are not held against each other: a fold is no difference.
    """
    first, last = one.calls[0], one.calls[-1]
    config = other.calls[0].config
    if "node" in config and one.norms != other.norms:
        more, what = ("with", "folded into it") if one.norms > other.norms else ("without", "")
        config = {**config, "node": f"{config['node']} ({' '.join(filter(None, [more, 'a BatchNorm', what]))})"}
    return (
        dataclasses.replace(last, inputs=first.inputs, config=first.config, kernel=first.kernel),
        dataclasses.replace(other.calls[-1], inputs=other.calls[0].inputs, kind=last.kind, config=config),
    )


def _in_order(reference: Call, candidate: Call, written: dict[str, str]) -> Call:
    """Return the candidate's call with its operands in the reference's order, where the order changes nothing."""
    if candidate.kind not in _COMMUTATIVE or set(reference.inputs) != {written.get(name) for name in candidate.inputs}:
        return candidate
    order = {name: i for i, name in enumerate(reference.inputs)}
    return dataclasses.replace(candidate, inputs=tuple(sorted(candidate.inputs, key=lambda name: order[written[name]])))


def folded(
    reference: Sequence[Unit], candidate: Sequence[Unit], pairs: Iterable[tuple[Unit, Unit]]
) -> set[tuple[str, int]]:
    """Return the last calls of the reference's weighted units that have a BatchNorm in one of the two traces only."""
    if sum(unit.norms for unit in reference) == sum(unit.norms for unit in candidate):
        return set()
    same = {call.key for one, other in pairs if one.norms == other.norms for call in one.calls}
    return {
        unit.calls[-1].key
        for unit in reference
        if known(unit.kind).weighted and not same & {call.key for call in unit.calls}
    }
