"""Trials: an expression of recorded tensors is computed, and its result held against what the candidate recorded.

Both traces hold all that is needed. Their number and their cost are bounded: two runs of the reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Set

import numpy as np

from parity.functions import MOVES, caller_of, is_function
from parity.judging.bounds import allowance
from parity.judging.expressions import Expression, by_layer, leaf, node, producers, wide
from parity.judging.mistakes import MISTAKES, Spot
from parity.judging.rules import NotComputedError
from parity.numerics.arrays import Array, same_but_ones
from parity.numerics.distance import Distance, distance
from parity.tracing.trace import Call, Trace

# Called with what is being tried, how many experiments were done, and how many there may be.
OnTry = Callable[[str, int, int], None]
Reader = Callable[[Expression], Array]
_LIMIT = 2000  # experiments for one comparison
_DEPTH = 6  # calls in one expression
_OTHERS = 24  # other tensors that are tried in place of one
_PER_ELEMENT = 8  # an element costs numpy about as much as so many products of a matrix product


class Trials:
    """The trials of one comparison."""

    def __init__(
        self,
        names: tuple[str, str],
        reference: Trace,
        candidate: Trace,
        weights: Mapping[str, Array] | None,
        on_try: OnTry | None,
    ):
        """Prepare trials.

        Args:
            names: What to call the two.
            reference: The trace held to be right.
            candidate: The other.
            weights: The reference's; None where they are not at hand, as for a file.
            on_try: Called as OnTry says.
        """
        self.names, self.reference, self.candidate, self.on_try = names, reference, candidate, on_try
        self.weights = by_layer(weights or {})
        self.producers = [producers(trace) for trace in (reference, candidate)]
        self.tried = 0
        work = sum(call.terms * math.prod(reference.shape(call.outputs[0])) for call in reference.calls if call.outputs)
        self.work = max(2 * work, 10**8)

    def first(self, spot: Spot, partner: Call, layer: str) -> tuple[str, Expression, Distance] | None:
        """Return the first mistake that gives the target: in words, what it computes, and how near that is."""
        for mistake in MISTAKES:
            try:
                for words, wrong in mistake(spot):
                    gap = self.reproduces(wrong, spot.target, spot.read, partner, f"{layer}: {words}")
                    if gap is not None:
                        return words, wrong, gap
            except (NotComputedError, ValueError, IndexError):  # numpy's, for shapes on which the mistake means nothing
                continue
        return None

    def reproduces(
        self, expression: Expression, target: Array, read: Reader, partner: Call, label: str
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
        gap = self.gap(expression, value, target, partner)
        return gap if _shows_something(target) else None

    def gap(self, expression: Expression, value: Array, target: Array, partner: Call) -> Distance | None:
        """Return the distance of what an expression gives from a tensor; None if rounding does not explain it."""
        if not same_but_ones(value.shape, target.shape):  # a 1x1 convolution stands for a Linear
            return None
        value = value.reshape(target.shape)
        gap = distance(*_numbers(value, target))
        allowed = allowance(expression.growth(), gap.peak, target.size) + partner.known_error
        return gap if gap.relative <= allowed else None

    def is_sound(self, right: Expression, call: Call | None, tensor: str = "") -> bool:
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

    def whole(self, call: Call, partner: Call) -> Expression | None:
        """Return an innermost call of the reference as an expression of its inputs."""
        if not call.inputs or len(call.inputs) != len(partner.inputs) or len(call.outputs) != 1:
            return None
        operands = tuple(leaf(self.reference, name, f"the input of {call.layer}") for name in call.inputs)
        return node(call, self.reference, operands, self.given(call))

    def behind(self, call: Call, partners: Mapping[str, str]) -> Expression | None:
        """Return an innermost call of the reference as an expression of tensors that have partners."""
        operands = (self.expression(name, partners, whole=False) for name in call.inputs)
        return (
            self._made(self.reference, call, operands, call.outputs[0])
            if call.inputs and len(call.outputs) == 1
            else None
        )

    def _made(self, trace: Trace, call: Call, operands: Iterable[Expression | None], tensor: str) -> Expression | None:
        """Return what a call makes of its operands; None where one of them is unknown."""
        known = [operand for operand in operands if operand is not None]
        if len(known) < len(call.inputs):
            return None
        return node(call, trace, tuple(known), self.given(call), call.outputs.index(tensor))

    def given(self, call: Call) -> dict[str, Array]:
        """Return the reference's weights that a call works with, in float64, by role; a function's are its layer's."""
        return wide(self.weights.get(caller_of(call.layer) if is_function(call.layer) else call.layer, {}))

    def target(self, partner: Call) -> Array | None:
        """Return what a call of the candidate gives, if it is one tensor of floats."""
        target = self.candidate.tensor(partner.outputs[0]) if len(partner.outputs) == 1 else None
        return target if target is not None and target.dtype.kind == "f" else None

    def reader(self, partners: Mapping[str, str]) -> Reader:
        """Return a reader of the candidate's tensors by their names in the reference, which remembers them."""
        held = dict[str, Array]()

        def read(part: Expression) -> Array:
            name = part.tensor if part.own else partners[part.tensor]
            if name not in held:
                held[name] = self.candidate.tensor(name)
            array = held[name]  # a Linear's input stands for that of a 1x1 convolution
            return array if part.own or not same_but_ones(array.shape, part.shape) else array.reshape(part.shape)

        return read

    def expression(
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
        if call is None or not depth or (whole and tensor in partners and not _is_glue(call)):
            return None
        if len(call.outputs) != 1 and call.kind not in MOVES:
            return None
        operands = (self.expression(name, partners, False, depth - 1) for name in call.inputs)
        return self._made(self.reference, call, operands, tensor)

    def actual(
        self, tensor: str, back: Mapping[str, str], paired: Set[tuple[str, int]], depth: int = _DEPTH
    ) -> Expression | None:
        """Return one of the candidate's tensors as an expression of those that have partners: `back` names these."""
        call = self.producers[1].get(tensor)
        if tensor in back:
            return leaf(self.reference, back[tensor], call.layer if call is not None else "")
        if call is None or not depth or call.key in paired:
            return None
        operands = (self.actual(name, back, paired, depth - 1) for name in call.inputs)
        return self._made(self.candidate, call, operands, tensor)

    def others(
        self, actual: str, partners: Mapping[str, str], known: Set[str], shapes: Set[tuple[int, ...]]
    ) -> tuple[Expression, ...]:
        """Return the candidate's tensors that a call may have read, the one that it did read first.

        Args:
            actual: That one.
            partners: The candidate's tensors by the reference's, of the calls before.
            known: The candidate's tensors that come of calls with a partner, anywhere.
            shapes: Those that they may have.
        """
        near = list(partners.values())[::-1]
        names = [actual, *near] if actual in known or actual in near else near
        names = [name for name in dict.fromkeys(names) if self.candidate.shape(name) in shapes]
        return tuple(
            leaf(self.candidate, name, self.source(self.candidate, 1, name), own=True) for name in names[:_OTHERS]
        )

    def source(self, trace: Trace, side: int, tensor: str) -> str:
        """Return what to call a tensor: the call it comes from."""
        call = self.producers[side].get(tensor)
        if call is None:
            return "the input"
        part = f" (output {call.outputs.index(tensor)})" if len(call.outputs) > 1 else ""
        return call.layer + (f" (call {call.number})" if call.number else "") + part

    def outcome(self, gap: Distance) -> str:
        """Return what a proof says."""
        return f"{self.names[0]} reproduces {self.names[1]} to {gap.relative:.1g}"


def _shows_something(target: Array) -> bool:
    """Return whether a tensor's numbers can prove anything: they are not all the same."""
    numbers = target[~np.isnan(target)]
    return numbers.size > 1 and bool(np.ptp(numbers))


def _numbers(value: Array, target: Array) -> tuple[Array, Array]:
    """Return two arrays without the elements that are NaN in both, as of a root of what is no variance."""
    numbers = ~(np.isnan(value) & np.isnan(target))
    return (value, target) if numbers.all() else (value[numbers], target[numbers])


def _is_glue(call: Call) -> bool:
    return "in_channels" not in call.config and "in_features" not in call.config
