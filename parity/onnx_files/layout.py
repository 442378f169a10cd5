"""Give a file its inputs: by position, floating ones in its dtype, and as (N, H, W, C) where it takes pictures so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.numerics.arrays import Array

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def turned(slots: Sequence[Any], inputs: Sequence[Array]) -> list[Array]:
    """Return the inputs, those of (N, C, H, W) as (N, H, W, C) where the file takes that alone, as TensorFlow's do.

    Args:
        slots: The inputs of an onnxruntime.InferenceSession.
        inputs: As a framework's network takes them.
    """
    if len(slots) != len(inputs):
        return list(inputs)
    return [_turned(slot.shape, array) for slot, array in zip(slots, inputs, strict=True)]


def _turned(shape: Sequence[Any], array: Array) -> Array:
    if array.ndim != 4 or len(shape) != 4 or _fits(shape, array.shape):
        return array
    last = np.ascontiguousarray(array.transpose(TO_LAST))
    return last if _fits(shape, last.shape) else array


def _fits(shape: Sequence[Any], sizes: Sequence[int]) -> bool:
    return all(not isinstance(length, int) or length == size for length, size in zip(shape, sizes, strict=True))


def channels_first(shape: list[int | None]) -> list[int | None]:
    """Return the shape of a picture as (N, C, H, W); a file whose last axis alone is 1 or 3 long has channels there."""
    if len(shape) == 4 and shape[3] in (1, 3) and shape[1] not in (1, 3):
        return [shape[axis] for axis in TO_FIRST]
    return shape
