"""Fixed pseudo-random numbers, the same on every machine."""

from __future__ import annotations

import math

import numpy as np

from parity.numerics.arrays import Array


def projection(shape: tuple[int, ...]) -> Array:
    """Return fixed pseudo-random numbers in [-1, 1): the cotangents of all gradients, the same for every network."""
    bits = np.random.PCG64(math.prod(shape)).random_raw(math.prod(shape))
    return ((bits >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1.0).reshape(shape)


def uniform(shape: tuple[int, ...]) -> Array:
    """Return fixed pseudo-random numbers in [0, 1), others than `projection` has: by them dropout drops."""
    count = math.prod(shape)
    bits = np.random.PCG64((count, 1)).random_raw(count)
    return ((bits >> np.uint64(40)).astype(np.float64) * 2.0**-24).reshape(shape)


def example(shape: tuple[int, ...], dtype: str = "float32") -> Array:
    """Return an input of fixed pseudo-random numbers: floating ones of deviation 1, like a picture's; integers 0 and 1.

    Integers are indices or masks, and any table that is indexed has two rows.

    Args:
        shape: Its shape.
        dtype: numpy's name of a floating, integer or boolean dtype.
    """
    numbers = projection(shape)
    return (numbers * math.sqrt(3.0) if np.dtype(dtype).kind == "f" else numbers >= 0).astype(dtype)
