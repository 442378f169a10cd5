"""Recognise a tensor in another run: two tensors of the same fingerprint are the same tensor, but for rounding."""

from __future__ import annotations

import math

import numpy as np

from parity.numerics.arrays import Array
from parity.numerics.fixed_random import projection

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
