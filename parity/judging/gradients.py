"""Judge the gradients of two Traces, and find where they part: walk back from the outputs, call by call.

A tensor between two calls has one gradient, the sum of what its readers pass back. Where it differs while all its
readers got right ones, one of these readers, or the code between, passes back another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from parity.functions import caller_of, is_function
from parity.judging.comparison import VERDICTS, Culprit, Divergence, Gradients, is_within
from parity.judging.gradient_pairs import LISTED, ROLES, Found, Judged, Key, Pairs, labels_of, tensor_of
from parity.judging.tensors import TensorResult
from parity.layers import KINDS
from parity.tracing.trace import Call, Trace


def judge_gradients(
    reference: Trace, candidate: Trace, pairs: Pairs, judged: Judged, forward_agrees: bool
) -> Gradients | None:
    """Return the judgement of all gradients; None if none were recorded.

    Args:
        reference: The run held to be right.
        candidate: The run to judge.
        pairs: Their calls, in the reference's order.
        judged: Judges one pair of gradients.
        forward_agrees: Whether outputs agree: if not, gradients of other values are expected, and a gradient's absence
            alone is looked into.
    """
    if not any(call.gradients or call.unreached for trace in (reference, candidate) for call in trace.calls):
        return None
    found = Found(reference, candidate, pairs, judged, forward_agrees)
    culprits = dict[Key, str]()
    walks = _Walk(found, 0), _Walk(found, 1)
    for walk in reversed(walks):
        for call, reason in walk.culprits(walks[1 - walk.side]):
            _ = culprits.setdefault(call, reason)
    named = [Culprit(layer, reason) for (layer, _), reason in culprits.items()]
    results = [*found.results.values()]
    lacking = ["different"] if found.missing or any(found.frozen) else []
    verdict = max((*lacking, *(result.verdict for result in results)), key=VERDICTS.index, default="invalid")
    worst = max(
        found.results,
        key=lambda key: found.results[key].gap.relative / (found.results[key].allowance or np.inf),
        default=None,
    )
    ways = (*named, *found.of_frozen())
    first = next((Divergence(*key, "backward") for key in culprits), None)
    if worst is None:
        return Gradients(0, verdict, 0.0, 0.0, "", first, ways)
    result = found.results[worst]
    (layer, number), label = worst
    place = f"{layer or '(network)'}{f' (call {number})' if number else ''} {label}"
    return Gradients(len(results), verdict, result.gap.relative, result.allowance, place, first, ways)


class _Walk:
    """The tensors of one side, from the outputs backwards; the side is the one that passes back another gradient."""

    def __init__(self, found: Found, side: int):
        self.found, self.side, self.role = found, side, ROLES[side]
        trace = found.traces[side]
        self.fingerprints = trace.fingerprints
        # A layer of the user's own, of functions alone, may return what none of them has: an operator's of its own.
        holders = {call.layer.rpartition(".")[0] for call in trace.calls if not is_function(call.layer)}
        self.own = {call.layer: call for call in trace.calls if not call.leaf and call.layer not in {"", *holders}}
        self.calls = [call for call in trace.calls if call.leaf or call.layer in self.own]
        self.partners = {pair[side].key: pair for pair in found.pairs}
        self.readers, self.writers = defaultdict[str, list[Call]](list), dict[str, Call]()
        for call in self.calls:
            self.writers = dict.fromkeys(call.outputs, call) | self.writers  # the innermost has returned it first
            for name in dict.fromkeys(call.inputs):
                self.readers[name].append(call)
        network = next((call for call in trace.calls if call.key == ("", 0)), None)
        self.inputs = network.inputs if network is not None else ()
        self.ends = set(network.outputs) if network is not None else set[str]()
        self.order = {call.key: i for i, call in enumerate(self.calls)}
        self.wrong, self.right = dict[str, tuple[Key, str]](), set[str]()
        for pair in found.pairs:
            for label in labels_of(pair):
                name = tensor_of(pair[side], label)
                if name and found.differs(pair[0].key, label):
                    _ = self.wrong.setdefault(name, (pair[0].key, label))
                elif name and (pair[0].key, label) in found.results:
                    self.right.add(name)
        self.severed = dict(self._severed_outputs())
        # What a call takes and no call has returned: behind a detach, or an operator that is not recorded.
        self.strays = {
            name: call
            for call in reversed(self.calls)
            for name in call.inputs
            if name not in self.writers and name not in self.inputs
        }

    def culprits(self, other: _Walk) -> Iterable[tuple[Key, str]]:
        """Yield the calls that pass back another gradient, the last of the network first, with the reason.

        Args:
            other: The walk of the other side: where both have a gradient, either may be cut short.
        """
        blamed = set[Key]()
        order = lambda name: self.order[self.writers[name].key] if name in self.writers else -1
        for name, label in self.severed.items():
            writer = self.writers.get(name)
            behind = f"behind {_label(writer)}" if writer is not None else "within the network"
            call = ("", 0) if writer is None else self.key(writer)
            yield call, f"no gradient reaches {label} of the network in the {self.role}: detached {behind}"
        for name in sorted(self.wrong, key=order, reverse=True):
            if self._is_mine(*self.wrong[name]) and not self._explained(name, set()):
                theirs = next((each for each, owner in other.wrong.items() if owner == self.wrong[name]), "")
                walk, tensor = (other, theirs) if theirs and other.is_cut_behind(theirs) else (self, name)
                call, reason = walk.blame(tensor)
                blamed.add(call.key)
                yield walk.key(call), reason
        if not self.found.forward_agrees:  # the gradients that are left prove nothing
            for stray, call in self.strays.items():
                if self._cut(stray, call) and call.key not in blamed:
                    yield self.key(call), self._detached_before(stray, call)
        for pair in reversed(self.found.pairs):
            for label in labels_of(pair):
                key = pair[0].key
                mine = " " not in label and self.found.differs(key, label) and self._is_mine(key, label)
                if mine and not self._explained_parameter(pair[self.side], blamed):
                    yield key, self._of_parameter(key, label)

    def _severed_outputs(self) -> Iterable[tuple[str, str]]:
        """Yield what the network returns and no gradient passes, on this side alone: its name before, its label."""
        for pair in self.found.pairs:
            network = pair[self.side]
            if network.key == ("", 0):
                for label in network.detached:
                    name = tensor_of(network, label)
                    if label.startswith("output") and self._cut(name, network):
                        same = [each for each in self.writers if self.fingerprints[each] == self.fingerprints[name]]
                        yield (same or [name])[-1], label

    def key(self, call: Call) -> Key:
        """Return the reference's name of a call; where it has none, of the layer whose code makes it."""
        layer, number = call.key
        while (layer, number) not in self.partners and layer and self.side:
            layer, number = caller_of(layer), 0
        if not layer:  # the network's own code: the call says more
            layer, number = call.key
        return self.partners[layer, number][0].key if (layer, number) in self.partners else call.key

    def _is_mine(self, key: Key, label: str) -> bool:
        return self.found.missing.get((key, label), 1) == self.side

    def _explained(self, name: str, seen: set[str]) -> bool:
        """Return whether a reader of a tensor got a wrong gradient itself."""
        for output in [name, *self._behind(name)]:
            if output in self.severed or (output in self.wrong and output != name):
                return True
            if output not in {name, *seen} and output not in self.right and output not in self.ends:
                seen.add(output)
                if self._explained(output, seen):
                    return True
        return False

    def _behind(self, name: str) -> list[str]:
        """Return the tensors that are computed of a tensor directly."""
        outputs = [output for call in self.readers[name] for output in call.outputs]
        writer = self.writers.get(name)
        around = self.own.get(caller_of(writer.layer)) if writer is not None and is_function(writer.layer) else None
        outputs += around.outputs if around is not None else ()
        return [output for output in [*outputs, *self._linked(name)] if output != name]

    def _suspects(self, name: str, seen: set[str]) -> list[Call]:
        """Return the calls that read a tensor, and those behind them as far as no gradient is known."""
        found = list[Call]()
        for call in self.readers[name]:
            found.append(call)
            for output in call.outputs:
                if output not in self.right | self.ends | seen:
                    seen.add(output)
                    found += self._suspects(output, seen)
        return list({call.key: call for call in found}.values())

    def _linked(self, name: str) -> list[str]:
        """Return what unrecorded code makes of a tensor: the same numbers, or else, if nothing reads it, the next."""
        start = self.order[self.writers[name].key] if name in self.writers else -1
        later = [each for each, call in self.strays.items() if each != name and self.order[call.key] > start]
        mark = self.fingerprints.get(name)
        same = [each for each in later if self.fingerprints.get(each) == mark]
        if same or self.readers[name]:
            return same
        return sorted(later, key=lambda each: self.order[self.strays[each].key])[:1]

    def _explained_parameter(self, call: Call, blamed: set[Key]) -> bool:
        """Return whether a wrong gradient may have reached the call whose parameter has a wrong one."""
        own = [each for each in self.calls if each.layer == call.layer or is_within(each.layer, call.layer)]
        outputs = [name for each in own for name in each.outputs]
        for name in outputs:
            if name in self.wrong or (name not in self.right | self.ends and self._explained(name, set())):
                return True
            if name not in self.right and any(each.key in blamed for each in self._suspects(name, set())):
                return True
        return False

    def is_cut_behind(self, name: str) -> bool:
        """Return whether a detached copy of a tensor is read, on this side alone."""
        return any(self._cut(each, self.strays[each]) for each in self._linked(name))

    def _of_parameter(self, key: Key, label: str) -> str:
        if (key, label) in self.found.missing:
            return f"no gradient reaches its {label} in the {self.role}, though its output has one"
        how = _how(self.found.results[key, label])
        return f"its backward differs: the gradient of its output agrees, that of its {label} does not{how}"

    def blame(self, name: str) -> tuple[Call, str]:
        """Return the call that passes back another gradient of a tensor, and how."""
        key, label = self.wrong[name]
        writer, source = self.writers.get(name), self._name(name)
        how = _how(self.found.results.get((key, label)))
        if writer is not None and self._cut(name, writer):
            return self._first_cut(writer)
        linked = self._linked(name)
        cut = [each for each in linked if self._cut(each, self.strays[each])]
        for stray in [*cut, *linked]:
            call = self.strays[stray]
            between = f"between {source} and {_label(call)}"
            if stray in cut:
                through = f" through {_label(call)}" if self.readers[name] else ""
                return call, f"no gradient reaches {source}{through} in the {self.role}: detached {between}"
            if (key, label) in self.found.missing:
                return call, f"no gradient reaches {source} in the {self.role}: it stops {between}"
            return call, f"the gradient behind {source} agrees, its own does not: changed {between}{how}"
        readers = sorted(self._suspects(name, set()), key=lambda call: (call.kind in KINDS, is_function(call.layer)))
        if not readers:
            call = self._call(key)
            return call, f"no gradient reaches it in the {self.role}: nothing that is recorded reads its output"
        first, *others = readers
        more = ", ..." if len(others) > LISTED else ""
        other = f" (or {', '.join(map(_label, others[:LISTED]))}{more})" if others else ""
        if (key, label) in self.found.missing:
            return first, f"no gradient reaches {source} in the {self.role}: it stops within {_label(first)}{other}"
        what = f"the gradient of its output agrees, that of its input, from {source}, does not{other}"
        return first, f"its backward differs: {what}{how}"

    def _first_cut(self, call: Call) -> tuple[Call, str]:
        """Return the first call, going back, from whose output on there is no gradient."""
        while True:
            before = [name for name in call.inputs if self._cut(name, call) and name in self.writers]
            if any(not self._cut(name, call) for name in call.inputs) or not before:
                break
            call = self.writers[before[0]]
        for name in call.inputs:
            if self._cut(name, call) and name in self.strays:
                return call, self._detached_before(name, call)
        how = "its output is detached, or computed without gradients"
        return call, f"no gradient passes {_label(call)} in the {self.role}: {how}"

    def _detached_before(self, name: str, call: Call) -> str:
        same = [each for each in self.writers if self.fingerprints.get(each) == self.fingerprints.get(name)]
        where = f"between {self._name(same[-1])} and {_label(call)}" if same else f"before {_label(call)}"
        return f"no gradient passes {_label(call)} in the {self.role}: detached {where}"

    def _cut(self, name: str, call: Call) -> bool:
        """Return whether a tensor of a call is one that no gradient can pass, on this side alone."""
        labels = [label for label in call.detached if tensor_of(call, label) == name]
        pair = self.partners.get(call.key)
        return bool(labels) and (pair is None or not {*labels} <= {*pair[1 - self.side].detached})

    def _name(self, name: str) -> str:
        writer = self.writers.get(name)
        return "the network's input" if writer is None else _label(writer)

    def _call(self, key: Key) -> Call:
        return next(pair[self.side] for pair in self.found.pairs if pair[0].key == key)


def _how(result: TensorResult | None) -> str:
    if result is None:
        return ""
    if result.verdict != "different":
        return f"; {result.reason}"
    return f"; distance {result.gap.relative:.3g}, allowed {result.allowance:.3g}"


def _label(call: Call) -> str:
    return (call.layer or "the network") + (f" (call {call.number})" if call.number else "")
