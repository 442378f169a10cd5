"""Experiments: mistakes are tried on recorded tensors until one gives exactly what the candidate has.

Both traces hold all that is needed. The reference's own computation, with one thing changed, is done on the candidate's
recorded input; a mistake is proved if the candidate's recorded output comes out, within the allowance of that one call.
Two conditions keep a proof honest: unchanged, the computation must give what the reference recorded, and must not give
what the candidate did.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from parity.functions import caller_of, commutes
from parity.judging.bounds import allowance
from parity.judging.comparison import PASSES, Comparison
from parity.judging.expressions import Expression, by_layer, changed, leaf, left_out, node, producers, wide
from parity.judging.mistakes import MISTAKES, Spot
from parity.judging.rules import NotComputedError
from parity.numerics.arrays import Array, same_but_ones
from parity.numerics.distance import Distance, distance
from parity.tracing.trace import Call, Trace

# Called with what is being tried, how many experiments were done, and how many there may be.
OnTry = Callable[[str, int, int], None]
_LIMIT = 2000  # experiments for one comparison
_DEPTH = 6  # calls in one expression
_OTHERS = 24  # other tensors that are tried in place of one
_PER_ELEMENT = 8  # an element costs numpy about as much as so many products of a matrix product


@dataclass(frozen=True)
class Glue:
    """A mistake between calls.

    Attributes:
        owner: The layer whose code it is in.
        before: The call before which it shows.
        words: What it is.
        proved: Whether an experiment shows it.
        missing: The dropout, a layer, that is not called; else "".
    """

    owner: str
    before: str
    words: str
    proved: bool
    missing: str = ""


class Experiments:
    """The experiments of one comparison. Their number and their cost are bounded: two runs of the reference."""

    def __init__(
        self,
        comparison: Comparison,
        reference: Trace,
        candidate: Trace,
        weights: Mapping[str, Array] | None,
        on_try: OnTry | None = None,
    ):
        """Prepare experiments.

        Args:
            comparison: One that is not ok.
            reference: The traces that it judged.
            candidate: Likewise.
            weights: The reference's; None where they are not at hand, as for a file.
            on_try: Called as OnTry says.
        """
        self.reference, self.candidate = reference, candidate
        self.names, self.on_try = comparison.names, on_try
        self.weights = by_layer(weights or {})
        self.agreeing = {layer.layer for layer in comparison.layers} - {
            layer.layer for layer in comparison.layers if layer.verdict not in PASSES
        }
        sides = [{call.key: call for call in trace.calls} for trace in (reference, candidate)]
        pairs = [
            (sides[0].get((a.layer, a.call)), sides[1].get((a.partner, a.partner_call))) for a in comparison.layers
        ]
        self.pairs = [(one, other) for one, other in pairs if one is not None and other is not None]
        self.paired = {other.key for _, other in self.pairs}
        self.producers = [producers(trace) for trace in (reference, candidate)]
        # Pairs of a right tensor and another whose difference has its place: one mistake may show at many calls.
        self.seen = {
            names
            for one, other in self.pairs
            if one.leaf and other.leaf
            for names in zip(one.outputs, other.outputs, strict=False)
        }
        self.tried = 0
        work = sum(call.terms * math.prod(reference.shape(call.outputs[0])) for call in reference.calls if call.outputs)
        self.work = max(2 * work, 10**8)

    def shown(
        self, call: Call, partner: Call, settings: Mapping[str, object], weights: Mapping[str, Array | None]
    ) -> str:
        """Return what explains a pair of innermost calls, proved: the known differences, or a mistake beside them.

        Args:
            call: The reference's.
            partner: The candidate's.
            settings: Those that differ, as the candidate has them; "kind" is its kind.
            weights: The candidate's tensors that differ, by role; None for one that it lacks.

        Returns:
            " (proved: ...)" where the known differences explain all; "; what it is (proved: ...)" where a mistake of
            the table does, together with them; "" where nothing does.
        """
        right, target = self._whole(call, partner), self._target(partner)
        if right is None or target is None or not self._is_sound(right, call):
            return ""
        read = self._reader(dict(zip(call.inputs, partner.inputs, strict=False)))
        if self._reproduces(right, target, read, partner, call.layer) is not None:
            return ""
        wrong = changed(right, partner, settings, weights)
        if settings or weights:
            gap = self._reproduces(wrong, target, read, partner, f"{call.layer}: what is known")
            if gap is not None:
                return f" (proved: with {_with(settings, weights)} {self._outcome(gap)})"
        found = self._first(Spot(wrong, None, target, (), read), partner, call.layer)
        return "" if found is None else f"; {found[0]} (proved: so {self._outcome(found[1])})"

    def differs(self, call: Call, partner: Call | None) -> bool:
        """Return whether a pair of innermost calls computes different functions: of functions, which are not replayed.

        Where they take the same input the verdict shows it; where they do not, our own arithmetic does.
        """
        if partner is None or not (call.leaf and partner.leaf) or call.layer in self.agreeing:
            return False
        if call.kind != partner.kind:  # paired by their place, perhaps by mistake
            return False
        right, target = self._whole(call, partner), self._target(partner)
        if right is None or target is None or self.work < 2 * right.cost() or not self._is_sound(right, call):
            return False
        self.work -= right.cost()
        try:
            value = right.value(self._reader(dict(zip(call.inputs, partner.inputs, strict=False))))
        except NotComputedError:
            return False
        return self._gap(right, value, target, partner) is None

    def glue(self) -> list[Glue]:
        """Return the mistakes in the code between calls: where a call reads another tensor than it should."""
        partners, found = dict[str, str](), list[Glue]()
        if "onnx" in (self.reference.manifest.get("framework"), self.candidate.manifest.get("framework")):
            return []  # a file's nodes are paired in groups, whose inner tensors are not partners
        roots = [pair for pair in self.pairs if pair[0].layer == ""][:1]
        for one, other in roots:
            partners.update(zip(one.inputs, other.inputs, strict=False))
        for call, partner in self.pairs:
            inner = call.leaf and partner.leaf
            ends = (call.inputs, partner.inputs) if inner else (call.outputs, partner.outputs)
            sure = call.kind == partner.kind or call.layer == partner.layer or not inner  # else paired by their place
            judged = sure and len(ends[0]) == len(ends[1]) and not self._is_harmless(call.layer)
            if judged and (words := self._misread(call, partner, ends, partners)) is not None:
                owner = caller_of(call.layer) if inner else call.layer
                found.append(Glue(owner, call.layer if inner else "", *words))
            for expected, actual in zip(call.outputs, partner.outputs, strict=False):
                _ = partners.setdefault(expected, actual)
        proved = {glue.owner for glue in found if glue.proved}
        return [glue for glue in found if glue.proved or glue.owner not in proved]  # the others are consequences

    def _is_harmless(self, layer: str) -> bool:
        """Return whether a layer agrees, or one around it: then what its calls read makes no difference."""
        while layer not in self.agreeing:
            if not layer:
                return False
            layer = caller_of(layer)
        return True

    def _misread(
        self,
        call: Call,
        partner: Call,
        ends: tuple[Sequence[str], Sequence[str]],
        partners: Mapping[str, str],
    ) -> tuple[str, bool, str] | None:
        """Return what a call reads, or a layer returns, in place of the right tensor, as `Glue` has the words on."""
        mapped = [partners.get(name) for name in ends[0]]
        if mapped == list(ends[1]) or (commutes(call.layer) and set(mapped) == set(ends[1])):
            return None
        if None not in mapped and sorted(map(str, mapped)) == sorted(ends[1]) and len(set(mapped)) > 1:
            order = ", ".join(self._source(self.candidate, 1, name) for name in ends[1])
            words = f"{call.layer} takes its operands in another order: {order}"
            return f"{words} (proved: so {self._outcome(Distance(0.0))})", True, ""
        for expected, actual in zip(*ends, strict=True):
            if partners.get(expected) != actual and (words := self._other(call, partner, expected, actual, partners)):
                return words
        return None

    def _other(
        self, call: Call, partner: Call, expected: str, actual: str, partners: Mapping[str, str]
    ) -> tuple[str, bool, str] | None:
        if (expected, actual) in self.seen:
            return None
        self.seen.add((expected, actual))
        target, read = self.candidate.tensor(actual), self._reader(partners)
        rights = [self._expression(expected, partners, whole) for whole in (False, True)]
        rights = [right for right in rights if right is not None]
        reads = [self._source(self.reference, 0, expected), self._source(self.candidate, 1, actual)]
        if not rights or target.dtype.kind != "f":
            return None
        if any(self._reproduces(right, target, read, partner, call.layer) is not None for right in rights):
            return None
        if self._has_no_effect(call, partner, partners, read):
            return None
        others = self._others(actual, partners, target.shape)
        for right in rights:
            if not self._is_sound(right, None, expected):
                continue
            spot = Spot(right, self._actual(actual, {b: a for a, b in partners.items()}), target, others, read)
            found = self._first(spot, partner, call.layer)
            if found is not None:
                # What only the reference calls is behind what both do.
                source = reads[0] if right.tensor or actual not in partners.values() else reads[1]
                words = f"{_place(call, source)}: {found[0]} (proved: so {self._outcome(found[1])})"
                return words, True, left_out(right, found[2])
        if reads[0] == reads[1]:
            return None
        words = f"{self.names[1]} has the output of {reads[1]} there, {self.names[0]} that of {reads[0]}"
        return f"{_place(call, reads[0])}: {words}", False, ""

    def _has_no_effect(
        self, call: Call, partner: Call, partners: Mapping[str, str], read: Callable[[Expression], Array]
    ) -> bool:
        """Return whether a call of the right tensors gives what the candidate has: a ReLU of what a ReLU gave."""
        operands = [self._expression(name, partners, whole=False) for name in call.inputs]
        known = tuple(operand for operand in operands if operand is not None)
        target = self._target(partner)
        if not (call.leaf and partner.leaf) or target is None or len(known) < len(operands):
            return False
        whole = node(call, self.reference, known, wide(self.weights.get(call.layer, {})))
        return self._reproduces(whole, target, read, partner, call.layer) is not None

    def _first(self, spot: Spot, partner: Call, layer: str) -> tuple[str, Distance, Expression] | None:
        """Return the first mistake that gives the target, how near, and its expression."""
        for mistake in MISTAKES:
            try:
                for words, wrong in mistake(spot):
                    gap = self._reproduces(wrong, spot.target, spot.read, partner, f"{layer}: {words}")
                    if gap is not None:
                        return words, gap, wrong
            except (NotComputedError, ValueError, IndexError):  # numpy's, for shapes on which the mistake means nothing
                continue
        return None

    def _reproduces(
        self, expression: Expression, target: Array, read: Callable[[Expression], Array], partner: Call, label: str
    ) -> Distance | None:
        """Return how near an expression comes to a tensor, None if not within what rounding explains."""
        cost = expression.cost() + _PER_ELEMENT * math.prod(expression.shape)
        if self.tried >= _LIMIT or self.work < cost:
            return None
        self.tried, self.work = self.tried + 1, self.work - cost
        if self.on_try is not None:
            self.on_try(label, self.tried, _LIMIT)
        try:
            value = expression.value(read)
        except (NotComputedError, ValueError, IndexError):
            return None
        gap = self._gap(expression, value, target, partner)
        return gap if _shows_something(target) else None

    def _gap(self, expression: Expression, value: Array, target: Array, partner: Call) -> Distance | None:
        """Return the distance of what an expression gives from a tensor; None if rounding does not explain it."""
        if not same_but_ones(value.shape, target.shape):  # a 1x1 convolution stands for a Linear
            return None
        value = value.reshape(target.shape)
        gap = distance(*_numbers(value, target))
        allowed = allowance(expression.growth(), gap.peak, target.size) + partner.known_error
        return gap if gap.relative <= allowed else None

    def _is_sound(self, right: Expression, call: Call | None, tensor: str = "") -> bool:
        """Return whether our own arithmetic gives what the reference recorded."""
        name = call.outputs[0] if call is not None else tensor
        target = self.reference.tensor(name)
        known_error = call.known_error if call is not None else 0.0
        if self.work < right.cost():
            return False
        self.work -= right.cost()
        try:
            value = right.value(lambda part: self.reference.tensor(part.tensor))
        except NotComputedError:
            return False
        if value.shape != target.shape:
            return False
        gap = distance(value, target)
        return gap.relative <= allowance(right.growth(), gap.peak, target.size) + known_error

    def _whole(self, call: Call, partner: Call) -> Expression | None:
        """Return an innermost call of the reference as an expression of its inputs."""
        if not call.inputs or len(call.inputs) != len(partner.inputs) or len(call.outputs) != 1:
            return None
        operands = tuple(leaf(self.reference, name, f"the input of {call.layer}") for name in call.inputs)
        return node(call, self.reference, operands, wide(self.weights.get(call.layer, {})))

    def _target(self, partner: Call) -> Array | None:
        target = self.candidate.tensor(partner.outputs[0]) if len(partner.outputs) == 1 else None
        return target if target is not None and target.dtype.kind == "f" else None

    def _reader(self, partners: Mapping[str, str]) -> Callable[[Expression], Array]:
        """Return a reader of the candidate's tensors by their names in the reference, which remembers them."""
        held = dict[str, Array]()

        def read(part: Expression) -> Array:
            name = part.tensor if part.own else partners[part.tensor]
            if name not in held:
                held[name] = self.candidate.tensor(name)
            return held[name]

        return read

    def _expression(
        self, tensor: str, partners: Mapping[str, str], whole: bool, depth: int = _DEPTH
    ) -> Expression | None:
        """Return one of the reference's tensors as an expression of those that have partners.

        Args:
            tensor: Its name.
            partners: The candidate's tensors by the reference's.
            whole: Whether to begin with the call that made it, though the tensor has a partner.
            depth: Calls that the expression may still hold.
        """
        call = self.producers[0].get(tensor)
        if tensor in partners and not whole:
            return leaf(self.reference, tensor, call.layer if call is not None else "")
        if call is None or not depth or len(call.outputs) != 1 or (whole and tensor in partners and not _is_glue(call)):
            return None
        operands = [self._expression(name, partners, False, depth - 1) for name in call.inputs]
        if any(operand is None for operand in operands):
            return None
        known = tuple(operand for operand in operands if operand is not None)
        return node(call, self.reference, known, wide(self.weights.get(call.layer, {})))

    def _actual(self, tensor: str, back: Mapping[str, str], depth: int = _DEPTH) -> Expression | None:
        """Return one of the candidate's tensors as an expression of those that have partners: `back` names these."""
        call = self.producers[1].get(tensor)
        if tensor in back:
            return leaf(self.reference, back[tensor], call.layer if call is not None else "")
        if call is None or not depth or call.key in self.paired:
            return None
        operands = [self._actual(name, back, depth - 1) for name in call.inputs]
        if any(operand is None for operand in operands):
            return None
        known = tuple(operand for operand in operands if operand is not None)
        return node(call, self.candidate, known, wide(self.weights.get(call.layer, {})))

    def _others(self, actual: str, partners: Mapping[str, str], shape: tuple[int, ...]) -> tuple[Expression, ...]:
        """Return the candidate's tensors that a call may have read, the one that it did read first."""
        known = list(partners.values())[::-1]  # the nearest first
        names = [actual, *known] if actual in known else known
        names = [name for name in dict.fromkeys(names) if self.candidate.shape(name) == shape]
        return tuple(
            leaf(self.candidate, name, self._source(self.candidate, 1, name), own=True) for name in names[:_OTHERS]
        )

    def _source(self, trace: Trace, side: int, tensor: str) -> str:
        call = self.producers[side].get(tensor)
        return call.layer + (f" (call {call.number})" if call.number else "") if call is not None else "the input"

    def _outcome(self, gap: Distance) -> str:
        return self.outcome(gap.relative)

    def outcome(self, gap: float) -> str:
        """Return what an experiment gives, in words."""
        return f"{self.names[0]} reproduces {self.names[1]} to {gap:.1g}"


def _shows_something(target: Array) -> bool:
    """Return whether a tensor's numbers can prove anything: they are not all the same."""
    numbers = target[~np.isnan(target)]
    return numbers.size > 1 and bool(np.ptp(numbers))


def _numbers(value: Array, target: Array) -> tuple[Array, Array]:
    """Return two arrays without the elements that are NaN in both, as of a root of what is no variance."""
    numbers = ~(np.isnan(value) & np.isnan(target))
    return (value, target) if numbers.all() else (value[numbers], target[numbers])


def _place(call: Call, source: str) -> str:
    return f"between {source} and {call.layer}" if call.leaf else f"between {source} and its end"


def _is_glue(call: Call) -> bool:
    return "in_channels" not in call.config and "in_features" not in call.config


def _with(changes: Mapping[str, object], weights: Mapping[str, Array | None]) -> str:
    """Return what was changed: "eps=0.001 and this weight"."""
    words = [str(value) if word == "kind" else f"{word}={value}" for word, value in changes.items()]
    changed = [role for role, array in weights.items() if array is not None]
    words += [f"{'this' if len(changed) == 1 else 'these'} {' and '.join(changed)}"] if changed else []
    words += [f"no {role}" for role, array in weights.items() if array is None]
    return " and ".join(words)
