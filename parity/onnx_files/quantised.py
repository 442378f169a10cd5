"""Rounding to a grid of integers and back, as ONNX defines it: QuantizeLinear and DequantizeLinear, in float64.

Scales and zero points are one number, one for each element along an axis (opset 13), or one for each block along it
(opset 21).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from parity.numerics.arrays import Array

# By ONNX's number of the type, for `output_dtype`.
_TYPES = {2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16}


def quantise(x: Array, scale: Array, *more: Any) -> Array:
    """Return the integers nearest to x / scale + zero point, ties to even, within the type's range.

    Raises:
        NotImplementedError: For a type that is no integer of 8 or 16 bits.
    """
    *zero, settings = more
    point = zero[0] if zero and zero[0] is not None else None
    dtype = np.dtype(_TYPES.get(settings.get("output_dtype", 0), np.uint8)) if point is None else point.dtype
    if dtype.kind not in "iu" or dtype.fields or dtype.itemsize > 2:
        raise NotImplementedError(f"quantised as {dtype}")
    limits = np.iinfo(dtype)
    offset = 0.0 if point is None else _spread(point, x, settings).astype(np.float64)
    scaled = np.rint(x / _spread(scale, x, settings)) + offset
    return np.clip(scaled, limits.min, limits.max).astype(dtype)


def dequantise(x: Array, scale: Array, *more: Any) -> Array:
    """Return (x - zero point) * scale, in float64."""
    *zero, settings = more
    point = zero[0] if zero and zero[0] is not None else None
    whole = x.astype(np.float64)
    if point is not None:
        whole = whole - _spread(point, x, settings).astype(np.float64)
    return whole * _spread(scale, x, settings)


def _spread(array: Array, x: Array, settings: Mapping[str, Any]) -> Array:
    """Return a scale or zero point in a shape that broadcasts with x."""
    axis, block = settings.get("axis", 1), settings.get("block_size", 0)
    if block:
        return np.repeat(array, block, axis=axis).take(range(x.shape[axis]), axis=axis)
    if array.size == 1:
        return array.reshape(())
    shape = [1] * x.ndim
    shape[axis] = array.size
    return array.reshape(shape)
