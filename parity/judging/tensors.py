"""The judgement of one pair of tensors, and the errors that may have reached them."""

from __future__ import annotations

from dataclasses import dataclass, field

from parity.judging.bounds import allowance, folding
from parity.numerics.distance import Distance


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
