"""Experiments on running statistics: how a step of training updates them, computed by our own arithmetic.

A way to update is proved if of the candidate's recorded input and statistics it gives those that the candidate has
after the step. A framework's own way must give what the reference has, and must not give what the candidate has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from parity.judging.bounds import allowance
from parity.judging.statistics import MOMENTUM_ERROR
from parity.numerics.arrays import Array
from parity.numerics.distance import distance
from parity.tracing.trace import Call, Trace

Statistics = dict[str, Array]


@dataclass(frozen=True)
class Update:
    """One step.

    Attributes:
        momentum: The share of the batch's statistics.
        biased: Whether the variance of the batch is divided by n, as Paddle does; torch divides by n - 1.
        steps: How often the same batch is counted.
        deviation: Whether the root of the variance is stored in its place.
    """

    momentum: float
    biased: bool
    steps: int = 1
    deviation: bool = False


def shown_update(reference: tuple[Trace, Call], candidate: tuple[Trace, Call], names: tuple[str, str]) -> str:
    """Return how the candidate updates its statistics, proved, where the reference does it otherwise; else "".

    Args:
        reference: Trace and call.
        candidate: Likewise.
        names: What to call the two.
    """
    momentum, other = (side[1].config.get("momentum") for side in (reference, candidate))
    if not isinstance(momentum, float) or not candidate[1].statistics:
        return ""
    ways = [Update(momentum, biased) for biased in (True, False)]
    sound = [way for way in ways if _distance(way, *reference) is not None]
    same = reference[0].manifest.get("framework") == candidate[0].manifest.get("framework")
    if not sound or any(_distance(way, *candidate) is not None for way in (sound[:1] if same else ways)):
        return ""
    for words, way in _mistakes(sound[0], other):
        gap = _distance(way, *candidate)
        if gap is not None:
            is_setting = words.startswith("momentum=")
            said, how = ("", f"with {words}") if is_setting else (f"; {words}", "so")
            return f"{said} (proved: {how} {names[0]} reproduces {names[1]} to {gap:.1g})"
    return ""


def _mistakes(right: Update, momentum: object) -> Iterator[tuple[str, Update]]:
    """Yield other ways to update, in words."""
    for biased in (right.biased, not right.biased):
        way = replace(right, biased=biased)
        if isinstance(momentum, float) and momentum != right.momentum:
            yield f"momentum={momentum:g}", replace(way, momentum=momentum)
        if biased != right.biased:
            yield f"the variance of the batch is divided by n{'' if biased else ' - 1'}", way
        yield "its statistics are not updated", replace(way, momentum=0.0)
        swapped = replace(way, momentum=1 - right.momentum)
        yield f"the batch counts by 1 - momentum = {1 - right.momentum:g}", swapped
        yield "its statistics are those of the batch alone", replace(way, momentum=1.0)
        yield "its statistics are updated twice", replace(way, steps=2)
        yield "the deviation is stored in place of the variance", replace(way, deviation=True)


def _distance(way: Update, trace: Trace, call: Call) -> float | None:
    """Return how near a way comes to the statistics that a call has left; None if rounding does not explain it."""
    if not call.inputs or not {"running_mean", "running_var"} <= call.statistics.keys() & call.statistics_before.keys():
        return None
    worst = 0.0
    for role, value in _updated(way, trace, call).items():
        target = trace.tensor(call.statistics[role])
        if value.shape != target.shape:
            return None
        gap = distance(value, target)
        terms = trace.tensor(call.inputs[0]).size // value.size
        allowed = allowance(terms, gap.peak, target.size) + (MOMENTUM_ERROR if way.momentum else 0.0)
        if not gap.relative <= allowed:
            return None
        worst = max(worst, gap.relative)
    return worst


def _updated(way: Update, trace: Trace, call: Call) -> Statistics:
    x = trace.tensor(call.inputs[0])
    axes = (0, *range(2, x.ndim))
    n = x.size // x.shape[1]
    variance = x.var(axes) * (1.0 if way.biased or n < 2 else n / (n - 1))
    batch = {"running_mean": x.mean(axes), "running_var": np.sqrt(variance) if way.deviation else variance}
    kept = (1 - way.momentum) ** way.steps
    return {role: trace.tensor(call.statistics_before[role]) * kept + new * (1 - kept) for role, new in batch.items()}
