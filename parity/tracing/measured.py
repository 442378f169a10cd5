"""What is measured of a call beside its tensors: where its weight has its peaks, its longest sum, its float32 noise."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict
from typing import Any

import numpy as np

from parity.functions import CONTRACTIONS, MOVES, function_of
from parity.layers import Config, known, terms
from parity.numerics.arrays import Array
from parity.numerics.distance import distance
from parity.numerics.peaks import peaks
from parity.tracing.backend import Backend
from parity.tracing.trace import Noise


def kernel_of(backend: Backend, kind: str, layer: Any) -> tuple[int, ...]:
    """Return the peaks of a layer's weight; empty for a layer that has none."""
    weight = getattr(layer, "weight", None) if known(kind).weighted else None
    if not backend.is_tensor(weight):
        return ()
    array = backend.neutral(layer, "weight", backend.to_numpy(weight))
    return peaks(array, axis=1 if "Transpose" in kind else 0)


def terms_of(call: str, kind: str, config: Config, before: tuple[int, ...], after: tuple[int, ...]) -> int:
    """Return the length of the longest sum in one output element of a call."""
    name = function_of(call)
    if config.get("training") and "momentum" in known(kind).settings and not config.get("use_global_stats"):
        # The batch's statistics are sums of numbers of either sign: they grow like the root of how many there are.
        return math.isqrt(math.prod(before) // max(1, config["num_features"])) + 1
    if name in CONTRACTIONS:
        return max(before, default=1)
    return 1 if name in MOVES else terms(config, before, after)


def measured_noise(array: Array, exact: Array) -> Noise:
    """Return the distance of a float32 run's array from the float64 run's, and the digest of its bytes."""
    digest = hashlib.sha256(np.ascontiguousarray(array).data if array.size else b"").hexdigest()
    return Noise(**asdict(distance(array, exact)), digest=f"{array.dtype}:{digest}")
