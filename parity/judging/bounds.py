"""How far apart rounding alone may bring two tensors: every bound and allowance. docs/contract.md derives them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

from parity import layers
from parity.numerics.distance import ROUNDOFF32, ROUNDOFF64
from parity.tracing.trace import Call

# By how much a network's conditioning may amplify float64 roundings. Float64 has room for it: the smallest mistake we
# know, one eps off by a tenth, is four orders of magnitude above the resulting allowance.
HEADROOM = 2.0**6
# One in a million: the chance that arithmetic alone takes the worst element of a tensor past its bound.
CHANCE = 1e-6


def growth(calls: Iterable[Call]) -> list[float]:
    """Return, after each call, how far roundings may have grown: the root of the sum of each layer's square.

    Weights of either sign make the roundings of n terms independent, so such a layer adds sqrt(n) (Higham and Mary, A
    New Approach to Probabilistic Rounding Error Analysis, SIAM J. Sci. Comput. 2019). A pooling layer adds terms that
    may all be equal, as in a plain picture: then all roundings have the same sign, and it adds n (Wilkinson).
    """
    squares = (
        0 if not call.leaf else call.terms if layers.is_weighted(call.config) else call.terms**2 for call in calls
    )
    return [math.sqrt(total) for total in itertools.accumulate(squares)]


def bound(grown: float, peak: float, elements: int) -> float:
    """Return the largest error of the worst element that arithmetic explains, in units of roundoff of the rms.

    Args:
        grown: From `growth`.
        peak: Largest element over rms: a large element rounds by more.
        elements: Their number n; the worst of n normal deviates stays below sqrt(2 ln(2n / CHANCE)).
    """
    return math.sqrt(2 * math.log(2 * max(elements, 1) / CHANCE)) * max(peak, 1.0) * max(grown, 1.0)


def allowance(grown: float, peak: float, elements: int) -> float:
    """Return the largest float64 distance of two correct ports: the roundings of both, and headroom."""
    return 2 * HEADROOM * ROUNDOFF64 * bound(grown, peak, elements)


def folding(layers_folded: float, peak: float, elements: int) -> float:
    """Return the largest distance that rounding folded weights to float32 explains.

    A BatchNorm folded into a convolution is rounded to float32 once. Each product of a sum then has a rounding of its
    own, so the sum is off by one roundoff of its size, not by sqrt(n): the growth of as many terms as layers.
    """
    return ROUNDOFF32 * bound(math.sqrt(layers_folded), peak, elements) if layers_folded else 0.0
