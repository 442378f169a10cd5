"""Judge two Traces: a verdict for every layer, the first divergence, and the layers without a partner.

The judge knows no framework and no kind of layer. `parity.judging.bounds` derives each allowance; docs/contract.md has
the measurements.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from parity.functions import caller_of, commutes, is_function
from parity.judging.bounds import bound, growth
from parity.judging.comparison import PASSES, SAME_OUTPUT, VERDICTS, Comparison, Divergence, Layer, names_of
from parity.judging.gradient_pairs import zero_in_exact_arithmetic
from parity.judging.gradients import judge_gradients
from parity.judging.hiding import is_hidden
from parity.judging.notes import describe_settings, notes_of, problems_of, without_effect
from parity.judging.owners import owners
from parity.judging.pairing import Alignment, align, output_pairs, tensor_pairs
from parity.judging.statistics import AFTER, MOMENTUM_ERROR, amplification, judge_statistics, of_biased, of_few, trains
from parity.judging.tensors import MUST_BE_EQUAL, Reach, TensorResult, mismatch, too_noisy
from parity.layers import differing_settings, has_weights
from parity.numerics.arrays import same_but_ones
from parity.numerics.distance import ROUNDOFF32, Distance, distance
from parity.safetensors_file import Scratch
from parity.tracing.trace import Call, Noise, Trace

_ROLES = "reference", "candidate"


def judge(
    network: str,
    reference: Trace,
    candidate: Trace,
    threads: int = 1,
    values_only: bool = False,
    layers: Mapping[str, str] | None = None,
) -> Comparison:
    """Return the Comparison of two Traces, without culprits: those need the networks, see `tracing.replay`.

    Args:
        network: What to call it.
        reference: The run held to be right.
        candidate: The run to judge.
        threads: How many threads read and compare tensors.
        values_only: Whether layers whose settings differ, and whose output on this input does not, pass.
        layers: The candidate's layer of a layer of the reference, where it is known.
    """
    alignment = align(reference, candidate, layers)
    judgement = _Judge(reference, candidate, alignment, threads, values_only)
    judged = judgement.layers()
    paired_keys = [alignment.inside[i] | {pair[i].key for pair in alignment.pairs} for i in (0, 1)]
    # A layer without a node in a file is listed only: the outputs, which are always compared, show whether it matters.
    owning = [*alignment.pairs, *judgement.owners.values()]
    owners_keys = [keys | {pair[i].key for pair in owning} for i, keys in enumerate(paired_keys)]
    missing = [] if alignment.by_order else _missing(reference, candidate, owners_keys, alignment.other_names)
    agree = [_is_sound(layer, judged, alignment) for layer in judged]
    agree = _without_mispaired(reference, alignment, judged, agree)
    agree = [stays or is_hidden(i, alignment.pairs, judged, reference) for i, stays in enumerate(agree)]
    judged = list(itertools.compress(judged, agree))
    for pair, agrees in zip(alignment.pairs, agree, strict=True):
        if not agrees:
            paired_keys = [keys - {call.key} for keys, call in zip(paired_keys, pair, strict=True)]
    unpaired = {
        role: [call for call in trace.calls if call.leaf and call.key not in keys and not _is_settled(call, judged)]
        for role, trace, keys in zip(_ROLES, (reference, candidate), paired_keys, strict=True)
    }
    verdict = max((layer.verdict for layer in judged), key=VERDICTS.index, default="invalid")
    problems = problems_of(reference, candidate, alignment, missing)
    agrees = not problems and verdict in PASSES
    owning = [*itertools.compress(alignment.pairs, agree), *judgement.owners.values()]
    gradients = judge_gradients(reference, candidate, owning, judgement.gradient, agrees)
    divergence = _first_divergence(judged)
    if gradients is not None:
        verdict = max(verdict, gradients.verdict, key=VERDICTS.index)
        divergence = divergence or gradients.first
        problems += [] if gradients.compared or gradients.culprits else ["no gradient was compared"]
    notes = notes_of(reference, candidate, alignment, judged) + without_effect((reference, candidate), paired_keys)
    return Comparison(
        network,
        "invalid" if problems else verdict,
        tuple(judged),
        divergence,
        (),
        {role: tuple(_label(call) for call in calls) for role, calls in unpaired.items()},
        reference.manifest,
        candidate.manifest,
        (*problems, *notes, *of_biased(judgement.biased), *of_few(reference, candidate)),
        gradients,
    )


def _is_sound(layer: Layer, layers: Sequence[Layer], alignment: Alignment) -> bool:
    """Return whether a pair is one: where the result agrees, a pair within it that does not was paired by mistake.

    Layers of the same name are a pair in any case.
    """
    if _agrees_but(layer) or (layer.verdict not in ("different", "invalid") and layer.inputs_agree):
        return True
    if alignment.by_order:
        return not any(other.layer == "" and other.verdict in PASSES for other in layers)
    return (layer.layer, layer.call) in alignment.named or not _agrees(caller_of(layer.layer), layers)


def _agrees_but(layer: Layer) -> bool:
    """Return whether a layer's output agrees, and its settings or its statistics do not."""
    return layer.reason.endswith(SAME_OUTPUT) or AFTER in layer.reason


def _without_mispaired(
    reference: Trace, alignment: Alignment, judged: Sequence[Layer], sound: Sequence[bool]
) -> list[bool]:
    """Return which pairs stay: where what is computed from their results agrees, they were none."""
    if alignment.by_order:
        return list(sound)
    agrees = lambda layer: layer.verdict in PASSES and layer.inputs_agree and layer.leaf
    good = {(layer.layer, layer.call) for layer in judged if agrees(layer)}
    positions = {call.key: i for i, call in enumerate(reference.calls)}
    stay = list[bool]()
    for layer, keep in zip(judged, sound, strict=True):
        key = layer.layer, layer.call
        made = key in good or (layer.verdict in PASSES and not is_function(layer.layer))  # a padding may be before it
        sure = not layer.leaf or made or key in alignment.named or _agrees_but(layer)
        stay.append(keep and (sure or not _reaches(reference.calls, positions[key], good)))
    return stay


def _reaches(calls: Sequence[Call], start: int, good: Set[tuple[str, int]]) -> bool:
    """Return whether a call that agrees works on what comes of another call."""
    reached = {*calls[start].outputs}
    for call in calls[start + 1 :]:
        if call.leaf and not reached.isdisjoint(call.inputs):
            if call.key in good:
                return True
            reached |= {*call.outputs}
    return False


def _agrees(path: str, layers: Sequence[Layer]) -> bool:
    """Return whether every call of a layer agrees; if it has no partner, of the nearest one around it that has."""
    while True:
        calls = [layer for layer in layers if layer.layer == path]
        if calls or not path:
            return bool(calls) and all(layer.verdict in PASSES for layer in calls)
        path = path.rpartition(".")[0]


def _missing(
    reference: Trace, candidate: Trace, paired: Sequence[Set[tuple[str, int]]], other_names: bool
) -> list[Call]:
    """Return the calls of layers with weights that have no partner; where names tell nothing, of functions too."""
    return [
        call
        for trace, keys in zip((reference, candidate), paired, strict=True)
        for call in trace.calls
        if call.key not in keys
        and (
            call.weights and other_names
            if is_function(call.layer)
            else call.weights or has_weights(call.kind, call.config)
        )
    ]


def _is_settled(call: Call, layers: Sequence[Layer]) -> bool:
    """Return whether a call is of a function, and the layer whose code makes it agrees."""
    return is_function(call.layer) and _agrees(caller_of(call.layer), layers)


def _label(call: Call) -> str:
    settings = str(call.config.get("node", "")).partition(" (")[2]  # how a file's node resizes
    return call.layer + (f" (call {call.number})" if call.number else "") + (f" ({settings}" if settings else "")


class _Judge:
    """Both Traces, and the distance of every pair of tensors."""

    def __init__(self, reference: Trace, candidate: Trace, alignment: Alignment, threads: int, values_only: bool):
        self.reference, self.candidate = reference, candidate
        self.pairs, self.owners = alignment.pairs, owners(reference, candidate, alignment.pairs)
        self.named, self.values_only = alignment.named, values_only
        self.names = names_of(reference.manifest, candidate.manifest)
        self.trains = trains(reference)
        self.biased = dict[str, int]()  # layers whose variance Paddle stores by its own rule: values per channel
        self.tf32 = any(trace.manifest.get("tf32") for trace in (reference, candidate))
        calls = reference.calls
        grown = growth(calls)
        folded = itertools.accumulate(1 if call.key in alignment.folded else 0 for call in calls)
        # Behind a normalisation by few values no bound on float32's rounding holds: it is shown, not judged.
        factors, backward = amplification(reference)
        self.amplified = {key for key, factor in factors.items() if factor > 1}
        reaches = map(Reach, (after * factors[call.key] for after, call in zip(grown, calls, strict=True)), folded)
        self.forward = {call.key: reach for call, reach in zip(calls, reaches, strict=True)}
        # What one side computes by a function, which is no call, the other may compute by a layer or a node that is.
        self.candidate_growth = {
            call.key: after for call, after in zip(candidate.calls, growth(candidate.calls), strict=True)
        }
        # A gradient has passed the whole network forward, and the layers behind its own backward. In float32 it is
        # shown, not judged: where an activation is within rounding of ReLU's kink, the gradient jumps by more than any
        # bound on rounding.
        self.backward = Reach(2 * backward * max(grown, default=0.0))
        self.inner = True
        self.buffers = threading.local()
        pairs = dict.fromkeys(
            pair
            for reference_call, candidate_call in self.pairs
            for pair in tensor_pairs(reference_call, candidate_call)
        )
        with ThreadPoolExecutor(threads) as pool:
            self.distances = dict(zip(pairs, pool.map(self._measure, pairs), strict=True))

    def _measure(self, pair: tuple[str, str]) -> Distance:
        scratch = self.buffers.__dict__.setdefault("pair", (Scratch(), Scratch()))
        expected = self.reference.tensor(pair[0], scratch[0])
        actual = self.candidate.tensor(pair[1], scratch[1])
        if same_but_ones(actual.shape, expected.shape):
            actual = actual.reshape(expected.shape)
        return distance(actual, expected) if actual.dtype == expected.dtype else Distance(np.inf)

    def layers(self) -> list[Layer]:
        layers, agree = list[Layer](), True
        for reference_call, candidate_call in self.pairs:
            layer = self._layer(reference_call, candidate_call)
            if layer.reason.endswith(MUST_BE_EQUAL):
                before = "all floating tensors before it agree" if agree else "so do floating tensors before it"
                layer = replace(layer, reason=f"{layer.reason}; {before}")
            layers.append(layer)
            agree = agree and layer.verdict in PASSES
        return layers

    def _layer(self, reference_call: Call, candidate_call: Call) -> Layer:
        known_error = max(reference_call.known_error, candidate_call.known_error)
        reach = self.forward[reference_call.key]
        grown = max(reach.grown, self.candidate_growth[candidate_call.key])
        reach = replace(reach, grown=grown, known_error=known_error)
        smooth = reference_call.key not in self.amplified
        self.inner = reference_call.layer != ""  # a 1x1 convolution for a Linear; the network's own outputs must agree
        results = self._unpaired(reference_call, candidate_call)
        results += [
            self._tensor(pair.label, pair.reference, pair.candidate, pair.noise, reach, smooth)
            for pair in output_pairs(reference_call, candidate_call)
        ]
        results += self._statistics(*self.owners.get(reference_call.key, (reference_call, candidate_call)), reach)
        results = results or [TensorResult("exact", "")]
        worst = max(results, key=lambda result: VERDICTS.index(result.verdict))
        furthest = max(results, key=lambda result: result.gap.relative / (result.allowance or np.inf))
        noisiest = max(results, key=lambda result: max(result.noise) / (result.bound or np.inf))
        layer = Layer(
            layer=reference_call.layer,
            call=reference_call.number,
            partner=candidate_call.layer,
            partner_call=candidate_call.number,
            kind=reference_call.kind,
            leaf=reference_call.leaf,
            shape=self.reference.shape(reference_call.outputs[0]) if reference_call.outputs else (),
            verdict=worst.verdict,
            reason=worst.reason,
            distance=furthest.gap.relative,
            allowance=furthest.allowance,
            noise=noisiest.noise,
            bound=noisiest.bound,
            inputs_agree=self._inputs_agree(reference_call, candidate_call, reach),
        )
        return self._with_settings(layer, reference_call, candidate_call)

    def _statistics(self, reference_call: Call, candidate_call: Call, reach: Reach) -> list[TensorResult]:
        """Judge the running statistics that a call has updated."""
        sides = (self.reference, reference_call), (self.candidate, candidate_call)
        reach = replace(reach, known_error=reach.known_error + MOMENTUM_ERROR)
        judged = lambda label, pair, noise: self._tensor(label, pair[0], pair[1], noise, reach, smooth=False)
        results, count = judge_statistics(*sides, judged)
        if count:
            self.biased[reference_call.layer] = count
        return results

    def gradient(self, reference_call: Call, candidate_call: Call, label: str) -> TensorResult:
        """Judge one pair of gradients."""
        self.inner = reference_call.layer != ""
        noise = reference_call.gradient_noise[label], candidate_call.gradient_noise[label]
        pair = reference_call.gradients[label], candidate_call.gradients[label]
        result = self._tensor(f"gradient of {label}", *pair, noise, self.backward, smooth=False)
        return zero_in_exact_arithmetic(result, self.reference, reference_call, label, self.backward)

    def _unpaired(self, reference_call: Call, candidate_call: Call) -> list[TensorResult]:
        """Return what is wrong with the two calls, whatever their numbers: outputs without a partner."""
        results = list[TensorResult]()
        labels = {*reference_call.labels}, {*candidate_call.labels}
        unpaired = sorted(labels[0] - labels[1]), sorted(labels[1] - labels[0])
        if all(labels) and any(unpaired):
            names = [f"{', '.join(keys)} in the {role}" for keys, role in zip(unpaired, _ROLES, strict=True) if keys]
            results.append(TensorResult("invalid", f"outputs of one side alone: {'; '.join(names)}"))
        elif len(reference_call.outputs) != len(candidate_call.outputs):
            counts = len(reference_call.outputs), len(candidate_call.outputs)
            message = f"{counts[0]} outputs in the reference, {counts[1]} in the candidate"
            results.append(TensorResult("invalid", message))
        return results

    def _with_settings(self, layer: Layer, reference_call: Call, candidate_call: Call) -> Layer:
        """Return the layer as different where its settings are, though its output on this input is not."""
        leaves = reference_call.leaf and candidate_call.leaf
        if self.values_only or layer.verdict not in PASSES or not leaves or not reference_call.inputs:
            return layer
        # People and exporters write one function as another, a ReLU as a clamp; or as two: mean(3).mean(2).
        other = reference_call.kind != candidate_call.kind or not layer.inputs_agree
        if other and reference_call.key not in self.named:
            return layer
        kinds = (reference_call.kind, reference_call.config), (candidate_call.kind, candidate_call.config)
        settings, training = differing_settings(*kinds, len(self.reference.shape(reference_call.inputs[0])))
        settings += training if self.trains else []
        if is_function(reference_call.layer) or is_function(candidate_call.layer):
            # Code computes the size from another tensor's, or gives a factor; a layer's size is that of any input.
            settings = [word for word in settings if word not in ("size", "scale_factor")]
        if not settings:
            return layer
        sentences = describe_settings(settings, reference_call, candidate_call, self.names)
        return replace(layer, verdict="different", reason="; ".join([*sentences, SAME_OUTPUT]))

    def _inputs_agree(self, reference_call: Call, candidate_call: Call, reach: Reach) -> bool:
        if len(reference_call.inputs) != len(candidate_call.inputs):
            return False
        orders = [candidate_call.inputs]
        if commutes(reference_call.layer):
            orders.append(candidate_call.inputs[::-1])
        return any(
            all(
                (gap := self._distance(pair)).relative <= reach.allowance(gap, math.prod(self.reference.shape(pair[0])))
                for pair in zip(reference_call.inputs, order, strict=True)
            )
            for order in orders
        )

    def _distance(self, pair: tuple[str, str]) -> Distance:
        if pair not in self.distances:  # operands in the other order
            self.distances[pair] = self._measure(pair)
        return self.distances[pair]

    def _tensor(
        self, what: str, a: str, b: str, noises: tuple[Noise, Noise], reach: Reach, smooth: bool = True
    ) -> TensorResult:
        gap, shapes = self._distance((a, b)), (self.reference.shape(a), self.candidate.shape(b))
        dtypes = self.reference.dtype(a), self.candidate.dtype(b)
        elements = math.prod(shapes[0])
        exact = dtypes[0].kind != "f"  # an index, a count or a mask must be equal: rounding explains nothing
        allowed = 0.0 if exact else reach.allowance(gap, elements)
        limit = np.inf if exact or not smooth else bound(reach.grown, gap.peak, elements)
        noise = (0.0, 0.0) if exact else (noises[0].relative / ROUNDOFF32, noises[1].relative / ROUNDOFF32)
        verdict, reason = "rounding", ""
        if shapes[0] != shapes[1] and not (self.inner and same_but_ones(*shapes)):
            verdict, reason = "invalid", f"shape differs: reference {shapes[0]}, candidate {shapes[1]}"
        elif dtypes[0] != dtypes[1]:
            verdict, reason = "invalid", f"dtype differs: reference {dtypes[0]}, candidate {dtypes[1]}"
        elif not elements:
            verdict, reason = "invalid", f"shape {shapes[0]} has no elements: nothing was compared"
        elif math.isnan(gap.relative):
            verdict, reason = "invalid", f"NaN on both sides at index {gap.index}: it proves nothing"
        elif gap.relative == np.inf and not exact:
            values = f"{gap.expected} in the reference, {gap.actual} in the candidate"
            verdict, reason = "invalid", f"{values} at index {gap.index}"
        elif not gap.relative <= allowed:
            verdict = "different"
            reason = mismatch(self.reference.tensor(a), self.candidate.tensor(b), gap, allowed)
        elif not exact and (self.tf32 or not max(noise) <= limit):
            errors = f"float32 error {noise[0]:.4g}u in the reference, {noise[1]:.4g}u in the candidate"
            cause = "TF32 was on" if self.tf32 else too_noisy(noise, limit)
            verdict, reason = "precision", f"{errors}, arithmetic explains {limit:.4g}u: {cause}"
        elif gap.relative == 0 and noises[0].digest == noises[1].digest:
            verdict = "exact"
        return TensorResult(verdict, f"{what}: {reason}" if reason else "", gap, allowed, noise, limit)


def _first_divergence(layers: Sequence[Layer]) -> Divergence | None:
    for layer in layers:
        if layer.leaf and not layer.inputs_agree:
            return Divergence(layer.layer, layer.call, "between")
        if layer.verdict in ("different", "invalid", "precision"):
            # Where a layer differs and none within it does, its own forward differs, behind the last layer it calls.
            return Divergence(layer.layer, layer.call, "inside" if layer.leaf else "between")
    return None
