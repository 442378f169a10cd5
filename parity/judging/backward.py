"""Experiments on gradients: what a call passes back is changed until the candidate's gradient comes out.

The gradient of a tensor is the sum of what the calls that read it pass back. Each term is computed by our own
arithmetic (`judging.derivatives`) of recorded tensors and of the recorded gradient behind it. Unchanged, the terms must
give what the reference recorded, and, of the candidate's tensors, must not give what the candidate has. A mistake is
proved if with it, in one term or in all of them, they do. A new one is a line in MISTAKES, one in docs/contract.md, and
a test in tests/judging/test_proved_gradients.py.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from parity.judging.bounds import allowance
from parity.judging.comparison import is_within
from parity.judging.derivatives import SLOPES, Passing
from parity.judging.expressions import by_layer, wide
from parity.judging.rules import NotComputedError
from parity.numerics.arrays import Array, same_but_ones
from parity.numerics.distance import distance
from parity.numerics.fixed_random import projection
from parity.tracing.trace import Call, Trace

_DEPTH = 4  # calls without a recorded gradient in a row
_TERMS = 8  # of one sum


@dataclass(frozen=True)
class Term:
    """What one call passes back, and what it should be for the sum to come out.

    Attributes:
        right: By the rules.
        wanted: The rest of the candidate's gradient, without the other terms.
        passing: The call with its tensors; None for a whole sum.
    """

    right: Array
    wanted: Array
    passing: Passing | None

    @property
    def incoming(self) -> Array | None:
        """Return the gradient behind the call, in the shape of its input; None where the shapes differ."""
        gradient = None if self.passing is None else self.passing.gradient
        return gradient.reshape(self.right.shape) if gradient is not None and gradient.size == self.right.size else None


@dataclass(frozen=True)
class Mistake:
    """A wrong backward.

    Attributes:
        says: What it does, with {} for its number.
        make: Returns what is passed back, and the number, or None where it does not apply.
    """

    says: str
    make: Callable[[Term], tuple[Array | None, float]]


def _fitted(wanted: Array, value: Array | None) -> tuple[Array | None, float]:
    """Return an array times the factor that brings it nearest to another."""
    square = 0.0 if value is None else float(np.vdot(value, value))
    if value is None or not square or value.size < _TERMS:
        return None, 0.0
    factor = float(np.vdot(value, wanted)) / square
    return value * factor, factor


def _clipped(term: Term) -> tuple[Array | None, float]:
    limit = float(np.abs(term.wanted).max())
    return (np.clip(term.right, -limit, limit), limit) if limit < np.abs(term.right).max() else (None, 0.0)


def _applied(function: Callable[[Array], Array], to: str = "right") -> Callable[[Term], tuple[Array | None, float]]:
    def make(term: Term) -> tuple[Array | None, float]:
        value = getattr(term, to)
        return (None, 0.0) if value is None else (function(value), 0.0)

    return make


def _slope(kind: str) -> Callable[[Term], tuple[Array | None, float]]:
    def make(term: Term) -> tuple[Array | None, float]:
        call, incoming = term.passing, term.incoming
        if call is None or incoming is None or call.kind not in SLOPES or call.kind == kind:
            return None, 0.0
        return incoming * SLOPES[kind](call.x, {}), 0.0

    return make


def _of_constants(term: Term) -> tuple[Array | None, float]:
    """Return what a normalisation passes back whose statistics have no gradient."""
    call = term.passing
    if call is None or "training" not in call.config or not call.kind.startswith("BatchNorm"):
        return None, 0.0
    axes = (0, *range(2, call.x.ndim))
    held = {**call.weights, "running_var": call.x.var(axes), "running_mean": call.x.mean(axes)}
    return replace(call, config={**call.config, "training": False}, weights=held).back(), 0.0


def _unmasked(term: Term) -> tuple[Array | None, float]:
    """Return what is passed back through the places alone where the gradient behind is positive: guided backward."""
    incoming = term.incoming
    return (None, 0.0) if incoming is None else (term.right * (incoming > 0), 0.0)


MISTAKES = (
    Mistake("passes no gradient on", _applied(np.zeros_like)),
    Mistake("passes the gradient of its output on unchanged (straight-through)", _applied(np.copy, "incoming")),
    Mistake("passes the gradient on with the wrong sign", _applied(np.negative)),
    Mistake("scales the gradient by {:g}", lambda term: _fitted(term.wanted, term.right)),
    Mistake("passes the gradient of its output on {:g} times", lambda term: _fitted(term.wanted, term.incoming)),
    Mistake("clips the gradient to {:g}", _clipped),
    Mistake("passes on the sign of the gradient alone", _applied(np.sign)),
    Mistake("passes on the sign of the gradient of its output alone", _applied(np.sign, "incoming")),
    Mistake("takes the batch's statistics for constants", _of_constants),
    Mistake("passes on positive gradients alone", _unmasked),
    Mistake("rounds the gradient to float16", _applied(lambda a: a.astype(np.float16).astype(a.dtype))),
    Mistake("rounds the gradient to float32", _applied(lambda a: a.astype(np.float32).astype(a.dtype))),
    *(Mistake(f"has the backward of {kind}", _slope(kind)) for kind in SLOPES),
)


@dataclass(frozen=True)
class Shown:
    """A proof: the calls, by the reference's names, that pass back something else, what, and in how many words."""

    layers: tuple[str, ...]
    words: str
    is_cut: bool
    gap: float


@dataclass(frozen=True)
class _Step:
    """A call through which a gradient passes to one of its inputs; `behind` are the steps to each of its outputs."""

    call: Call
    number: int
    behind: tuple[tuple[str, tuple[_Step, ...]], ...]

    def terms(self) -> float:
        """Return the square of how far roundings may have grown in it, as `bounds.growth` does."""
        return float(self.call.terms) ** 2 + sum(step.terms() for _, steps in self.behind for step in steps)


class BackwardExperiments:
    """The experiments on the gradients of one comparison."""

    def __init__(
        self,
        traces: tuple[Trace, Trace],
        pairs: Sequence[tuple[Call, Call]],
        weights: Mapping[str, Array] | None,
        work: float,
        agree: bool,
    ):
        """Prepare experiments.

        Args:
            traces: The reference's and the candidate's.
            pairs: Their calls.
            weights: The reference's; None where they are not at hand.
            work: About how many products and sums may be computed.
            agree: Whether outputs agree, so that a tensor without a partner may stand for the candidate's.
        """
        self.traces, self.pairs, self.work, self.agree = traces, pairs, work, agree
        self.weights = by_layer(weights or {})
        self.partners = dict[str, str]()
        for one, other in pairs:
            if one.layer == "":
                self.partners.update(zip(one.inputs, other.inputs, strict=False))
            if one.leaf or one.layer == "":
                for names in zip(one.outputs, other.outputs, strict=False):
                    _ = self.partners.setdefault(*names)
        self.gradients = _recorded(traces[0]), _recorded(traces[1])
        self.readers = defaultdict[str, list[Call]](list)
        for call in traces[0].calls:
            for name in dict.fromkeys(call.inputs if call.leaf else ()):
                self.readers[name].append(call)
        network = next((call for call in traces[0].calls if call.layer == ""), None)
        self.ends = (
            set[str]()
            if network is None
            else {name for i, name in enumerate(network.outputs) if f"output {i}" not in network.detached}
        )
        self.writers = {name: call for call in traces[0].calls[::-1] if call.leaf for name in call.outputs}
        self.shown = dict[str, Shown | None]()

    def of_layer(self, layer: str) -> Shown | None:
        """Return the proof of what a layer, or the code of one, passes back; None if there is none.

        Args:
            layer: A path or a call of the reference; any other stands for the whole network.
        """
        own = lambda name: not layer or name == layer or is_within(name, layer)
        if not any(map(own, (call.layer for call in self.traces[0].calls))):
            own = lambda name: True
        for name in [*(self.ends - self.gradients[0].keys()), *reversed(self.gradients[0])]:
            writer = self.writers.get(name)
            made = writer is not None and own(writer.layer)
            if not made and not any(own(call.layer) for call in self.readers[name]):
                continue
            if name not in self.shown:
                self.shown[name] = self._tensor(name)
            found = self.shown[name]
            # A layer without gradients is named, and it is those which read its output that lack one.
            if found is not None and any(map(own, found.layers)):
                return found
            if found is not None and made and found.is_cut:
                return replace(found, layers=("its output",))
        return self._parameter(layer)

    def _parameter(self, layer: str) -> Shown | None:
        """Return the proof of another gradient of a layer's parameter: of what the reference has of it."""
        for one, other in self.pairs:
            if one.layer != layer or not one.outputs:
                continue
            for label in [label for label in one.gradients if " " not in label]:
                right = self.traces[0].tensor(one.gradients[label])
                wanted = np.zeros_like(right)
                if label in other.gradients:
                    wanted = self.traces[1].tensor(other.gradients[label])
                elif label not in other.unreached or label in other.frozen:
                    continue
                grown = math.sqrt(math.prod(self.traces[0].shape(one.outputs[0])))
                if wanted.size != right.size or _gap(wanted.reshape(right.shape), right, grown) is not None:
                    continue
                for _, words, value in _wrong([Term(right, wanted.reshape(right.shape), None)], wanted):
                    gap = _gap(value, wanted.reshape(right.shape), grown)
                    if gap is not None:
                        return Shown((f"{layer}'s {label}",), words, words == MISTAKES[0].says, gap)
        return None

    def _tensor(self, name: str) -> Shown | None:
        """Return the proof of another gradient of one of the reference's tensors."""
        target, recorded = self._known(name, 1), self._known(name, 0)
        steps = self._steps(name, _DEPTH)
        ends = [] if name not in self.ends else [Term(cotangent := self._cotangent(name), cotangent, None)]
        if recorded is None and ends and not steps:
            recorded = ends[0].right
        if target is None or recorded is None or not 0 < len(steps) + len(ends) <= _TERMS:
            return None
        recorded, target = recorded.astype(np.float64), target.reshape(recorded.shape)
        grown = math.sqrt(sum(step.terms() for step in steps))
        try:
            if _gap(_sum([self._back(step, 0) for step in steps] + ends), recorded, grown) is None:
                return None  # our own arithmetic is not the reference's
            terms = [self._back(step, 1) for step in steps] + ends
            if _gap(_sum(terms), target, grown) is not None:
                return None
            for chosen, words, total in _wrong(terms, target):
                gap = _gap(total, target, grown)
                if gap is not None:
                    layers = tuple(dict.fromkeys(steps[i].call.layer for i in chosen if i < len(steps)))
                    return Shown(layers or ("its output",), words, words == MISTAKES[0].says, gap)
        except NotComputedError:
            return None
        return None

    def _steps(self, name: str, depth: int) -> tuple[_Step, ...]:
        """Return the calls that pass a gradient back to a tensor, each with those behind it that it needs."""
        return tuple(
            _Step(
                call,
                number,
                tuple(
                    (output, () if self._known(output, 0) is not None or not depth else self._steps(output, depth - 1))
                    for output in call.outputs
                ),
            )
            for call in self.readers[name]
            for number, each in enumerate(call.inputs)
            if each == name
        )

    def _back(self, step: _Step, side: int) -> Term:
        """Return what a step passes back, of one side's tensors."""
        call, trace = step.call, self.traces[0]
        self.work -= call.terms * math.prod(trace.shape(call.outputs[0])) if call.outputs else 1
        if self.work < 0:
            raise NotComputedError
        gradients = [self._behind(name, steps, side) for name, steps in step.behind]
        passing = Passing(
            call.kind,
            call.config,
            wide(self.weights.get(call.layer, {})),
            [self._tensor_of(name, side) for name in call.inputs],
            [self._tensor_of(name, side) for name in call.outputs],
            step.number,
            gradients,
        )
        value = passing.back()
        return Term(value, value, passing)

    def _behind(self, name: str, steps: tuple[_Step, ...], side: int) -> Array:
        gradient = self._known(name, side) if not steps else None
        if gradient is not None:
            return gradient.reshape(self.traces[0].shape(name))
        steps = steps or self._steps(name, _DEPTH)
        ends = [] if name not in self.ends else [Term(cotangent := self._cotangent(name), cotangent, None)]
        if not steps and not ends:
            raise NotComputedError
        return _sum([self._back(step, side) for step in steps] + ends)

    def _cotangent(self, name: str) -> Array:
        return projection(self.traces[0].shape(name))

    def _known(self, name: str, side: int) -> Array | None:
        """Return the recorded gradient of one of the reference's tensors, or of its partner; 0 if none reaches it."""
        own = name if side == 0 else self.partners.get(name)
        if own is None or own not in self.gradients[side]:
            return None
        stored = self.gradients[side][own]
        return self.traces[side].tensor(stored) if stored else np.zeros(self.traces[side].shape(own))

    def _tensor_of(self, name: str, side: int) -> Array:
        """Return one of the reference's tensors, or its partner; where it has none and all outputs agree, itself."""
        expected = self.traces[0].shape(name)
        if side and name in self.partners and same_but_ones(self.traces[1].shape(self.partners[name]), expected):
            return self.traces[1].tensor(self.partners[name]).reshape(expected)
        if side and not self.agree:
            raise NotComputedError
        return self.traces[0].tensor(name)


def _recorded(trace: Trace) -> dict[str, str]:
    """Return where each tensor's gradient is stored, by a name; "" if none reaches it."""
    found = dict[str, str]()
    for call in trace.calls:
        names = {f"input {i}": name for i, name in enumerate(call.inputs)}
        names |= {f"output {i}": name for i, name in enumerate(call.outputs)}
        found |= {names[label]: stored for label, stored in call.gradients.items() if label in names}
        found |= {names[label]: "" for label in call.unreached if label in names and names[label] not in found}
        if call.layer == "":  # alone, an output's gradient is its cotangent
            found |= {
                name: found.get(name, "") for i, name in enumerate(call.outputs) if f"output {i}" in call.detached
            }
    return found


def _sum(terms: Sequence[Term]) -> Array:
    total = terms[0].right
    for term in terms[1:]:
        total = total + term.right
    return total


def _wrong(terms: Sequence[Term], target: Array) -> Iterator[tuple[tuple[int, ...], str, Array]]:
    """Yield what mistakes make of a sum: which terms they are in, in words, and the sum."""
    whole = _sum(terms)
    for mistake in MISTAKES:
        for i, term in enumerate(terms):
            rest = whole - term.right
            made, number = mistake.make(replace(term, wanted=target - rest))
            if made is not None:
                yield (i,), mistake.says.format(number), rest + made
        if len(terms) > 1:
            made, number = mistake.make(Term(whole, target, None))
            if made is not None:
                yield tuple(range(len(terms))), mistake.says.format(number), made
    for count in range(2, len(terms)):  # several are cut at once
        for chosen in itertools.combinations(range(len(terms)), count):
            kept = [terms[i].right for i in range(len(terms)) if i not in chosen]
            yield chosen, MISTAKES[0].says, np.sum(kept, axis=0)


def _gap(value: Array, target: Array, grown: float) -> float | None:
    """Return the distance of a gradient from a recorded one; None if rounding does not explain it."""
    if value.shape != target.shape:
        return None
    gap = distance(value, target)
    return gap.relative if gap.relative <= allowance(grown, gap.peak, target.size) else None
