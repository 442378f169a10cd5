"""Recognise a layer's weights in another place: in a file, scaled, or in lower precision."""

from __future__ import annotations

import math

import numpy as np

from parity.numerics.arrays import Array

_CHANNELS = 16


def peaks(weight: Array, axis: int = 0) -> tuple[int, ...]:
    """Return output channels, elements of each, and the position of the largest element in each of the first 16.

    A position stays where it is if a BatchNorm is folded in, which scales channels, and mostly in 8 bits too. Empty
    where the numbers show nothing: no channel has two elements.

    Args:
        weight: Of a convolution or linear layer, floating.
        axis: That of the output channels; a transposed convolution has them second.

    Example:
        >>> peaks(np.array([[1.0, -3.0, 2.0], [4.0, 0.0, 1.0]]))
        (2, 3, 1, 0)
    """
    if weight.ndim < 2 or not weight.size or weight.size == weight.shape[axis]:
        return ()
    channels = np.moveaxis(weight, axis, 0)
    some = np.abs(channels[:_CHANNELS].reshape(min(_CHANNELS, len(channels)), -1))
    return len(channels), math.prod(channels.shape[1:]), *map(int, some.argmax(axis=1))


def likeness(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Return the fraction of positions that two kernels share, 0 to 1; 0 where the shapes differ."""
    if one[:2] != other[:2] or len(one) < 3:
        return 0.0
    shared = [a == b for a, b in zip(one[2:], other[2:], strict=True)]
    return shared.count(True) / len(shared)
