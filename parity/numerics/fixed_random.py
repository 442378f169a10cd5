"""Fixed pseudo-random numbers, the same on every machine."""

from __future__ import annotations

import math

import numpy as np

from parity.numerics.arrays import Array


def projection(shape: tuple[int, ...]) -> Array:
    """Return fixed pseudo-random numbers in [-1, 1): the cotangents of all gradients, the same for every network."""
    bits = np.random.PCG64(math.prod(shape)).random_raw(math.prod(shape))
    return ((bits >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1.0).reshape(shape)
