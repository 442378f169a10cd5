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


_BLOCK = 1 << 12
_ROW, _COLUMN = projection((_BLOCK,)), projection((_BLOCK + 1,))


def fingerprint(array: Array) -> float:
    """Return a number that equal arrays share, and others hardly ever: the direction and the size of an array.

    The sum of a fixed projection, over the array's norm, and of the logarithm of that norm. It costs two passes over
    the array. Arrays that differ by rounding have fingerprints that differ by as much; those of unrelated arrays lie
    apart by 0.3 and more. NaN if the array holds NaN or infinity.
    """
    flat = np.ascontiguousarray(array, dtype=np.float64).reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        size = math.sqrt(float(flat @ flat))
    if size == 0 or not math.isfinite(size):
        return 0.0 if size == 0 else math.nan
    rows = len(flat) // _BLOCK
    sums = flat[: rows * _BLOCK].reshape(rows, _BLOCK) @ _ROW
    total = float(sums @ np.resize(_COLUMN, rows)) if rows else 0.0
    total += float(flat[rows * _BLOCK :] @ _COLUMN[: len(flat) - rows * _BLOCK])
    return total / size + math.log(size)
