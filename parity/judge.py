"""Judge two Traces: a verdict for every layer, the first divergence, and what could not be matched.

Where each allowance comes from, and what was measured, is in docs/contract.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from parity.trace import ROUNDOFF32, ROUNDOFF64, Call, Distance, Trace, distance

SCHEMA = 1
VERDICTS = ("exact", "rounding", "precision", "different", "invalid")

# What a network's conditioning may make of float64 roundings on their way through it. Float64 has room for it: the
# smallest mistake we know, one eps off by a tenth, is four orders of magnitude above the allowance this leads to.
HEADROOM = 2.0**6
# One in a million: the chance that arithmetic alone takes the worst element of a tensor past its bound.
CHANCE = 1e-6
# What a framework keeps to fewer digits than float64 has, as a relative error of the layer and all behind it: Paddle's
# hard sigmoid multiplies by 0.1666667 in place of 1/6.
KEPT_SHORT = {"Hardsigmoid": 2e-7}


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
        return self.verdict in ("exact", "rounding")

    @property
    def sides(self) -> tuple[str, str]:
        """Return what to call the two: their frameworks, or "reference" and "candidate" where those are the same."""
        names = str(self.reference.get("framework")), str(self.candidate.get("framework"))
        return names if names[0] != names[1] else ("reference", "candidate")

    def to_json(self) -> str:
        """Return the comparison as strict JSON, schema 1 of docs/contract.md; infinity and NaN are strings."""
        return json.dumps(_finite({"schema": SCHEMA, "ok": self.ok, **asdict(self)}), indent=1, allow_nan=False)

    def __str__(self) -> str:
        from parity.report import text

        return text(self)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def growth(terms: Iterable[int]) -> list[float]:
    """Return, after each layer, sqrt(sum of the terms so far).

    Roundings of a sum of n terms are independent errors of one unit each, so they grow like sqrt(n) (Higham and Mary, A
    New Approach to Probabilistic Rounding Error Analysis, SIAM J. Sci. Comput. 2019); those of layers behind each other
    add up in squares.
    """
    return [math.sqrt(total) for total in np.cumsum(list(terms), dtype=float).tolist()]


def bound(grown: float, peak: float, elements: int) -> float:
    """Return the largest error of the worst element that arithmetic explains, in units of roundoff of the rms.

    Args:
        grown: From `growth`.
        peak: Largest element over rms: a large element rounds by more.
        elements: Their number n; the worst of n normal deviates stays below sqrt(2 ln(2n / CHANCE)).
    """
    return math.sqrt(2 * math.log(2 * max(elements, 1) / CHANCE)) * max(peak, 1.0) * grown


def judge(network: str, reference: Trace, candidate: Trace, threads: int = 1) -> Comparison:
    """Return the Comparison of two Traces. Culprits are not looked for: that needs the networks, see `parity.replay`.

    Args:
        network: What to call it.
        reference: The run held to be right.
        candidate: The run to be judged.
        threads: How many threads read and compare tensors.
    """
    partners = {call.key: call for call in candidate.calls}
    paired = [(call, partners[call.key]) for call in reference.calls if call.key in partners]
    wanted = dict.fromkeys(pair for ours, theirs in paired for pair in _tensor_pairs(ours, theirs))

    def measure(pair: tuple[str, str]) -> Distance:
        actual, expected = candidate.tensor(pair[1]), reference.tensor(pair[0])
        return distance(actual, expected) if actual.dtype == expected.dtype else Distance(np.inf)

    with ThreadPoolExecutor(threads) as pool:
        distances = dict(zip(wanted, pool.map(measure, wanted), strict=True))

    grown = dict(zip([call.key for call in reference.calls], _grown(reference.calls), strict=True))
    short = _kept_short(reference.calls)
    tf32 = [name for name, trace in zip(_sides(reference, candidate), (reference, candidate), strict=True)
            if trace.manifest.get("tf32")]  # fmt: skip
    final = max(grown.values(), default=0.0)
    layers = [
        _judge_call(ours, theirs, distances, reference, candidate, grown[ours.key], final, short[ours.key], bool(tf32))
        for ours, theirs in paired
    ]
    keys = {call.key for call, _ in paired}
    unmatched = {
        name: tuple(call.layer + (f" (call {call.number})" if call.number else "") for call in trace.calls
                    if call.key not in keys and call.leaf)
        for name, trace in (("reference", reference), ("candidate", candidate))
    }  # fmt: skip
    notes = [f"TF32 was on: {' and '.join(tf32)}"] if tf32 else []
    verdict = max((layer.verdict for layer in layers), key=VERDICTS.index, default="invalid")
    if ("", 0) not in keys or not any(layer.leaf for layer in layers) or not _outputs_seen(reference, candidate):
        verdict = "invalid"
        notes.append("nothing was compared: the two share no layer, or the network gave no output")
    weighty = [
        call.layer
        for trace in (reference, candidate)
        for call in trace.calls
        if call.leaf and call.key not in keys and _has_weights(call)
    ]
    if weighty:
        verdict = "invalid"
        notes.append(f"layers with weights have no partner of the same name: {', '.join(weighty[:6])}")
    shas = reference.manifest.get("state_sha256"), candidate.manifest.get("state_sha256")
    if all(shas) and shas[0] != shas[1]:
        notes.append("the two have different weights")
    inputs = reference.manifest.get("input_sha256"), candidate.manifest.get("input_sha256")
    if all(inputs) and inputs[0] != inputs[1]:
        verdict = "invalid"
        notes.append("the two were given different inputs")
    return Comparison(
        network,
        verdict,
        tuple(layers),
        _first_divergence(layers),
        (),
        unmatched,
        reference.manifest,
        candidate.manifest,
        tuple(notes),
    )


def _sides(reference: Trace, candidate: Trace) -> tuple[str, str]:
    return str(reference.manifest.get("framework")), str(candidate.manifest.get("framework"))


def _outputs_seen(reference: Trace, candidate: Trace) -> bool:
    return all(any(call.layer == "" and call.outputs for call in trace.calls) for trace in (reference, candidate))


def _has_weights(call: Call) -> bool:
    return bool({"in_channels", "in_features", "num_features"} & set(call.config))


def _tensor_pairs(ours: Call, theirs: Call) -> list[tuple[str, str]]:
    labels = [label for label in ours.gradients if label in theirs.gradients]
    return [
        *zip(ours.inputs, theirs.inputs, strict=False),
        *zip(ours.outputs, theirs.outputs, strict=False),
        *[(ours.gradients[label], theirs.gradients[label]) for label in labels],
    ]


def _grown(calls: Sequence[Call]) -> list[float]:
    return growth(call.terms if call.leaf else 0 for call in calls)


def _kept_short(calls: Sequence[Call]) -> dict[tuple[str, int], float]:
    total, found = 0.0, {}
    for call in calls:
        total += KEPT_SHORT.get(call.kind, 0.0)
        found[call.key] = total
    return found


def allowance(grown: float, peak: float, elements: int, short: float = 0.0) -> float:
    """Return the largest float64 distance of two right ports: both roundings, headroom, constants kept short."""
    return 2 * HEADROOM * ROUNDOFF64 * bound(grown, peak, elements) + short * max(peak, 1.0)


def _judge_call(
    ours: Call,
    theirs: Call,
    distances: Mapping[tuple[str, str], Distance],
    reference: Trace,
    candidate: Trace,
    grown: float,
    final: float,
    short: float,
    tf32: bool,
) -> Layer:
    def close(a: str, b: str) -> bool:
        gap = distances[a, b]
        return gap.relative <= allowance(grown, gap.peak, math.prod(reference.shape(a)), short)

    inputs_agree = len(ours.inputs) == len(theirs.inputs) and all(map(close, ours.inputs, theirs.inputs))
    verdict, reason, worst = "exact", "", Distance(0.0)
    allowed = limit = 0.0
    noise = 0.0, 0.0

    def worse(found: str, words: str) -> None:
        nonlocal verdict, reason
        if VERDICTS.index(found) > VERDICTS.index(verdict):
            verdict, reason = found, words

    labels = [label for label in ours.gradients if label in theirs.gradients]
    checks = [(f"output {i}", *item, grown) for i, item in
              enumerate(zip(ours.outputs, theirs.outputs, ours.noise, theirs.noise, strict=False))]  # fmt: skip
    # A gradient has been through the whole network, forward and backward.
    checks += [(f"gradient of {label}", ours.gradients[label], theirs.gradients[label], ours.gradient_noise[label],
                theirs.gradient_noise[label], 2 * final) for label in labels
               if label in ours.gradient_noise and label in theirs.gradient_noise]  # fmt: skip
    if len(ours.outputs) != len(theirs.outputs):
        worse("invalid", f"{len(ours.outputs)} outputs in the reference, {len(theirs.outputs)} in the candidate")
    if set(ours.gradients) != set(theirs.gradients):
        worse(
            "invalid",
            f"gradients of {sorted(ours.gradients)} in the reference, {sorted(theirs.gradients)} in the candidate",
        )
    for what, a, b, our_noise, their_noise, reach in checks:
        gap, shape = distances[a, b], reference.shape(a)
        elements = math.prod(shape)
        allowed_here = allowance(reach, gap.peak, elements, short)
        limit_here = bound(reach, gap.peak, elements)
        pair = our_noise.relative / ROUNDOFF32, their_noise.relative / ROUNDOFF32
        if gap.relative >= worst.relative or math.isnan(gap.relative) or not allowed:
            worst, allowed = gap, allowed_here
        if max(pair) >= max(noise):
            noise, limit = pair, limit_here
        if shape != candidate.shape(b):
            worse("invalid", f"{what}: shape differs: reference {shape}, candidate {candidate.shape(b)}")
        elif math.isnan(gap.relative):
            worse("invalid", f"{what}: NaN on both sides at index {gap.index}: it proves nothing")
        elif gap.relative == np.inf and gap.expected is None:
            worse("invalid", f"{what}: dtype differs: {reference.tensor(a).dtype}, {candidate.tensor(b).dtype}")
        elif gap.relative == np.inf:
            worse(
                "invalid",
                f"{what}: {gap.expected} in the reference, {gap.actual} in the candidate at index {gap.index}",
            )
        elif gap.relative > allowed_here:
            worse("different", _mismatch(what, reference.tensor(a), candidate.tensor(b), gap, allowed_here))
        elif not max(pair) <= limit_here or tf32:
            side = "TF32 was on" if tf32 else _too_noisy(pair, limit_here)
            errors = f"float32 error {pair[0]:.4g}u in the reference, {pair[1]:.4g}u in the candidate"
            worse("precision", f"{what}: {errors}, arithmetic explains {limit_here:.4g}u: {side}")
        elif gap.relative or our_noise.digest != their_noise.digest:
            worse("rounding", "")
    shape = reference.shape(ours.outputs[0]) if ours.outputs else ()
    return Layer(
        ours.layer, ours.number, ours.kind, ours.leaf, shape, verdict, reason, worst.relative, allowed, noise, limit,
        inputs_agree,
    )  # fmt: skip


def _too_noisy(pair: tuple[float, float], limit: float) -> str:
    sides = [name for name, value in zip(("the reference", "the candidate"), pair, strict=True) if not value <= limit]
    return " and ".join(sides) + " computes in less than float32"


def _mismatch(what: str, expected: np.ndarray, actual: np.ndarray, gap: Distance, allowed: float) -> str:
    """Return the failure text, in the manner of torch.testing.assert_close."""
    scale = float(np.sqrt(np.mean(np.square(expected, dtype=np.float64)))) or 1.0
    count = int(np.count_nonzero(np.abs(actual - expected) > allowed * scale))
    return (
        f"{what}: {count} of {expected.size} elements differ ({count / expected.size:.1%}); worst at index "
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
