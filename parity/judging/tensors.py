"""The judgement of one pair of tensors, and the errors that may have reached them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from parity.judging.bounds import allowance, folding
from parity.numerics.arrays import Array
from parity.numerics.distance import Distance, scales

MUST_BE_EQUAL = " must be equal"
_ROLES = "reference", "candidate"


@dataclass(frozen=True)
class Reach:
    """The errors that may have reached a tensor: `growth` of roundings, folded layers, a backend's known error."""

    grown: float
    folded: int = 0
    known_error: float = 0.0

    def allowance(self, gap: Distance, elements: int) -> float:
        """Return the largest distance that these errors explain."""
        return allowance(self.grown, gap.peak, elements) + self.known_error + folding(self.folded, gap.peak, elements)


@dataclass(frozen=True)
class TensorResult:
    """The judgement of one pair of tensors; `noise` and `bound` in units of float32's roundoff."""

    verdict: str
    reason: str
    gap: Distance = field(default_factory=lambda: Distance(0.0))
    allowance: float = 0.0
    noise: tuple[float, float] = (0.0, 0.0)
    bound: float = 0.0


def too_noisy(noise: tuple[float, float], limit: float) -> str:
    """Return which sides compute in less than float32."""
    names = [f"the {role}" for role, value in zip(_ROLES, noise, strict=True) if not value <= limit]
    return " and ".join(names) + " computes in less than float32"


def mismatch(expected: Array, actual: Array, gap: Distance, allowed: float) -> str:
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
