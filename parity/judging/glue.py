"""Glue: the mistakes in the code between calls, where a call reads another tensor than it should."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

import numpy as np

from parity.functions import caller_of, commutes, is_function
from parity.judging.comparison import is_within
from parity.judging.expressions import Expression, left_out
from parity.judging.mistakes import MOVING, Spot, moves_otherwise
from parity.judging.pairing import output_pairs
from parity.judging.trials import Reader, Trials
from parity.numerics.arrays import same_but_ones
from parity.numerics.distance import Distance
from parity.tracing.trace import Call

_FAR = 4  # how many calls another form of the same function may span


@dataclass(frozen=True)
class Glue:
    """A mistake between calls.

    Attributes:
        owner: The layer whose code it is in.
        before: The call before which it shows; "" for the end of `owner`.
        words: What it is.
        proved: Whether an experiment shows it.
        expected: The tensor that should be read there, in the reference's trace.
        actual: The tensor whose partner is read in place of it; "" if it has none.
        change: By how many calls of each kind the candidate's computation there is longer.
        behind: The calls whose results the computation starts with.
        missing: The dropout, a layer, that is not called; else "".
    """

    owner: str
    before: str
    words: str
    proved: bool
    expected: str = ""
    actual: str = ""
    change: Mapping[str, int] = field(default_factory=dict)
    behind: frozenset[str] = frozenset()
    missing: str = ""


_TOLD = Glue("", "", "what is wrong there is said at another place", proved=False)


def between(
    trials: Trials, pairs: Sequence[tuple[Call, Call]], agreeing: Set[str], explained: Set[tuple[str, int]]
) -> list[Glue]:
    """Return the mistakes in the code between calls, what is one mistake said once.

    Args:
        trials: Of the comparison.
        pairs: The calls that it paired.
        agreeing: The layers whose calls all agree.
        explained: The calls whose inputs agree: what they compute is explained elsewhere.
    """
    if "onnx" in (trials.reference.manifest.get("framework"), trials.candidate.manifest.get("framework")):
        return []  # a file's nodes are paired in groups, whose inner tensors are not partners
    found = _Search(trials, pairs, agreeing, explained).found()
    proved = {glue.owner for glue in found if glue.proved}
    found = [glue for glue in found if glue.proved or glue.owner not in proved]  # the others are consequences
    return _joined(found, trials)


class _Search:
    """The search of one comparison."""

    def __init__(
        self,
        trials: Trials,
        pairs: Sequence[tuple[Call, Call]],
        agreeing: Set[str],
        explained: Set[tuple[str, int]],
    ):
        pairs = [pair for pair in pairs if pair[0].layer in agreeing or not _is_mispaired(*pair)]
        self.trials, self.pairs, self.agreeing, self.explained = trials, pairs, agreeing, explained
        self.paired = {other.key for _, other in pairs}
        self.given = {one.layer: [*zip(one.inputs, other.inputs, strict=False)] for one, other in pairs if not one.leaf}
        self.ends = {a: b for one, other in pairs for a, b in zip(one.outputs, other.outputs, strict=False)}
        self.known = {name for _, other in pairs for name in other.outputs}
        self.partner_of = {one.key: other for one, other in pairs}
        self.weighted = {
            a: b for one, other in pairs if one.weights for a, b in zip(one.outputs, other.outputs, strict=False)
        }
        adds = [call for call in trials.reference.calls if call.kind == "Add" and len(call.inputs) == 2]
        followers = {call.key: trials.reference.only_reader(call) for call in adds}
        self.partial = {key for key, reader in followers.items() if reader is not None and reader.key in followers}
        self.sums = {reader.key for key in self.partial if (reader := followers[key]) is not None} - self.partial
        self.partners, self.back = dict[str, str](), dict[str, str]()
        # Pairs of a right tensor and another whose difference has its place: one mistake may show at many calls.
        self.seen = {
            names
            for one, other in pairs
            if one.leaf and other.leaf and one.key not in self.sums and not self._is_other(one, other)
            for names in zip(one.outputs, other.outputs, strict=False)
        }

    def found(self) -> list[Glue]:
        """Return what is found, in the reference's order."""
        found = list[Glue]()
        for one, other in [pair for pair in self.pairs if pair[0].layer == ""][:1]:
            self._pair(one.inputs, other.inputs)
        for call, partner in self.pairs:
            inner = call.leaf and partner.leaf
            ends = (call.inputs, partner.inputs) if inner else _outputs(call, partner)
            alike = call.kind == partner.kind or (call.weights and partner.weights)  # Linear and a 1x1 convolution
            sure = alike or call.layer == partner.layer or not inner  # else paired by their place
            if call.key in self.partial:
                continue  # of a sum of more than two, the operands may be in any order: it is judged as a whole
            other = inner and (call.key in self.sums or self._is_other(call, partner))
            if other:
                ends, sure = (call.outputs, partner.outputs), True
            if sure and len(ends[0]) == len(ends[1]) and not self._is_harmless(call.layer):
                itself = not inner or (other and not is_function(call.layer))
                owner = call.layer if itself else caller_of(call.layer)
                glue = self._misread(call, partner, ends)
                if glue is not None and inner and self._is_made_good(call.outputs[0]):
                    continue
                if glue is not None and glue is not _TOLD:
                    found.append(replace(glue, owner=self._whose(owner, glue), before=call.layer if inner else ""))
            self._pair(call.outputs, partner.outputs, last=not inner)
        return [replace(glue, actual=self.back.get(glue.actual, "")) for glue in found]

    def _is_other(self, call: Call, partner: Call) -> bool:
        """Return whether two calls do different things, and what they give is to be explained.

        They move numbers in different ways: a shuffle, and the last reshape of one. Or they compute different functions
        of the same tensors, behind the first call that does so.
        """
        if call.kind == partner.kind or len(call.outputs) != 1 or len(partner.outputs) != 1 or call.weights:
            return False
        if moves_otherwise(call, partner):
            return True
        partners = [self.ends.get(name) for name in call.inputs]
        return call.key not in self.explained and sorted(map(str, partners)) == sorted(partner.inputs)

    def _is_made_good(self, tensor: str, without: Set[str] = frozenset(), depth: int = _FAR) -> bool:
        """Return whether all that is made of a tensor is right, so that what makes it has another form alone.

        `x * sigmoid(x)` is a SiLU, `a + c + b` is `a + b + c`, and scores may be scaled before a product or behind it.

        Args:
            tensor: The reference's.
            without: Tensors on the way to it, whose partners are other tensors.
            depth: How many calls may lie between it and what is right.
        """
        trials, without = self.trials, without | {tensor}
        partners = {a: b for a, b in {**self.weighted, **self.partners}.items() if a not in without}
        read, checked = trials.reader(partners), False
        for call in trials.reference.readers[tensor]:
            partner, checked = self.partner_of.get(call.key), True
            made = trials.expression(tensor, partners, whole=True)
            names = {*partner.inputs} if partner is not None else set[str]()
            if partner is not None and any(self._gives(made, name, read, partner) for name in names):
                continue
            if call.weights or len(call.outputs) != 1 or not depth:
                return False
            result = call.outputs[0]
            whole = trials.expression(result, {a: b for a, b in partners.items() if a != result}, whole=True)
            if partner is not None and self._gives(whole, partner.outputs[0], read, partner):
                continue
            if not self._is_made_good(result, without, depth - 1):
                return False
        for one, other in [pair for pair in self.pairs if pair[0].layer == "" and tensor in pair[0].outputs]:
            expected, actual = _outputs(one, other)
            made, checked = trials.expression(tensor, partners, whole=True), True
            if tensor not in expected or not self._gives(made, actual[expected.index(tensor)], read, other):
                return False
        return checked

    def _gives(self, made: Expression | None, name: str, read: Reader, partner: Call) -> bool:
        """Return whether an expression gives one of the candidate's tensors."""
        if made is None or made.tensor:
            return False
        target = self.trials.candidate.tensor(name)
        if target.dtype.kind != "f" or not same_but_ones(made.shape, target.shape):
            return False
        return self.trials.reproduces(made, target, read, partner, partner.layer) is not None

    def _pair(self, expected: Sequence[str], actual: Sequence[str], last: bool = False) -> None:
        """Make tensors partners; the first ones are, but what a layer of layers returns is what others should read."""
        for one, other in zip(expected, actual, strict=False):
            self.partners[one] = other if last else self.partners.get(one, other)
            _ = self.back.setdefault(other, one)

    def _whose(self, owner: str, glue: Glue) -> str:
        """Return the layer whose code is wrong: where it was given the wrong tensor, the one that calls it."""
        while owner and (glue.expected, glue.actual) in self.given.get(owner, ()):
            owner = caller_of(owner)
        return owner

    def _is_harmless(self, layer: str) -> bool:
        """Return whether a layer agrees, or one around it: then what its calls read makes no difference."""
        while layer not in self.agreeing:
            if not layer:
                return False
            layer = caller_of(layer)
        return True

    def _misread(self, call: Call, partner: Call, ends: tuple[Sequence[str], Sequence[str]]) -> Glue | None:
        """Return what a call reads, or a layer returns, in place of the right tensor."""
        trials, (right, actual) = self.trials, ends
        mapped = [self._mapped(name, actual, partner) for name in right]
        if commutes(call.layer) and len(actual) == 2 and (mapped[0] == actual[1] or mapped[1] == actual[0]):
            actual = actual[::-1]
        if mapped == list(actual):
            return None
        if None not in mapped and sorted(map(str, mapped)) == sorted(actual) and len(set(mapped)) > 1:
            order = ", ".join(trials.source(trials.candidate, 1, name) for name in actual)
            does = "takes its operands" if call.leaf else "returns its outputs"
            words = f"{call.layer or 'the network'} {does} in another order: {order}"
            return Glue("", "", f"{words} (proved: so {trials.outcome(Distance(0.0))})", True)
        told: Glue | None = None
        for name, other in zip(right, actual, strict=True):
            if self.partners.get(name) == other:
                continue
            if (name, other) in self.seen:
                told = _TOLD
            elif glue := self._other(call, partner, name, other):
                return glue
        return told

    def _mapped(self, name: str, actual: Sequence[str], partner: Call) -> str | None:
        """Return the partner of one of the reference's tensors, or that of `actual` which it gives."""
        if name in self.partners or len(actual) < 2:
            return self.partners.get(name)
        made, read = self.trials.expression(name, self.partners, whole=False), self.trials.reader(self.partners)
        return next((other for other in actual if self._gives(made, other, read, partner)), None)

    def _other(self, call: Call, partner: Call, expected: str, actual: str) -> Glue | None:
        self.seen.add((expected, actual))
        trials, partners, back = self.trials, self.partners, self.back
        target, read = trials.candidate.tensor(actual), trials.reader(partners)
        rights = [trials.expression(expected, partners, whole) for whole in (False, True)]
        rights = [right for right in rights if right is not None]
        reads = [trials.source(trials.reference, 0, expected), trials.source(trials.candidate, 1, actual)]
        if target.dtype.kind != "f":
            return None
        same_shape = call.layer != "" or trials.reference.shape(expected) == target.shape  # what the network returns
        if same_shape and any(trials.reproduces(each, target, read, partner, call.layer) for each in rights):
            return None
        if self._has_no_effect(call, partner, read):
            return None
        shapes = {target.shape, *(shape for right in rights for shape in right.shapes())}
        others = trials.others(actual, partners, self.known, shapes)
        for right in rights:
            if not trials.is_sound(right, None, expected):
                continue
            spot = Spot(right, trials.actual(actual, back, self.paired), target, others, read)
            found = trials.first(spot, partner, call.layer)
            if found is not None:
                # What only the reference calls is behind what both do.
                source = reads[0] if right.tensor or actual not in back else reads[1]
                words = f"{_place(call, source)}: {found[0]} (proved: so {trials.outcome(found[2])})"
                change = Counter(found[1].kinds())
                change.subtract(right.kinds())
                change = {kind: count for kind, count in change.items() if count}
                return Glue("", "", words, True, expected, actual, change, right.leaves(), left_out(right, found[1]))
        if actual in back and (skipped := self._skipped(back[actual], expected)):
            words = f"{_place(call, reads[1])}: {skipped} left out"
            return Glue("", "", f"{words} (proved: so {trials.outcome(Distance(0.0))})", True)
        if reads[0] == reads[1] or not rights:
            return None
        same = f" ({target.flat[0]:g} everywhere)" if target.size and not np.ptp(target) else ""
        words = f"{trials.names[1]} has {_output(reads[1])}{same} there, {trials.names[0]} {_output(reads[0])}"
        return Glue("", "", f"{_place(call, reads[0])}: {words}", False)

    def _skipped(self, start: str, end: str) -> str:
        """Return the calls of the reference through which one tensor becomes another, in words; "" if it does not."""
        producers, reached = self.trials.producers[0], {start}
        calls = [call for call in self.trials.reference.calls if call.leaf]
        for call in calls:
            if not reached.isdisjoint(call.inputs):
                reached |= {*call.outputs}
        if end not in reached or start == end:
            return ""
        needed, skipped = [end], dict[tuple[str, int], None]()
        while needed:
            tensor = needed.pop()
            call = producers.get(tensor)
            if call is not None and tensor in reached and tensor != start and call.key not in skipped:
                skipped[call.key] = None
                needed += call.inputs
        paths = [name.split(".") for name, _ in skipped]
        common = 0
        while all(len(path) > common + 1 and path[common] == paths[0][common] for path in paths):
            common += 1
        parts = sorted({".".join(path[: common + 1]) for path in paths})
        parts = parts if len(parts) < 5 or not common else [".".join(paths[0][:common])]
        return f"{', '.join(parts[:4])}{' and more' if len(parts) > 4 else ''} {'are' if len(parts) > 1 else 'is'}"

    def _has_no_effect(self, call: Call, partner: Call, read: Reader) -> bool:
        """Return whether a call of the right tensors gives what the candidate has: a ReLU of what a ReLU gave."""
        whole, target = self.trials.behind(call, self.partners), self.trials.target(partner)
        if not (call.leaf and partner.leaf) or target is None or whole is None:
            return False
        return self.trials.reproduces(whole, target, read, partner, call.layer) is not None


def _is_mispaired(call: Call, partner: Call) -> bool:
    """Return whether two calls share a place by chance: one moves numbers and the other computes, or cuts in two."""
    if not (call.leaf and partner.leaf):
        return False
    parts = moves_otherwise(call, partner) and len(call.outputs) != len(partner.outputs)
    return parts or (call.kind in MOVING) != (partner.kind in MOVING)


def _outputs(call: Call, partner: Call) -> tuple[list[str], list[str]]:
    """Return the outputs of two layers, each at the place of its partner: by their keys where they have some."""
    pairs = output_pairs(call, partner)
    return [pair.reference for pair in pairs], [pair.candidate for pair in pairs]


def _place(call: Call, source: str) -> str:
    if not call.leaf:
        return f"between {source} and its end"
    return f"between {source} and {call.layer}" if source != call.layer else f"at {source}"


def _output(source: str) -> str:
    return source if source == "the input" else f"the output of {source}"


def _joined(found: Sequence[Glue], trials: Trials) -> list[Glue]:
    """Return the mistakes, two that are the halves of one said as one: what comes before in place of behind."""
    joined, gone = list(found), set[int]()
    calls = trials.producers[0]
    proof = f"(proved: so {trials.outcome(Distance(0.0))})"
    for (i, one), (j, other) in itertools.permutations(enumerate(found), 2):
        if {i, j} & gone or not (one.proved and other.proved):
            continue
        words = _moved(one, other, calls) or _swapped(one, other, calls)
        if words:
            gone |= {j} | {k for k, each in enumerate(found) if _follows(each, one, calls)}
            joined[i] = replace(one, words=f"{words} {proof}")
    return [each for i, each in enumerate(joined) if i not in gone]


def _name(tensor: str, calls: Mapping[str, Call]) -> str:
    return calls[tensor].layer if tensor in calls else ""


def _moved(one: Glue, other: Glue, calls: Mapping[str, Call]) -> str:
    """Return the words where a kind of call is added before a call and missing behind it, or the other way round."""
    if not one.before or one.before not in other.behind:
        return ""
    if len(one.change) != 1 or len(other.change) != 1:
        return ""
    ((kind, count), (same, less)) = (*one.change.items(), *other.change.items())
    if kind != same or count != -less or abs(count) != 1:
        return ""
    name = _name(other.expected if count > 0 else one.expected, calls)
    name = f"{name} ({kind})" if name and name != one.before else kind
    wrong, right = ("before", "after") if count > 0 else ("after", "before")
    return f"{name} comes {wrong} {one.before}, not {right} it"


def _swapped(one: Glue, other: Glue, calls: Mapping[str, Call]) -> str:
    """Return the words where a call reads what comes of its own result, which is made of what it should read."""
    late = calls.get(one.actual)
    if not one.before or late is None or other.actual != one.expected or _name(other.expected, calls) != one.before:
        return ""
    name = late.layer
    while (around := caller_of(name)) and is_within(other.before, around) and not is_within(one.before, around):
        name = around  # a gate, of which the first call reads, and the last one returns
    if calls[other.expected].weights:
        return f"{name} comes before {one.before}, not after it"
    return f"{one.before} comes after {name}, not before it"


def _follows(each: Glue, one: Glue, calls: Mapping[str, Call]) -> bool:
    """Return whether a call reads one of two exchanged calls in place of the other: a consequence."""
    return each.expected == one.actual != "" and _name(each.actual, calls) == one.before
