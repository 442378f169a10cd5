"""Judge two Traces: a verdict for every layer, the first divergence, and what could not be matched.

The judge knows no framework and no kind of layer. Where each allowance comes from is in `parity.judging.bounds`; what
was measured is in docs/contract.md.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from parity.judging.bounds import allowance, bound, folding, growth
from parity.judging.comparison import PASSES, SAME_OUTPUT, VERDICTS, Comparison, Divergence, Layer, names_of
from parity.judging.pairing import Alignment, align
from parity.layers import differing_settings, has_weights
from parity.numerics.arrays import Array
from parity.numerics.distance import ROUNDOFF32, Distance, distance, root_mean_square, scales
from parity.safetensors_file import Scratch
from parity.tracing.trace import Call, Noise, Trace

MUST_BE_EQUAL = " must be equal"


@dataclass(frozen=True)
class _Reach:
    """What may have reached a tensor: `growth` of roundings, folded layers, and error a backend is known to make."""

    grown: float
    folded: int = 0
    known_error: float = 0.0

    def allowance(self, gap: Distance, elements: int) -> float:
        return allowance(self.grown, gap.peak, elements) + self.known_error + folding(self.folded, gap.peak, elements)


@dataclass(frozen=True)
class _Finding:
    """The judgement of one pair of tensors."""

    verdict: str
    reason: str
    gap: Distance = field(default_factory=lambda: Distance(0.0))
    allowance: float = 0.0
    noise: tuple[float, float] = (0.0, 0.0)
    bound: float = 0.0


@dataclass(frozen=True)
class _Output:
    """A pair of outputs: what to call it, its names in the two traces, and their float32 noise."""

    what: str
    reference: str
    candidate: str
    noise: tuple[Noise, Noise]


def judge(network: str, reference: Trace, candidate: Trace, threads: int = 1, values_only: bool = False) -> Comparison:
    """Return the Comparison of two Traces. Culprits are not looked for: that needs the networks, see `tracing.replay`.

    Args:
        network: What to call it.
        reference: The run held to be right.
        candidate: The run to be judged.
        threads: How many threads read and compare tensors.
        values_only: Whether layers whose settings differ, and whose output on this input does not, pass.
    """
    alignment = align(reference, candidate)
    layers = _Bench(reference, candidate, alignment, threads, values_only).layers()
    have = [alignment.inside[i] | {pair[i].key for pair in alignment.pairs} for i in (0, 1)]
    if alignment.by_order and any(layer.layer == "" and layer.verdict in PASSES for layer in layers):
        # The outputs agree: a pair of inner tensors that does not was no pair.
        right = [layer.verdict not in ("different", "invalid") and layer.inputs_agree for layer in layers]
        layers = [layer for layer, good in zip(layers, right, strict=True) if good]
        for pair, good in zip(alignment.pairs, right, strict=True):
            have = have if good else [keys - {call.key} for keys, call in zip(have, pair, strict=True)]
    alone = {
        name: [call for call in trace.calls if call.leaf and call.key not in keys]
        for name, trace, keys in zip(("reference", "candidate"), (reference, candidate), have, strict=True)
    }
    verdict = max((layer.verdict for layer in layers), key=VERDICTS.index, default="invalid")
    # What a file has no node for is listed; whether that matters the outputs tell, which are compared always.
    missed = [] if alignment.by_order else [call for calls in alone.values() for call in calls]
    wrong = _invalid(reference, candidate, alignment, missed)
    return Comparison(
        network,
        "invalid" if wrong else verdict,
        tuple(layers),
        _first_divergence(layers),
        (),
        {name: tuple(_label(call) for call in calls) for name, calls in alone.items()},
        reference.manifest,
        candidate.manifest,
        (*wrong, *_notes(reference, candidate, alignment, layers)),
    )


def _label(call: Call) -> str:
    return call.layer + (f" (call {call.number})" if call.number else "")


def _invalid(reference: Trace, candidate: Trace, alignment: Alignment, alone: Sequence[Call]) -> list[str]:
    """Return what makes the whole comparison invalid, in words."""
    wrong = []
    shared = alignment.by_order or any(ours.leaf for ours, _ in alignment.pairs)
    if not shared or not any(ours.layer == "" and ours.outputs for ours, _ in alignment.pairs):
        wrong.append("nothing was compared: the two share no layer, or the network gave no output")
    # One without weights may be a matter of style, a function where the other side has a layer: outputs tell.
    weighty = [call.layer for call in alone if has_weights(call.kind, call.config)]
    if weighty:
        wrong.append(f"layers with weights have no partner of the same name: {', '.join(weighty[:6])}")
    if _differ("input_sha256", reference, candidate):
        wrong.append("the two were given different inputs")
    return wrong


def _differ(word: str, reference: Trace, candidate: Trace) -> bool:
    return str(reference.manifest.get(word)) != str(candidate.manifest.get(word))


def _notes(reference: Trace, candidate: Trace, alignment: Alignment, layers: Sequence[Layer]) -> list[str]:
    """Return what holds for the whole, and is not wrong by itself."""
    notes = []
    # A file's weights go by other names, and folded: unless its maker noted whose they are, hashes say nothing.
    told = all(trace.manifest.get("weights_of", "network") == "network" for trace in (reference, candidate))
    if told and _differ("state_sha256", reference, candidate):
        notes.append("the two have different weights")
    if not told and any(layer.verdict not in PASSES for layer in layers):
        notes.append("a file does not say whose weights it holds: is it of the weights the other has? See --weights")
    for who, trace in (("reference", reference), ("candidate", candidate)):
        if changed := trace.manifest.get("changed_weights"):
            notes.append(f"the {who}'s forward changes its weights, which were put back: {', '.join(changed[:6])}")
    tf32 = [str(trace.manifest.get("framework")) for trace in (reference, candidate) if trace.manifest.get("tf32")]
    if tf32:
        notes.append(f"TF32 was on: {' and '.join(tf32)}")
    return notes + _training_notes(alignment, names_of(reference.manifest, candidate.manifest))


def _training_notes(alignment: Alignment, names: tuple[str, str]) -> list[str]:
    """Return a note for each setting that differs and matters in training alone, with the layers it differs at."""
    where: dict[str, list[str]] = {}
    for ours, theirs in alignment.pairs:
        if ours.leaf and theirs.leaf:
            _, training = differing_settings((ours.kind, ours.config), (theirs.kind, theirs.config), 4)
            for words in describe_settings(training, ours, theirs, names):
                where.setdefault(words, []).append(ours.layer)
    return [
        f"in training alone: {words} ({', '.join(found[:3])}{f' and {len(found) - 3} more' if len(found) > 3 else ''})"
        for words, found in where.items()
    ]


def describe_settings(settings: Sequence[str], ours: Call, theirs: Call, names: tuple[str, str]) -> list[str]:
    """Return a sentence for each setting: what it is on each side; "kind" stands for the kind."""
    found = []
    for word in settings:
        default = "upscale_in_train" if word == "mode" and ours.kind == "Dropout" else None
        values = [call.kind if word == "kind" else call.config.get(word, default) for call in (ours, theirs)]
        found.append(f"{word} differs: {names[0]}={values[0]}, {names[1]}={values[1]}")
    return found


class _Bench:
    """Where the judge has both Traces before it."""

    def __init__(self, reference: Trace, candidate: Trace, alignment: Alignment, threads: int, values_only: bool):
        self.reference, self.candidate, self.paired = reference, candidate, alignment.pairs
        self.by_order, self.values_only = alignment.by_order, values_only
        self.names = names_of(reference.manifest, candidate.manifest)
        self.tf32 = any(trace.manifest.get("tf32") for trace in (reference, candidate))
        calls = reference.calls
        grown = growth(calls)
        folded = list(itertools.accumulate(int(call.key in alignment.folded) for call in calls))
        self.forward = {call.key: _Reach(own, count) for call, own, count in zip(calls, grown, folded, strict=True)}
        # A gradient has been through the whole network, forward, and through what is behind its layer, backward.
        # In float32 a gradient is shown, not judged: where an activation is within rounding of ReLU's kink the gradient
        # jumps, by more than any bound on rounding.
        self.backward = _Reach(2 * max(grown, default=0.0))
        self.room = threading.local()
        wanted = dict.fromkeys(pair for ours, theirs in self.paired for pair in _tensor_pairs(ours, theirs))
        with ThreadPoolExecutor(threads) as pool:
            self.distances = dict(zip(wanted, pool.map(self._measure, wanted), strict=True))

    def _measure(self, pair: tuple[str, str]) -> Distance:
        room = self.room.__dict__.setdefault("pair", (Scratch(), Scratch()))
        expected, actual = self.reference.tensor(pair[0], room[0]), self.candidate.tensor(pair[1], room[1])
        return distance(actual, expected) if actual.dtype == expected.dtype else Distance(np.inf)

    def layers(self) -> list[Layer]:
        found, agree = list[Layer](), True
        for ours, theirs in self.paired:
            layer = self._layer(ours, theirs)
            if layer.reason.endswith(MUST_BE_EQUAL):
                before = "all floating tensors before it agree" if agree else "so do floating tensors before it"
                layer = replace(layer, reason=f"{layer.reason}; {before}")
            found.append(layer)
            agree = agree and layer.verdict in PASSES
        return found

    def _layer(self, ours: Call, theirs: Call) -> Layer:
        reach = replace(self.forward[ours.key], known_error=max(ours.known_error, theirs.known_error))
        findings = [*self._unpaired(ours, theirs)]
        findings += [
            self._tensor(pair.what, pair.reference, pair.candidate, pair.noise, reach)
            for pair in _outputs(ours, theirs)
        ]
        findings += [self._gradient(ours, theirs, label) for label in ours.gradients if label in theirs.gradients]
        findings = findings or [_Finding("exact", "")]
        worst = max(findings, key=lambda found: VERDICTS.index(found.verdict))
        furthest = max(findings, key=lambda found: found.gap.relative / (found.allowance or np.inf))
        noisiest = max(findings, key=lambda found: max(found.noise) / (found.bound or np.inf))
        layer = Layer(
            layer=ours.layer,
            call=ours.number,
            partner=theirs.layer,
            partner_call=theirs.number,
            kind=ours.kind,
            leaf=ours.leaf,
            shape=self.reference.shape(ours.outputs[0]) if ours.outputs else (),
            verdict=worst.verdict,
            reason=worst.reason,
            distance=furthest.gap.relative,
            allowance=furthest.allowance,
            noise=noisiest.noise,
            bound=noisiest.bound,
            inputs_agree=len(ours.inputs) == len(theirs.inputs)
            and all(self._agree(a, b, reach) for a, b in zip(ours.inputs, theirs.inputs, strict=True)),
        )
        return self._with_settings(layer, ours, theirs)

    def _gradient(self, ours: Call, theirs: Call, label: str) -> _Finding:
        noise = ours.gradient_noise[label], theirs.gradient_noise[label]
        pair = ours.gradients[label], theirs.gradients[label]
        finding = self._tensor(f"gradient of {label}", *pair, noise, self.backward, smooth=False)
        source = ours.gradients.get("output 0")
        if finding.verdict != "different" or label.startswith("output") or source is None:
            return finding
        # A gradient that is zero in exact arithmetic, as that of a bias before a normalisation, has no scale but that
        # of its terms: products of the output's gradient and, but for a bias, the input, added in some random walk.
        expected, terms = self.reference.tensor(pair[0]), self.reference.tensor(source)
        scale = root_mean_square(terms) * math.sqrt(max(1, terms.size / max(1, expected.shape[0])))
        if label != "bias" and ours.inputs:
            scale *= root_mean_square(self.reference.tensor(ours.inputs[0]))
        own = root_mean_square(expected)
        gap = replace(finding.gap, relative=finding.gap.relative * own / max(own, scale))
        allowed = self.backward.allowance(replace(gap, peak=gap.peak * own / max(own, scale)), expected.size)
        if not gap.relative <= allowed:
            return finding
        return replace(finding, verdict="rounding", reason="", gap=gap, allowance=allowed)

    def _unpaired(self, ours: Call, theirs: Call) -> list[_Finding]:
        """Return what is wrong with the two calls before any number is looked at."""
        findings = []
        only = [sorted({*a.labels} - {*b.labels}) for a, b in ((ours, theirs), (theirs, ours))]
        if ours.labels and theirs.labels and any(only):
            names = [f"{', '.join(keys)} in the {role}" for keys, role in zip(only, _ROLES, strict=True) if keys]
            findings.append(_Finding("invalid", f"outputs of one side alone: {'; '.join(names)}"))
        elif len(ours.outputs) != len(theirs.outputs):
            words = f"{len(ours.outputs)} outputs in the reference, {len(theirs.outputs)} in the candidate"
            findings.append(_Finding("invalid", words))
        if set(ours.gradients) != set(theirs.gradients):
            lists = [", ".join(sorted(call.gradients)) or "nothing" for call in (ours, theirs)]
            findings.append(
                _Finding("invalid", f"gradients of {lists[0]} in the reference, {lists[1]} in the candidate")
            )
        return findings

    def _with_settings(self, layer: Layer, ours: Call, theirs: Call) -> Layer:
        """Return the layer as different where its settings are, though its output on this input is not."""
        if self.values_only or layer.verdict not in PASSES or not (ours.leaf and theirs.leaf and ours.inputs):
            return layer
        rank = len(self.reference.shape(ours.inputs[0]))
        settings, _ = differing_settings((ours.kind, ours.config), (theirs.kind, theirs.config), rank)
        if self.by_order:  # exporters spell layers as other operators, and join them
            settings = [word for word in settings if word != "kind"] if ours.kind == theirs.kind else []
        if not settings:
            return layer
        words = "; ".join([*describe_settings(settings, ours, theirs, self.names), SAME_OUTPUT])
        return replace(layer, verdict="different", reason=words)

    def _agree(self, a: str, b: str, reach: _Reach) -> bool:
        gap = self.distances[a, b]
        return gap.relative <= reach.allowance(gap, math.prod(self.reference.shape(a)))

    def _tensor(
        self, what: str, a: str, b: str, noises: tuple[Noise, Noise], reach: _Reach, smooth: bool = True
    ) -> _Finding:
        gap, shapes = self.distances[a, b], (self.reference.shape(a), self.candidate.shape(b))
        dtypes = self.reference.dtype(a), self.candidate.dtype(b)
        elements = math.prod(shapes[0])
        exact = dtypes[0].kind != "f"  # an index, a count or a mask is right or wrong: rounding explains nothing
        allowed = 0.0 if exact else reach.allowance(gap, elements)
        limit = np.inf if exact or not smooth else bound(reach.grown, gap.peak, elements)
        noise = (0.0, 0.0) if exact else (noises[0].relative / ROUNDOFF32, noises[1].relative / ROUNDOFF32)
        verdict, reason = "rounding", ""
        if shapes[0] != shapes[1]:
            verdict, reason = "invalid", f"shape differs: reference {shapes[0]}, candidate {shapes[1]}"
        elif dtypes[0] != dtypes[1]:
            verdict, reason = "invalid", f"dtype differs: reference {dtypes[0]}, candidate {dtypes[1]}"
        elif not elements:
            verdict, reason = "invalid", f"shape {shapes[0]} has no elements: nothing was compared"
        elif math.isnan(gap.relative):
            verdict, reason = "invalid", f"NaN on both sides at index {gap.index}: it proves nothing"
        elif gap.relative == np.inf and not exact:
            words = f"{gap.expected} in the reference, {gap.actual} in the candidate at index {gap.index}"
            verdict, reason = "invalid", words
        elif not gap.relative <= allowed:
            words = _mismatch(self.reference.tensor(a), self.candidate.tensor(b), gap, allowed)
            verdict, reason = "different", words
        elif not exact and (self.tf32 or not max(noise) <= limit):
            errors = f"float32 error {noise[0]:.4g}u in the reference, {noise[1]:.4g}u in the candidate"
            why = "TF32 was on" if self.tf32 else _too_noisy(noise, limit)
            verdict, reason = "precision", f"{errors}, arithmetic explains {limit:.4g}u: {why}"
        elif gap.relative == 0 and noises[0].digest == noises[1].digest:
            verdict = "exact"
        return _Finding(verdict, f"{what}: {reason}" if reason else "", gap, allowed, noise, limit)


_ROLES = "reference", "candidate"


def _outputs(ours: Call, theirs: Call) -> list[_Output]:
    """Return the pairs of outputs: by their keys where both sides have them, else in order."""
    if ours.labels and theirs.labels:
        partners = dict(zip(theirs.labels, zip(theirs.outputs, theirs.noise, strict=True), strict=True))
        found = zip(ours.labels, ours.outputs, ours.noise, strict=True)
        return [
            _Output(f"output {label}", name, partners[label][0], (noise, partners[label][1]))
            for label, name, noise in found
            if label in partners
        ]
    pairs = zip(ours.outputs, theirs.outputs, ours.noise, theirs.noise, strict=False)
    return [_Output(f"output {i}", a, b, (one, other)) for i, (a, b, one, other) in enumerate(pairs)]


def _tensor_pairs(ours: Call, theirs: Call) -> list[tuple[str, str]]:
    labels = [label for label in ours.gradients if label in theirs.gradients]
    return [
        *zip(ours.inputs, theirs.inputs, strict=False),
        *[(pair.reference, pair.candidate) for pair in _outputs(ours, theirs)],
        *[(ours.gradients[label], theirs.gradients[label]) for label in labels],
    ]


def _too_noisy(pair: tuple[float, float], limit: float) -> str:
    names = [name for name, value in zip(("the reference", "the candidate"), pair, strict=True) if not value <= limit]
    return " and ".join(names) + " computes in less than float32"


def _mismatch(expected: Array, actual: Array, gap: Distance, allowed: float) -> str:
    """Return the failure text, in the manner of torch.testing.assert_close."""
    if expected.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            differ = (np.abs(actual - expected) > allowed * scales(expected)) & (actual != expected)
        numbers = f"{gap.expected:.17g} in the reference, {gap.actual:.17g} in the candidate"
        ending = f"; distance {gap.relative:.3g}, allowed {allowed:.3g}"
    else:
        differ = actual != expected
        numbers = f"{gap.expected} in the reference, {gap.actual} in the candidate"
        ending = f"; {expected.dtype}{MUST_BE_EQUAL}"
    count = int(np.count_nonzero(differ))
    share = f"{count} of {expected.size} elements differ ({count / expected.size:.1%})"
    return f"{share}; worst at index {gap.index}: {numbers}{ending}"


def _first_divergence(layers: Sequence[Layer]) -> Divergence | None:
    for layer in layers:
        if layer.leaf and not layer.inputs_agree:
            return Divergence(layer.layer, layer.call, "between")
        if layer.verdict in ("different", "invalid", "precision"):
            # A layer of layers that is wrong while all it holds are right: its own forward is, behind its last layer.
            return Divergence(layer.layer, layer.call, "inside" if layer.leaf else "between")
    return None
