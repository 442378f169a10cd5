"""Which elements dropout drops in training mode: fixed masks, the same for every network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parity.numerics.arrays import Array
from parity.numerics.fixed_random import uniform

_LOWEST = -1.7580993408473766  # -scale * alpha of SELU: what alpha dropout puts in place of what it drops


def mask(shape: Sequence[int], p: float, axes: Sequence[int] | None = None) -> Array:
    """Return 1.0 where an element stays and 0.0 where it is dropped; 1 element along the axes that are dropped whole.

    A mask depends on the shape of what is masked alone, so two networks drop the same elements whatever they call their
    layers, in whatever order.

    Args:
        shape: Of what is masked.
        p: The share that is dropped.
        axes: Those along which the mask differs; None for all.
    """
    kept = range(len(shape)) if axes is None else {axis % len(shape) for axis in axes}
    masked = tuple(size if axis in kept else 1 for axis, size in enumerate(shape))
    return (uniform(masked) >= p).astype(np.float64)


def factor(mask: Array, p: float, scales: bool = True) -> Array:
    """Return what dropout multiplies by in training.

    Args:
        mask: From `mask`.
        p: The share that is dropped.
        scales: Whether the rest is divided by 1 - p, in place of scaling in evaluation.
    """
    return mask / (1 - p) if scales and p < 1 else mask


def alpha(mask: Array, p: float) -> tuple[Array, Array]:
    """Return what alpha dropout multiplies by and what it adds, in training."""
    scale = ((1 - p) * (1 + p * _LOWEST**2)) ** -0.5 if p < 1 else 0.0
    return mask * scale, (1 - mask) * (_LOWEST * scale) - scale * _LOWEST * p
