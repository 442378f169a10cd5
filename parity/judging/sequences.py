"""Pair the calls that have no partner of their name: by what they compute, or by kind, shape and place.

A function has no name of its own, and one network's function may be another's layer: `F.relu` here, `nn.ReLU` there.
Such calls are paired by their values first: two tensors of the same fingerprint are the same tensor. The others are
paired in order, within the gap between two calls that have partners already.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import TypeVar

from parity.layers import evaluated
from parity.tracing.trace import Call, Trace

Pairs = list[tuple[Call, Call]]
Key = tuple[str, int]
T = TypeVar("T")

# Equal tensors have fingerprints within rounding of each other; those of others are apart by 0.3, so one in a million
# pairs of others is taken for equal: such a pair has no harm, as the tensors themselves are compared.
_NEAR = 1e-6
# What a pair is worth: of the same result; of the same kind; of the same shape.
_RESULT, _KIND, _SHAPE = 8, 2, 1


@dataclass(frozen=True)
class _Item:
    """A call that needs a partner: its place among the calls, its kind in evaluation mode, its result."""

    call: Call
    place: int
    kind: str
    shape: tuple[int, ...]
    fingerprint: float

    @property
    def token(self) -> Hashable:
        return self.kind, self.shape

    def worth(self, other: _Item) -> int:
        """Return what a pair of two calls is worth; 0 if they can be none."""
        worth = _KIND if self.kind == other.kind else 0
        if self.shape == other.shape:
            alike = worth > 0 or len(self.call.inputs) == len(other.call.inputs)  # a sum is no other dropout
            worth += (_SHAPE if alike else 0) + (_RESULT if near(self.fingerprint, other.fingerprint) else 0)
        return worth


def near(one: float, other: float) -> bool:
    """Return whether two fingerprints are those of one tensor, but for rounding."""
    return abs(one - other) < _NEAR


def pair_rest(
    reference: Trace, candidate: Trace, pairs: Pairs, inside: tuple[Set[Key], Set[Key]] = (frozenset(), frozenset())
) -> Pairs:
    """Return pairs of the innermost calls that are in no pair yet.

    Args:
        reference: The run held to be right.
        candidate: The other one.
        pairs: The pairs that are known.
        inside: Keys of calls that are part of a pair.
    """
    anchors = [(a, b) for a, b in pairs if a.leaf and b.leaf]
    rest = _items(reference, inside[0] | {a.key for a, _ in anchors})
    others = _items(candidate, inside[1] | {b.key for _, b in anchors})
    found = _by_result(rest, others)
    places = {call.key: i for i, call in enumerate(candidate.calls)}
    starts = {call.key: i for i, call in enumerate(reference.calls)}
    for behind in (True, False):  # behind the same call, then before the same: branches may be in another order
        paired = {a.key for a, _ in found}, {b.key for _, b in found}
        remaining = [item for item in rest if item.call.key not in paired[0]]
        unpaired = [item for item in others if item.call.key not in paired[1]]
        points = [(starts[a.key], places[b.key]) for a, b in [*anchors, *found]]
        for gap, other_gap in _gaps(remaining, unpaired, points, behind):
            found += [(gap[i].call, other_gap[j].call) for i, j in rising(gap, other_gap, _Item.worth)]
    return found + _by_neighbours(reference, candidate, (rest, others), [*anchors, *found])


def _by_neighbours(
    reference: Trace, candidate: Trace, items: tuple[Sequence[_Item], Sequence[_Item]], pairs: Pairs
) -> Pairs:
    """Return the pairs of one kind and shape that read partners, or are read by partners, the most of them.

    Where branches are called in another order, no gap between two calls is the same.
    """
    partners = {one.key: other.key for one, other in pairs}
    tensors = {a: b for one, other in pairs for a, b in zip(one.outputs, other.outputs, strict=False)}
    free = [item for item in items[1] if item.call.key not in {*partners.values()}]
    read_by = lambda trace, call: {each.key for name in call.outputs for each in trace.readers[name]}
    found = Pairs()
    for item in [item for item in items[0] if item.call.key not in partners]:
        before = {tensors.get(name) for name in item.call.inputs}
        behind = {partners.get(key) for key in read_by(reference, item.call)}
        shared = {
            i: len(before & {*other.call.inputs}) + len(behind & read_by(candidate, other.call))
            for i, other in enumerate(free)
            if other.token == item.token
        }
        if any(shared.values()):
            other = free.pop(max(shared, key=lambda i: shared[i])).call
            found.append((item.call, other))
            partners[item.call.key] = other.key
            tensors |= zip(item.call.outputs, other.outputs, strict=False)
    return found


def _items(trace: Trace, paired: Set[Key]) -> list[_Item]:
    return [
        _Item(call, place, _kind(trace, call), trace.shape(call.outputs[0]), trace.fingerprints[call.outputs[0]])
        for place, call in enumerate(trace.calls)
        if call.leaf and call.outputs and call.key not in paired
    ]


def _kind(trace: Trace, call: Call) -> str:
    return evaluated(call.kind, call.config, len(trace.shape(call.inputs[0])) if call.inputs else 4)[0]


def _by_result(rest: Sequence[_Item], others: Sequence[_Item]) -> Pairs:
    """Return the pairs of the same kind and the same result, wherever they are: branches may be in another order."""
    tokens = dict[Hashable, list[_Item]]()
    for item in sorted(others, key=lambda item: item.fingerprint):
        tokens.setdefault(item.token, []).append(item)
    found = Pairs()
    for item in rest:
        same = tokens.get(item.token, [])
        start = bisect.bisect_left(same, item.fingerprint - _NEAR, key=lambda item: item.fingerprint)
        end = bisect.bisect_right(same, item.fingerprint + _NEAR, key=lambda item: item.fingerprint)
        if start < end:
            settings = item.call.config
            nearest = min(range(start, end), key=lambda i: (same[i].call.config != settings, same[i].place))
            found.append((item.call, same.pop(nearest).call))
    return found


def _gaps(
    rest: Sequence[_Item], others: Sequence[_Item], anchors: Sequence[tuple[int, int]], behind: bool
) -> Iterator[tuple[list[_Item], list[_Item]]]:
    """Yield the unpaired calls of both networks between two pairs: those `behind` the same one, or before the same."""
    before, after = defaultdict[int, list[_Item]](list), defaultdict[int, list[_Item]](list)
    starts, ends = sorted(a for a, _ in anchors), sorted(anchors, key=lambda pair: pair[1])
    for item in rest:
        i = bisect.bisect_left(starts, item.place) - behind
        before[starts[i] if 0 <= i < len(starts) else -1].append(item)
    for item in others:
        i = bisect.bisect_left(ends, item.place, key=lambda pair: pair[1]) - behind
        after[ends[i][0] if 0 <= i < len(ends) else -1].append(item)
    for start in sorted(before.keys() & after.keys()):
        yield before[start], after[start]


def rising(ours: Sequence[T], theirs: Sequence[T], worth: Callable[[T, T], int]) -> list[tuple[int, int]]:
    """Return the pairs of positions, rising in both, of the greatest total worth: a longest common subsequence.

    Args:
        ours: One sequence.
        theirs: The other one.
        worth: What a pair is worth; 0 if the two can be none.
    """
    best = [[0] * (len(theirs) + 1) for _ in range(len(ours) + 1)]
    for i in range(len(ours) - 1, -1, -1):
        current, below = best[i], best[i + 1]
        for j in range(len(theirs) - 1, -1, -1):
            value = worth(ours[i], theirs[j])
            current[j] = max(below[j], current[j + 1], below[j + 1] + value if value else 0)
    pairs = list[tuple[int, int]]()
    i, j = 0, 0
    while i < len(ours) and j < len(theirs):
        value = worth(ours[i], theirs[j])
        if value and best[i][j] == best[i + 1][j + 1] + value:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs
