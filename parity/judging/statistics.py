"""Judge the running statistics of BatchNorm after one step of training.

torch updates the running variance with the unbiased variance of the batch, Paddle with the biased one: the one is the
other times n / (n - 1), n values per channel (docs/differences.md#bn-variance). A port cannot change that but by a
layer of its own, so two networks that differ by just this factor agree, with a note.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from parity.judging.tensors import TensorResult
from parity.numerics.distance import ROUNDOFF32, Distance, distance, root_mean_square
from parity.tracing.trace import Call, Noise, Trace

# Paddle keeps momentum as float32 inside a float64 kernel, and code by hand does not. It weighs the batch's statistics,
# of which at a usual momentum a tenth arrives.
MOMENTUM_ERROR = 16 * ROUNDOFF32
# Ends the label of statistics in messages.
AFTER = " after this step"


def trains(trace: Trace) -> bool:
    """Return whether a trace was recorded in training mode."""
    return trace.manifest.get("mode") == "train"


def judge_statistics(
    reference: tuple[Trace, Call],
    candidate: tuple[Trace, Call],
    judged: Callable[[str, tuple[str, str], tuple[Noise, Noise]], TensorResult],
) -> tuple[list[TensorResult], int]:
    """Judge the running statistics that a pair of calls has updated.

    Args:
        reference: Trace and call.
        candidate: Likewise.
        judged: Judges a pair of tensors, by label, names and float32 noise.

    Returns:
        The results; and, if the variances agree but for n / (n - 1), n, else 0.
    """
    results, count = list[TensorResult](), 0
    calls = reference[1], candidate[1]
    for role in (role for role in calls[0].statistics if role in calls[1].statistics):
        pair = calls[0].statistics[role], calls[1].statistics[role]
        noise = calls[0].statistics_noise[role], calls[1].statistics_noise[role]
        result = _by_input(judged(f"{role}{AFTER}", pair, noise), *reference, role)
        if result.verdict == "different" and role == "running_var":
            gap = _gap_of_biased(reference, candidate)
            if gap is not None and gap.relative <= result.allowance:
                count = _values_per_channel(*reference)
                result = replace(result, verdict="rounding", reason="", gap=gap)
        results.append(result)
    return results, count


def _by_input(result: TensorResult, trace: Trace, call: Call, role: str) -> TensorResult:
    """Return the result of a mean that is zero in exact arithmetic by its input's scale: it has none of its own.

    So is that of a convolution behind a BatchNorm without a shift.
    """
    momentum = call.config.get("momentum")
    if result.verdict != "different" or role != "running_mean" or not call.inputs or not isinstance(momentum, float):
        return result
    rms = root_mean_square(trace.tensor(call.statistics[role]))
    scale = max(rms, momentum * root_mean_square(trace.tensor(call.inputs[0])))
    gap = replace(result.gap, relative=result.gap.relative * rms / scale)
    return result if gap.relative > result.allowance else replace(result, verdict="rounding", reason="", gap=gap)


# Of fewer values some channel's variance is near zero by chance.
_FEW = 16


@dataclass(frozen=True)
class Amplified:
    """By how much errors grow where channels are divided by the deviation of few values, which may be near zero.

    Attributes:
        own: At the worst channel of the call.
        passed: In the root mean square over the channels: what reaches the layers behind.
        backward: Of the gradient of its input. Of 2 values the normalised ones are 1 and -1, whatever they are: their
            gradient is eps / (variance + eps) of its terms.
    """

    own: float = 1.0
    passed: float = 1.0
    backward: float = 1.0


def amplified(trace: Trace, call: Call) -> Amplified:
    """Return by how much a call amplifies errors; by nothing, unless it normalises by statistics of few values."""
    n = _values_per_channel(trace, call) if call.statistics else 0
    eps = call.config.get("eps")
    if not 1 < n < _FEW or call.config.get("use_global_stats") or not isinstance(eps, float):
        return Amplified()
    x = trace.tensor(call.inputs[0])
    variances = x.var(axis=(0, *range(2, x.ndim))) + eps
    factors = np.sqrt(np.maximum(np.median(variances) / variances, 1.0))
    backward = 1 / root_mean_square(eps / variances) if n == 2 else 1.0
    return Amplified(float(factors.max()), root_mean_square(factors), max(1.0, backward))


def amplification(trace: Trace) -> tuple[dict[tuple[str, int], float], float]:
    """Return the factor of the errors that reach each call's output, and that of gradients; 1 in evaluation mode.

    Such factors do not multiply: the largest holds. If they did, an allowance behind a few such layers would be without
    meaning; a right port that exceeds this one is told to take a larger batch.
    """
    forward, before, backward = dict[tuple[str, int], float](), 1.0, 1.0
    for call in trace.calls:
        found = amplified(trace, call)
        forward[call.key] = max(before, found.own)
        before, backward = max(before, found.passed), max(backward, found.backward)
    return forward, before * backward


def of_few(reference: Trace, candidate: Trace) -> list[str]:
    """Return a note on the normalisation by the fewest values per channel, if by fewer than 16 in training."""
    found = [
        (count, call.layer)
        for trace in (reference, candidate)
        for call in trace.calls
        if call.statistics and 1 < (count := _values_per_channel(trace, call)) < _FEW
    ]
    if not found:
        return []
    count, layer = min(found)
    return [
        f"{layer} normalises by {count} values per channel, whose variance may be near zero: allowances are wider for "
        "it; a larger batch or image shows more"
    ]


def _values_per_channel(trace: Trace, call: Call) -> int:
    """Return how many values of its input a normalisation has for each channel; 0 if that is unknown."""
    channels = call.config.get("num_features")
    elements = math.prod(trace.shape(call.inputs[0])) if call.inputs else 0
    return elements // channels if isinstance(channels, int) and channels > 0 else 0


def _gap_of_biased(reference: tuple[Trace, Call], candidate: tuple[Trace, Call]) -> Distance | None:
    """Return how far Paddle's running variance is from torch's, once torch's new part is the biased variance.

    Args:
        reference: Trace and call.
        candidate: Likewise.

    Returns:
        None unless one is torch's and the other Paddle's, and torch's momentum and n > 1 are known.
    """
    sides = {str(trace.manifest.get("framework")): (trace, call) for trace, call in (reference, candidate)}
    if {*sides} != {"torch", "paddle"}:
        return None
    (trace, call), (other, partner) = sides["torch"], sides["paddle"]
    momentum, count = call.config.get("momentum"), _values_per_channel(trace, call)
    if not isinstance(momentum, float) or count < 2 or "running_var" not in call.statistics_before:
        return None
    kept = trace.tensor(call.statistics_before["running_var"]) * (1 - momentum)
    expected = kept + (trace.tensor(call.statistics["running_var"]) - kept) * ((count - 1) / count)
    return distance(other.tensor(partner.statistics["running_var"]), expected)


def of_biased(layers: Mapping[str, int]) -> list[str]:
    """Return a note on the layers whose running variances differ by n / (n - 1), by n; none for no layers."""
    if not layers:
        return []
    least = min(layers, key=lambda layer: layers[layer])
    n = layers[least]
    return [
        f"running variance ({len(layers)} BatchNorm): the same but for the frameworks' own difference: Paddle stores "
        f"the biased variance, torch n / (n - 1) times it, here at most {n / (n - 1):.4g} ({least}, n = {n}); see "
        "docs/differences.md#bn-variance"
    ]
