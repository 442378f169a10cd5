"""The gradients of two Traces, pair by pair: which agree, which one side lacks, which parameters are frozen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from parity.functions import caller_of, commutes
from parity.judging.comparison import PASSES, Culprit, names_of
from parity.judging.tensors import Reach, TensorResult
from parity.numerics.distance import root_mean_square
from parity.tracing.trace import Call, Trace

Pairs = Sequence[tuple[Call, Call]]
Key = tuple[str, int]
# Called with a pair of calls and a label that both have a gradient of.
Judged = Callable[[Call, Call, str], TensorResult]
ROLES = "reference", "candidate"
LISTED = 3
_FROZEN = {"torch": "requires_grad=False", "paddle": "stop_gradient=True"}


def zero_in_exact_arithmetic(
    result: TensorResult, reference: Trace, call: Call, label: str, reach: Reach
) -> TensorResult:
    """Return the result of a gradient by the scale of its terms, if by its own scale it differs.

    A gradient that is zero in exact arithmetic, as that of a bias before a normalisation, has no scale of its own. Its
    terms have: products of the output's gradient and (except for a bias) the input, which add up like a random walk.

    Args:
        result: By its own scale.
        reference: The trace held to be right.
        call: Its call.
        label: Of the gradient.
        reach: The errors that may have reached it.
    """
    source = call.gradients.get("output 0")
    if result.verdict != "different" or " " in label or source is None:
        return result
    expected, terms = reference.tensor(call.gradients[label]), reference.tensor(source)
    scale = root_mean_square(terms) * math.sqrt(max(1, terms.size / max(1, expected.shape[0])))
    if label != "bias" and call.inputs:
        scale *= root_mean_square(reference.tensor(call.inputs[0]))
    rms = root_mean_square(expected)
    gap = replace(result.gap, relative=result.gap.relative * rms / max(rms, scale))
    allowed = reach.allowance(replace(gap, peak=gap.peak * rms / max(rms, scale)), expected.size)
    if not gap.relative <= allowed:
        return result
    return replace(result, verdict="rounding", reason="", gap=gap, allowance=allowed)


class Found:
    """What was found of every gradient.

    Attributes:
        results: Of each that both sides have, by the reference's call and the label.
        missing: For each that one side lacks, which side that is, 0 or 1.
        frozen: For each side, the parameters that are trained on the other side alone.
    """

    def __init__(self, reference: Trace, candidate: Trace, pairs: Pairs, judged: Judged, forward_agrees: bool):
        self.traces, self.pairs, self.forward_agrees = (reference, candidate), pairs, forward_agrees
        self.results = dict[tuple[Key, str], TensorResult]()
        self.missing = dict[tuple[Key, str], int]()
        self.frozen: tuple[dict[str, list[str]], dict[str, list[str]]] = {}, {}
        for pair in pairs:
            for label in labels_of(pair):
                if not (label.startswith("input") and commutes(pair[0].layer)):
                    self._look(pair, label, judged)
        self._leave_out_inner()

    def _look(self, pair: tuple[Call, Call], label: str, judged: Judged) -> None:
        have = [label in call.gradients for call in pair]
        if all(have):
            self.results[pair[0].key, label] = judged(*pair, label)
        elif any(have):
            side = have.index(False)
            if label in pair[side].frozen:
                self.frozen[side].setdefault(pair[0].layer, []).append(label)
            elif label in pair[side].unreached:
                other = self.traces[1 - side].tensor(pair[1 - side].gradients[label])
                if other.any():  # none and zero are the same
                    self.missing[pair[0].key, label] = side

    def _leave_out_inner(self) -> None:
        """Leave out the gradients that differ of tensors that other calls read on the two sides."""
        readers, own = Readers(self.traces, self.pairs), {a.key: a for a, _ in self.pairs}
        for key, label in (*self.results, *self.missing):
            differs = label.startswith("output") and not self._agrees(key, label)
            if differs and not readers.are_alike(tensor_of(own[key], label)):
                _ = self.results.pop((key, label), None), self.missing.pop((key, label), None)

    def _agrees(self, key: Key, label: str) -> bool:
        result = self.results.get((key, label))
        return result is not None and result.verdict in PASSES

    def differs(self, key: Key, label: str) -> bool:
        """Return whether a gradient is not as it should be."""
        if (key, label) in self.missing:
            return True
        result = self.results.get((key, label))
        return self.forward_agrees and result is not None and result.verdict not in PASSES

    def of_frozen(self) -> list[Culprit]:
        """Return the layers with frozen parameters; more than three are one culprit."""
        culprits = list[Culprit]()
        for side, layers in enumerate(self.frozen):
            word = _FROZEN.get(str(self.traces[side].manifest.get("framework")), "not trained")
            where = f"frozen in the {ROLES[side]} ({word}), trained in the {ROLES[1 - side]}"
            proof = self._proof_of_frozen(layers)
            made = [Culprit(layer, f"{', '.join(labels)} {where}{proof}") for layer, labels in layers.items()]
            if len(made) > LISTED:
                others = made[1:]
                more = f", and so are those of {', '.join(each.layer for each in others[:LISTED])}"
                more += f" and {len(others) - LISTED} more layers" if len(others) > LISTED else ""
                first = made[0].explanation.removesuffix(proof)
                made = [Culprit(made[0].layer, first + more + proof)]
            culprits += made
        return culprits

    def _proof_of_frozen(self, layers: Mapping[str, object]) -> str:
        """Return that freezing explains all: every other gradient agrees, or every other one of these layers."""
        ours = {key: result for key, result in self.results.items() if key[0][0] in layers}
        for results in (self.results, ours):
            if results and all(result.verdict in PASSES for result in results.values()):
                first, second = names_of(self.traces[0].manifest, self.traces[1].manifest)
                gap = max(result.gap.relative for result in results.values())
                count = f"{len(results)} other gradient{'s' if len(results) > 1 else ''}"
                return f" (proved: with it frozen {first} reproduces {count} of {second} to {gap:.1g})"
        return ""


class Readers:
    """Who reads a tensor on the two sides.

    What one side concatenates once more, the other may concatenate anew from its parts: the gradients of the parts
    agree, that of what was concatenated before need not.
    """

    def __init__(self, traces: tuple[Trace, Trace], pairs: Pairs):
        self._ways = _Way(traces, pairs), _Way((traces[1], traces[0]), [(b, a) for a, b in pairs])

    def are_alike(self, tensor: str) -> bool:
        """Return whether the calls that read one of the reference's tensors are the partners of those that read its."""
        there, back = self._ways
        return there.is_read_alike(tensor) and back.is_read_alike(there.partners.get(tensor, ""))


class _Way:
    """The readers of one side's tensors, looked for on the other."""

    def __init__(self, traces: tuple[Trace, Trace], pairs: Pairs):
        self.fingerprints = traces[1].fingerprints
        calls = {a.key: b for a, b in pairs}
        self.partners = dict[str, str]()
        for a, b in pairs:
            for names in zip(a.outputs, b.outputs, strict=False):
                _ = self.partners.setdefault(*names)
        self.readers, self.calls = traces[0].readers, calls
        paired = {b.key for b in calls.values()}
        leaves = [call for call in traces[1].calls if call.leaf]
        self.writers = {name: call for call in leaves if call.key not in paired for name in call.outputs}
        self.known = {name for call in leaves for name in call.outputs}
        self.known |= {name for call in traces[1].calls if call.layer == "" for name in call.inputs}

    def is_read_alike(self, tensor: str) -> bool:
        """Return whether the partners of the calls that read a tensor read that one's partner."""
        names, seen = [tensor] if tensor in self.partners else [], set[str]()
        while names:
            name = names.pop()
            seen.add(name)
            for call in self.readers[name]:
                # What a layer's own code calls has no partner, and the layer may have one, without code of its own.
                around = self.calls.get((caller_of(call.layer), 0))
                partner = self.calls.get(call.key, around if around is not None and around.leaf else None)
                if partner is None:  # what reads its outputs
                    names += [each for each in call.outputs if each not in seen]
                elif partner.leaf and not self._reads(partner, self.partners[tensor]):
                    return False  # a block in place of a layer reads what it takes, and more within
        return True

    def _reads(self, call: Call, tensor: str) -> bool:
        """Return whether a call reads a tensor, or a detached copy, or what calls without a partner make of it."""
        names, seen = [*call.inputs], set[str]()
        while names:
            name = names.pop()
            same = name == tensor or self.fingerprints[name] == self.fingerprints[tensor]
            if same or name not in self.known:  # what is not recorded may have made it of the tensor
                return True
            if name in self.writers and name not in seen:
                names += self.writers[name].inputs
            seen.add(name)
        return False


def labels_of(pair: tuple[Call, Call]) -> list[str]:
    """Return what either call has, or lacks, a gradient of."""
    return list(dict.fromkeys(label for call in pair for label in (*call.gradients, *call.unreached)))


def tensor_of(call: Call, label: str) -> str:
    """Return the name of the tensor that a label stands for; "" for a parameter."""
    word, _, number = label.partition(" ")
    names: Mapping[str, tuple[str, ...]] = {"input": call.inputs, "output": call.outputs}
    found = names.get(word, ()) if number.isdigit() else ()
    return found[int(number)] if found and int(number) < len(found) else ""
