"""Experiments on gradients: what a call passes back is changed until the candidate's gradient comes out.

The gradient of a tensor is the sum of what the calls that read it pass back. Each term is computed by our own
arithmetic (`judging.derivatives`) of recorded tensors and of the recorded gradient behind it. Unchanged, the terms must
give what the reference recorded, and, of the candidate's tensors, must not give what the candidate has. A mistake is
proved if with it, in one term or in all of them, they do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from parity.functions import caller_of, is_function
from parity.judging.backward_mistakes import BACKWARD_MISTAKES, Term
from parity.judging.bounds import allowance
from parity.judging.comparison import is_within
from parity.judging.derivatives import Passing
from parity.judging.expressions import by_layer, wide
from parity.judging.gradient_pairs import Readers
from parity.judging.rules import NotComputedError
from parity.layers import is_weighted
from parity.numerics.arrays import Array, same_but_ones
from parity.numerics.distance import distance
from parity.numerics.fixed_random import projection
from parity.tracing.trace import Call, Trace

_DEPTH = 4  # calls without a recorded gradient in a row
_TERMS = 8  # of one sum


@dataclass(frozen=True)
class Shown:
    """A proof.

    Attributes:
        layers: The calls, by the reference's names, that pass back something else.
        words: What they do.
        is_cut: Whether they pass back nothing.
        gap: How near the sum comes to what the candidate has.
        behind: The calls behind these up to the next recorded gradient: the mistake may be there as well.
    """

    layers: tuple[str, ...]
    words: str
    is_cut: bool
    gap: float
    behind: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Step:
    """A call through which a gradient passes to one of its inputs; `behind` are the steps to each of its outputs."""

    call: Call
    number: int
    behind: tuple[tuple[str, tuple[_Step, ...]], ...]

    def terms(self) -> float:
        """Return the square of how far roundings may have grown in it, as `bounds.growth` does."""
        config, terms = self.call.config, self.call.terms
        if is_weighted(config):  # of which the gradient adds up along the outputs
            kernel = math.prod(config.get("kernel_size", [1])) * config.get("out_channels", 1)
            own = max(terms, kernel // config.get("groups", 1), config.get("out_features", 1))
        else:
            own = terms**2
        return own + sum(step.terms() for _, steps in self.behind for step in steps)


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
        self.readers = traces[0].readers
        network = next((call for call in traces[0].calls if call.layer == ""), None)
        self.ends = (
            set[str]()
            if network is None
            else {name for i, name in enumerate(network.outputs) if f"output {i}" not in network.detached}
        )
        self.writers = {name: call for call in traces[0].calls[::-1] if call.leaf for name in call.outputs}
        self.alike = Readers(traces, pairs)
        self.shown = dict[str, Shown | None]()
        self.right = set[str]()  # the tensors to which the candidate passes back what the reference does
        self.told = set[str]()  # the tensors whose proof was asked for

    def of_layer(self, layer: str) -> Shown | None:
        """Return the proof of what a layer, or the code of one, passes back; None if there is none.

        Args:
            layer: A path or a call of the reference; any other stands for the whole network.
        """
        own = lambda name: not layer or name == layer or is_within(name, layer)
        if not any(map(own, (call.layer for call in self.traces[0].calls))):
            own = lambda name: True
        for name in self._tensors():
            writer = self.writers.get(name)
            made = writer is not None and own(writer.layer)
            if not made and not any(own(call.layer) for call in self.readers[name] + self._chain(name)):
                continue
            found = self._tensor(name)
            if found is None:
                continue
            if any(map(own, found.layers)):
                self.told.add(name)
                return found
            if any(map(own, found.behind)):
                self.told.add(name)
                return replace(found, layers=(next(filter(own, found.behind)),))
            if made and found.is_cut:  # a layer without gradients is named, and what reads its output lacks one
                self.told.add(name)
                return replace(found, layers=("its output",))
        return self._parameter(layer)

    def is_right(self, layer: str) -> bool:
        """Return whether a layer passes back what it should, of what it is given: asked after `of_layer`."""
        read = [name for name in self.gradients[0] if any(call.layer == layer for call in self.readers[name])]
        trained = any(" " not in label for one, _ in self.pairs if one.layer == layer for label in one.gradients)
        return bool(read) and self.right.issuperset(read) and not trained

    def others(self) -> Iterator[Shown]:
        """Yield the proofs that were not asked for, of tensors whose gradients differ: several mistakes in one run."""
        for name in self._tensors() if self.agree else ():
            right, target = self._known(name, 0), self._known(name, 1)
            if right is None or target is None or name in self.told or _gap(target, right, 1.0) is not None:
                continue
            if (found := self._tensor(name)) is not None:
                yield found

    def _tensors(self) -> list[str]:
        return [*(self.ends - self.gradients[0].keys()), *reversed(self.gradients[0])]

    def _chain(self, name: str) -> list[Call]:
        """Return the calls behind a tensor's one reader, as long as each has one, and no recorded gradient."""
        calls, readers = list[Call](), self.readers[name]
        while len(readers) == 1 and len(readers[0].outputs) == 1 and self._known(readers[0].outputs[0], 1) is None:
            calls += (readers := self.readers[readers[0].outputs[0]])
        return calls

    def _parameter(self, layer: str) -> Shown | None:
        """Return the proof of another gradient of a layer's parameter: of what the reference has of it."""
        layers = {call.key: call for call in self.traces[1].calls}
        for one, other in self.pairs:
            if one.layer != layer or not one.outputs:
                continue
            if is_function(other.layer):  # the parameters are those of the layer around it
                other = layers.get((caller_of(other.layer), 0), other)
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
                        return Shown((f"{layer}'s {label}",), words, words == BACKWARD_MISTAKES[0].says, gap)
        return None

    def _tensor(self, name: str) -> Shown | None:
        """Return the proof of another gradient of one of the reference's tensors."""
        if name not in self.shown:
            self.shown[name] = self._proof(name) if self.alike.are_alike(name) else None
        return self.shown[name]

    def _proof(self, name: str) -> Shown | None:
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
                self.right.add(name)
                return None
            for chosen, words, total in _wrong(terms, target):
                gap = _gap(total, target, grown)
                if gap is not None and (self.agree or words == BACKWARD_MISTAKES[0].says):
                    layers = tuple(dict.fromkeys(steps[i].call.layer for i in chosen if i < len(steps)))
                    behind = tuple(call.layer for call in self._chain(name))
                    return Shown(layers or ("its output",), words, words == BACKWARD_MISTAKES[0].says, gap, behind)
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
        if not steps and not ends:  # nothing reads it
            return np.zeros(self.traces[0].shape(name))
        return _sum([self._back(step, side) for step in steps] + ends)

    def _cotangent(self, name: str) -> Array:
        return projection(self.traces[0].shape(name))

    def _known(self, name: str, side: int) -> Array | None:
        """Return the recorded gradient of one of the reference's tensors, or of its partner; 0 if none reaches it."""
        own = name if side == 0 else self.partners.get(name)
        if own is None or own not in self.gradients[side] or (side and not self.alike.are_alike(name)):
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
        # What is computed without gradients has none, whatever reads it; what is tracked and not reached has zero.
        lost = [names[label] for label in call.unreached if label in names and label not in call.detached]
        found |= {name: "" for name in lost if name not in found}
    return found


def _sum(terms: Sequence[Term]) -> Array:
    total = terms[0].right
    for term in terms[1:]:
        total = total + term.right
    return total


def _wrong(terms: Sequence[Term], target: Array) -> Iterator[tuple[tuple[int, ...], str, Array]]:
    """Yield what mistakes make of a sum: which terms they are in, in words, and the sum."""
    whole = _sum(terms)
    for mistake in BACKWARD_MISTAKES:
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
            yield chosen, BACKWARD_MISTAKES[0].says, np.sum(kept, axis=0)


def _gap(value: Array, target: Array, grown: float) -> float | None:
    """Return the distance of a gradient from a recorded one; None if rounding does not explain it."""
    if value.shape != target.shape:
        return None
    gap = distance(value, target)
    return gap.relative if gap.relative <= allowance(grown, gap.peak, target.size) else None
