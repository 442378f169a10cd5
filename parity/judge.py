"""Judge two Traces: a verdict for every layer, the first divergence, and what could not be matched.

Where each allowance comes from, and what was measured, is in docs/contract.md.
"""

from __future__ import annotations

import itertools
import json
import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from parity.align import Alignment, align
from parity.state import Array
from parity.trace import ROUNDOFF32, ROUNDOFF64, Call, Distance, Noise, Scratch, Trace, distance, root_mean_square

SCHEMA = 1
VERDICTS = ("exact", "rounding", "precision", "different", "invalid")
PASSES = VERDICTS[:2]

# What a network's conditioning may make of float64 roundings on their way through it. Float64 has room for it: the
# smallest mistake we know, one eps off by a tenth, is four orders of magnitude above the allowance this leads to.
HEADROOM = 2.0**6
# One in a million: the chance that arithmetic alone takes the worst element of a tensor past its bound.
CHANCE = 1e-6
# What a framework keeps to fewer digits than float64 has, as a relative error of the layer and all behind it: Paddle's
# hard sigmoid multiplies by 0.1666667 in place of 1/6, its SELU by two float32 constants, and its interpolation reckons
# in float32 where a pixel lies (as many roundings as `record.terms` says).
KEPT_SHORT = {"Hardsigmoid": 2e-7, "SELU": 2.0**-23, "Upsample": 2.0**-24}
# Likewise for gradients, which pass it on to the layers before: Paddle's average pooling divides them by multiplying
# with a float32 reciprocal, in float64 too.
KEPT_SHORT_BACKWARD = {"AvgPool2d": 2.0**-24, "AdaptiveAvgPool2d": 2.0**-24}
# What no constant of an ONNX file is, but its operator's own: HardSwish multiplies by float32(1/6).
KEPT_SHORT_IN_FILES = {**KEPT_SHORT, "Hardswish": 2.0**-23}


@dataclass(frozen=True)
class Layer:
    """The judgement of one layer call.

    Attributes:
        layer: Dotted path; "" is the network itself.
        call: 0 for the layer's first call.
        kind: Neutral kind.
        leaf: Whether it holds no layers of its own.
        shape: Shape of its (first) output.
        verdict: One of VERDICTS.
        reason: What is wrong, in words; "" for a pass.
        distance: float64: worst element over the root mean square, candidate against reference.
        allowance: The largest `distance` that rounding explains.
        noise: float32 error against the own float64 run, reference and candidate, in units of roundoff (2**-24).
        bound: The largest `noise` that arithmetic explains, in the same units.
        inputs_agree: Whether its float64 inputs were within their allowance.
    """

    layer: str
    call: int
    kind: str
    leaf: bool
    shape: tuple[int, ...]
    verdict: str
    reason: str
    distance: float
    allowance: float
    noise: tuple[float, float]
    bound: float
    inputs_agree: bool


@dataclass(frozen=True)
class Divergence:
    """Where the two networks part.

    Attributes:
        layer: Dotted path.
        call: 0 for the layer's first call.
        where: "inside" the layer: its inputs agree, its output does not; or "between" it and the layers before: all
            outputs so far agree, its input does not, so the code that calls it is to blame.
    """

    layer: str
    call: int
    where: str


@dataclass(frozen=True)
class Culprit:
    """A layer that is wrong in itself, and why."""

    layer: str
    explanation: str


@dataclass(frozen=True)
class Comparison:
    """The judgement of two Traces.

    Attributes:
        network: What was compared.
        verdict: The worst of the layers' verdicts, one of VERDICTS.
        layers: Every paired layer call, in the reference's order.
        first_divergence: Where the two part, None if they do not.
        culprits: Every layer that is wrong in itself; empty for a pass.
        unmatched: Layers without a partner, "reference" and "candidate".
        reference: The reference's manifest.
        candidate: The candidate's manifest.
        notes: What holds for the whole: weights that differ, TF32, nothing compared.
    """

    network: str
    verdict: str
    layers: tuple[Layer, ...]
    first_divergence: Divergence | None
    culprits: tuple[Culprit, ...]
    unmatched: Mapping[str, tuple[str, ...]]
    reference: Mapping[str, Any]
    candidate: Mapping[str, Any]
    notes: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Return whether the two compute the same function as precisely as arithmetic allows."""
        return self.verdict in PASSES

    @property
    def sides(self) -> tuple[str, str]:
        """Return what to call the two: their frameworks, or "reference" and "candidate" where those are the same."""
        names = str(self.reference.get("framework")), str(self.candidate.get("framework"))
        return names if names[0] != names[1] else ("reference", "candidate")

    def to_json(self) -> str:
        """Return the comparison as strict JSON, schema 1 of docs/contract.md; infinity and NaN are strings."""
        return json.dumps(_finite({"schema": SCHEMA, "ok": self.ok, **asdict(self)}), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Comparison:
        """Return what `to_json` wrote.

        Raises:
            ValueError: If the text is no comparison of this schema.
        """
        found = json.loads(text)
        if not isinstance(found, dict) or found.get("schema") != SCHEMA:
            raise ValueError(f"no comparison of schema {SCHEMA}")
        fields = {name: found[name] for name in cls.__dataclass_fields__}
        where = fields["first_divergence"]
        return cls(
            **{
                **fields,
                "layers": tuple(_layer(layer) for layer in fields["layers"]),
                "first_divergence": where and Divergence(**where),
                "culprits": tuple(Culprit(**culprit) for culprit in fields["culprits"]),
                "unmatched": {side: tuple(names) for side, names in fields["unmatched"].items()},
                "notes": tuple(fields["notes"]),
            }
        )

    def __str__(self) -> str:
        from parity.report import text

        return text(self)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def _layer(found: Mapping[str, Any]) -> Layer:
    numbers = {name: float(found[name]) for name in ("distance", "allowance", "bound")}
    noise = float(found["noise"][0]), float(found["noise"][1])
    return Layer(**{**found, **numbers, "noise": noise, "shape": tuple(found["shape"])})


def growth(calls: Iterable[Call]) -> list[float]:
    """Return, after each call, how far roundings may have grown: the root of the sum of each layer's square.

    A layer whose terms have weights of either sign rounds them independently, so it adds sqrt(n) for n terms (Higham
    and Mary, A New Approach to Probabilistic Rounding Error Analysis, SIAM J. Sci. Comput. 2019). A pooling layer adds
    terms that may all be alike, as a plain picture's are: then all roundings go one way, and it adds n (Wilkinson).
    """
    squares = (0 if not call.leaf else call.terms if _weighted(call) else call.terms**2 for call in calls)
    return [math.sqrt(total) for total in itertools.accumulate(squares)]


def _weighted(call: Call) -> bool:
    return bool({"in_channels", "in_features"} & set(call.config))


def bound(grown: float, peak: float, elements: int) -> float:
    """Return the largest error of the worst element that arithmetic explains, in units of roundoff of the rms.

    Args:
        grown: From `growth`.
        peak: Largest element over rms: a large element rounds by more.
        elements: Their number n; the worst of n normal deviates stays below sqrt(2 ln(2n / CHANCE)).
    """
    return math.sqrt(2 * math.log(2 * max(elements, 1) / CHANCE)) * max(peak, 1.0) * max(grown, 1.0)


@dataclass(frozen=True)
class _Reach:
    """What rounding may have become on the way to a tensor: `growth`, constants kept short, and weights folded.

    BatchNorm folded into a convolution is rounded to float32 once. Each product of a sum is then off by a rounding of
    its own, so the sum is off by one roundoff, not by sqrt(n): `folded` is the growth of as many terms as layers.
    """

    grown: float
    short: float
    folded: float = 0.0
    kept: float = 0.0

    def allowance(self, gap: Distance, elements: int) -> float:
        own = allowance(self.grown, gap.peak, elements, self.short) + self.kept
        return own + (ROUNDOFF32 * bound(self.folded, gap.peak, elements) if self.folded else 0.0)


@dataclass(frozen=True)
class _Finding:
    """The judgement of one pair of tensors."""

    verdict: str
    reason: str
    gap: Distance = field(default_factory=lambda: Distance(0.0))
    allowance: float = 0.0
    noise: tuple[float, float] = (0.0, 0.0)
    bound: float = 0.0


def judge(network: str, reference: Trace, candidate: Trace, threads: int = 1) -> Comparison:
    """Return the Comparison of two Traces. Culprits are not looked for: that needs the networks, see `parity.replay`.

    Args:
        network: What to call it.
        reference: The run held to be right.
        candidate: The run to be judged.
        threads: How many threads read and compare tensors.
    """
    alignment = align(reference, candidate)
    layers = _Bench(reference, candidate, alignment, threads).layers()
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
    wrong, notes = _whole(reference, candidate, layers, missed, alignment.by_order)
    return Comparison(
        network,
        "invalid" if wrong else verdict,
        tuple(layers),
        _first_divergence(layers),
        (),
        {name: tuple(_label(call) for call in calls) for name, calls in alone.items()},
        reference.manifest,
        candidate.manifest,
        (*wrong, *notes),
    )


def _label(call: Call) -> str:
    return call.layer + (f" (call {call.number})" if call.number else "")


def _whole(
    reference: Trace, candidate: Trace, layers: Sequence[Layer], alone: Sequence[Call], by_order: bool
) -> tuple[list[str], list[str]]:
    """Return what makes the whole invalid, and what is merely to be noted."""
    wrong = []
    if not (by_order or any(layer.leaf for layer in layers)) or not any(
        layer.layer == "" and layer.shape for layer in layers
    ):
        wrong.append("nothing was compared: the two share no layer, or the network gave no output")
    # One without weights may be a matter of style, a function where the other side has a layer: outputs tell.
    weighty = [call.layer for call in alone if _weighted(call) or "num_features" in call.config]
    if weighty:
        wrong.append(f"layers with weights have no partner of the same name: {', '.join(weighty[:6])}")
    same = {
        word: len({str(trace.manifest.get(word)) for trace in (reference, candidate)}) == 1
        for word in ("input_sha256", "state_sha256")
    }
    # A file's weights go by other names, and folded: unless its maker noted whose they are, hashes say nothing.
    told = all(trace.manifest.get("weights_of", "network") == "network" for trace in (reference, candidate))
    if not same["input_sha256"]:
        wrong.append("the two were given different inputs")
    notes = [] if same["state_sha256"] or not told else ["the two have different weights"]
    if not told and any(layer.verdict not in PASSES for layer in layers):
        notes.append("a file does not say whose weights it holds: is it of the weights the other has? See --weights")
    for who, trace in (("reference", reference), ("candidate", candidate)):
        if changed := trace.manifest.get("changed_weights"):
            notes.append(f"the {who}'s forward changes its weights, which were put back: {', '.join(changed[:6])}")
    tf32 = [str(trace.manifest.get("framework")) for trace in (reference, candidate) if trace.manifest.get("tf32")]
    if tf32:
        notes.append(f"TF32 was on: {' and '.join(tf32)}")
    return wrong, notes


class _Bench:
    """Where the judge has both Traces before it."""

    def __init__(self, reference: Trace, candidate: Trace, alignment: Alignment, threads: int):
        self.reference, self.candidate, self.paired = reference, candidate, alignment.pairs
        self.tf32 = any(trace.manifest.get("tf32") for trace in (reference, candidate))
        calls = reference.calls
        grown = growth(calls)
        folded = [math.sqrt(count) for count in itertools.accumulate(call.key in alignment.folded for call in calls)]
        short = kept_short(calls, KEPT_SHORT_IN_FILES if alignment.by_order else KEPT_SHORT)
        forward = zip(grown, short, folded, strict=True)
        self.forward = {call.key: _Reach(*reach) for call, reach in zip(calls, forward, strict=True)}
        # A gradient has been through the whole network, forward, and through what is behind its layer, backward.
        backward = reversed(kept_short(calls[::-1], KEPT_SHORT_BACKWARD))
        # In float32 a gradient is shown, not judged: where an activation is within rounding of ReLU's kink the gradient
        # jumps, by more than any bound on rounding.
        whole = 2 * max(grown, default=0.0)
        self.backward = {call.key: _Reach(whole, short) for call, short in zip(calls, backward, strict=True)}
        self.room = threading.local()
        wanted = dict.fromkeys(pair for ours, theirs in self.paired for pair in _tensor_pairs(ours, theirs))
        with ThreadPoolExecutor(threads) as pool:
            self.distances = dict(zip(wanted, pool.map(self._measure, wanted), strict=True))

    def _measure(self, pair: tuple[str, str]) -> Distance:
        room = self.room.__dict__.setdefault("pair", (Scratch(), Scratch()))
        expected, actual = self.reference.tensor(pair[0], room[0]), self.candidate.tensor(pair[1], room[1])
        return distance(actual, expected) if actual.dtype == expected.dtype else Distance(np.inf)

    def layers(self) -> list[Layer]:
        return [self._layer(ours, theirs) for ours, theirs in self.paired]

    def _layer(self, ours: Call, theirs: Call) -> Layer:
        forward, backward = self.forward[ours.key], self.backward[ours.key]
        forward = replace(forward, kept=max(ours.kept, theirs.kept))
        findings: list[_Finding] = []
        if len(ours.outputs) != len(theirs.outputs):
            words = f"{len(ours.outputs)} outputs in the reference, {len(theirs.outputs)} in the candidate"
            findings.append(_Finding("invalid", words))
        if set(ours.gradients) != set(theirs.gradients):
            lists = [", ".join(sorted(call.gradients)) or "nothing" for call in (ours, theirs)]
            findings.append(
                _Finding("invalid", f"gradients of {lists[0]} in the reference, {lists[1]} in the candidate")
            )
        for i, (a, b, *noise) in enumerate(zip(ours.outputs, theirs.outputs, ours.noise, theirs.noise, strict=False)):
            findings.append(self._tensor(f"output {i}", a, b, noise, forward))
        for label in ours.gradients.keys() & theirs.gradients.keys():
            noise = [call.gradient_noise[label] for call in (ours, theirs)]
            pair = ours.gradients[label], theirs.gradients[label]
            findings.append(self._tensor(f"gradient of {label}", *pair, noise, backward, smooth=False))
        findings = findings or [_Finding("exact", "")]
        worst = max(findings, key=lambda found: VERDICTS.index(found.verdict))
        furthest = max(findings, key=lambda found: found.gap.relative / (found.allowance or np.inf))
        noisiest = max(findings, key=lambda found: max(found.noise) / (found.bound or np.inf))
        return Layer(
            layer=ours.layer,
            call=ours.number,
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
            and all(self._agree(a, b, forward) for a, b in zip(ours.inputs, theirs.inputs, strict=True)),
        )

    def _agree(self, a: str, b: str, reach: _Reach) -> bool:
        gap = self.distances[a, b]
        return gap.relative <= reach.allowance(gap, math.prod(self.reference.shape(a)))

    def _tensor(
        self, what: str, a: str, b: str, noises: Sequence[Noise], reach: _Reach, smooth: bool = True
    ) -> _Finding:
        gap, shapes = self.distances[a, b], (self.reference.shape(a), self.candidate.shape(b))
        elements = math.prod(shapes[0])
        allowed = reach.allowance(gap, elements)
        limit = bound(reach.grown, gap.peak, elements) if smooth else np.inf
        noise = noises[0].relative / ROUNDOFF32, noises[1].relative / ROUNDOFF32
        if shapes[0] != shapes[1]:
            verdict, reason = "invalid", f"shape differs: reference {shapes[0]}, candidate {shapes[1]}"
        elif math.isnan(gap.relative):
            verdict, reason = "invalid", f"NaN on both sides at index {gap.index}: it proves nothing"
        elif gap.relative == np.inf:
            found = f"{gap.expected} in the reference, {gap.actual} in the candidate at index {gap.index}"
            verdict, reason = "invalid", "dtype differs" if gap.expected is None else found
        elif gap.relative > allowed:
            words = _mismatch(self.reference.tensor(a), self.candidate.tensor(b), gap, allowed)
            verdict, reason = "different", words
        elif self.tf32 or not max(noise) <= limit:
            errors = f"float32 error {noise[0]:.4g}u in the reference, {noise[1]:.4g}u in the candidate"
            why = "TF32 was on" if self.tf32 else _too_noisy(noise, limit)
            verdict, reason = "precision", f"{errors}, arithmetic explains {limit:.4g}u: {why}"
        else:
            same = gap.relative == 0 and noises[0].digest == noises[1].digest
            verdict, reason = "exact" if same else "rounding", ""
        return _Finding(verdict, f"{what}: {reason}" if reason else "", gap, allowed, noise, limit)


def _tensor_pairs(ours: Call, theirs: Call) -> list[tuple[str, str]]:
    labels = [label for label in ours.gradients if label in theirs.gradients]
    return [
        *zip(ours.inputs, theirs.inputs, strict=False),
        *zip(ours.outputs, theirs.outputs, strict=False),
        *[(ours.gradients[label], theirs.gradients[label]) for label in labels],
    ]


def kept_short(calls: Sequence[Call], table: Mapping[str, float]) -> list[float]:
    """Return, after each call, the sum of what the table says of the calls so far."""
    return list(
        itertools.accumulate(
            table.get(call.kind, 0.0) * (call.terms if call.kind == "Upsample" else 1) for call in calls
        )
    )


def allowance(grown: float, peak: float, elements: int, short: float = 0.0) -> float:
    """Return the largest float64 distance of two right ports: both roundings, headroom, constants kept short."""
    return 2 * HEADROOM * ROUNDOFF64 * bound(grown, peak, elements) + short * max(peak, 1.0)


def _too_noisy(pair: tuple[float, float], limit: float) -> str:
    sides = [name for name, value in zip(("the reference", "the candidate"), pair, strict=True) if not value <= limit]
    return " and ".join(sides) + " computes in less than float32"


def _mismatch(expected: Array, actual: Array, gap: Distance, allowed: float) -> str:
    """Return the failure text, in the manner of torch.testing.assert_close."""
    scale = root_mean_square(expected)
    count = int(np.count_nonzero(np.abs(actual - expected) > allowed * scale))
    return (
        f"{count} of {expected.size} elements differ ({count / expected.size:.1%}); worst at index "
        f"{gap.index}: {gap.expected:.17g} in the reference, {gap.actual:.17g} in the candidate; "
        f"distance {gap.relative:.3g}, allowed {allowed:.3g}"
    )


def _first_divergence(layers: Sequence[Layer]) -> Divergence | None:
    for layer in layers:
        if layer.leaf and not layer.inputs_agree:
            return Divergence(layer.layer, layer.call, "between")
        if layer.verdict in ("different", "invalid", "precision"):
            # A layer of layers that is wrong while all it holds are right: its own forward is, behind its last layer.
            return Divergence(layer.layer, layer.call, "inside" if layer.leaf else "between")
    return None
