"""Judge the running statistics of BatchNorm after one step of training.

torch updates the running variance with the unbiased variance of the batch, Paddle with the biased one: the one is the
other times n / (n - 1), n values per channel (docs/differences.md#bn-variance). A port cannot change that but by a
layer of its own, so two networks that differ by just this factor agree, with a note.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from parity.judging.tensors import TensorResult
from parity.numerics.distance import Distance, distance
from parity.tracing.trace import Call, Noise, Trace

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
        result = judged(f"{role}{AFTER}", pair, noise)
        if result.verdict == "different" and role == "running_var":
            gap = _gap_of_biased(reference, candidate)
            if gap is not None and gap.relative <= result.allowance:
                count = _values_per_channel(*reference)
                result = replace(result, verdict="rounding", reason="", gap=gap)
        results.append(result)
    return results, count


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
    kept = trace.tensor(call.statistics_before["running_var"]) * _kept(momentum)
    expected = kept + (trace.tensor(call.statistics["running_var"]) - kept) * ((count - 1) / count)
    return distance(other.tensor(partner.statistics["running_var"]), expected)


def _kept(momentum: float) -> float:
    """Return the factor of the old statistics: in float64 too, it is a float32 number (docs/contract.md)."""
    return float(np.float32(1 - momentum))


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
