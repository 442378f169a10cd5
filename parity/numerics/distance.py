"""How far one array is from another, at its worst element."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from parity.numerics.arrays import Array

# Elements compared at a time. A megabyte of float64 stays in a core's own cache: 1.7 times as fast as 8 MB, measured on
# an AVX-512 server processor; a tenth of it costs calls.
_CHUNK = 1 << 17

ROUNDOFF32 = 2.0**-24
ROUNDOFF64 = 2.0**-53

# See `scales`. As exponents of numpy.frexp, whose mantissas begin at 1/2: 15 is that of numbers just below 2**15.
HUGE = 2.0**15
_HUGE, _JUMP, _ORDINARY = 15, 10, -10
_LEAST_EXPONENT = -1100  # below that of any float64


@dataclass(frozen=True)
class Distance:
    """How far one array is from another, at its worst element.

    Attributes:
        relative: Largest |actual - expected| over the root mean square of `expected` (of its group, see `scales`); 0
            for equal arrays, infinity where shapes, NaNs, infinities or integers do not coincide, NaN where both have
            NaN in the same place.
        index: Where the worst element is.
        expected: Its value in the array held to be right; None without elements.
        actual: Its value in the other.
        peak: Largest finite |expected| over the same root mean square.
    """

    relative: float
    index: tuple[int, ...] = ()
    expected: float | int | bool | None = None
    actual: float | int | bool | None = None
    peak: float = 1.0


def distance(actual: Array, expected: Array) -> Distance:
    """Return the distance of `actual` from `expected`; for real floating dtypes, computed in float64.

    Equal infinities have the distance 0, and are no scale; NaN against NaN has the distance NaN: it proves nothing.
    Integers and booleans are equal or not: the distance is 0 or infinity.
    """
    if actual.shape != expected.shape:
        return Distance(np.inf)
    if not expected.size:
        return Distance(0.0)
    if expected.dtype.kind != "f":
        return _inequality(actual, expected)
    flat_actual, flat_expected = actual.reshape(-1), expected.reshape(-1)
    largest, worst, highest = _largest_gap(flat_actual, flat_expected)
    tiny = float(np.finfo(actual.dtype).tiny)
    if highest >= HUGE and np.isfinite(largest) and (group_scales := _scales(flat_expected)) is not None:
        group_scales = np.maximum(group_scales, tiny)
        gaps, sizes = _gap(flat_actual, flat_expected) / group_scales, np.abs(flat_expected) / group_scales
        worst = int(gaps.argmax())
        relative, peak = float(gaps[worst]), float(sizes[np.isfinite(sizes)].max())
    else:
        scale = max(root_mean_square(expected), tiny)
        relative, peak = largest / scale, highest / scale
    index = tuple(int(i) for i in np.unravel_index(worst, expected.shape))
    return Distance(relative, index, float(expected[index]), float(actual[index]), peak)


def _largest_gap(actual: Array, expected: Array) -> tuple[float, int, float]:
    """Return the largest gap of two flat arrays, the index of the first such, and the largest finite |expected|."""
    largest, worst = -1.0, 0
    highest = 0.0
    for start in range(0, actual.size, _CHUNK):
        chunk = expected[start : start + _CHUNK]
        gap = _gap(actual[start : start + _CHUNK], chunk)
        i = int(gap.argmax())  # the first NaN, if there is one
        if not gap[i] <= largest and not np.isnan(largest):
            largest, worst = float(gap[i]), start + i
        highest = max(highest, _highest(chunk))
    return largest, worst, highest


def _gap(actual: Array, expected: Array) -> Array:
    """Return |actual - expected|: 0 for equal infinities, infinity for NaN against a number, NaN for NaN and NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.subtract(actual, expected, dtype=np.float64)
        _ = np.abs(gap, out=gap)
    if not np.isfinite(gap[int(gap.argmax())]):
        gap[actual == expected] = 0.0
        gap[np.isnan(actual) != np.isnan(expected)] = np.inf
    return gap


def _highest(array: Array) -> float:
    """Return the largest finite magnitude."""
    highest = max(float(array.max()), -float(array.min()))
    return highest if np.isfinite(highest) else float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


def _inequality(actual: Array, expected: Array) -> Distance:
    """Return the distance of integers or booleans: 0, or infinity at the first that differs."""
    differ = np.asarray(actual != expected)
    index = tuple(int(i) for i in np.unravel_index(int(differ.argmax()), expected.shape))
    return Distance(np.inf if differ.any() else 0.0, index, expected[index].item(), actual[index].item())


def scales(array: Array) -> Array | float:
    """Return the scale of each element's error: the root mean square, of its own group if there are several.

    Where huge elements are far larger than all others, they are one group and the others another: an attention mask of
    -1e9 would hide any difference in the rest. Huge is 2**15 and more, where half precision ends and beyond normalised
    activations, and 2**10 times all smaller elements. The largest of the smaller ones must be 2**-10 or more: otherwise
    they are the rounding errors of the huge ones.
    """
    groups = _scales(array.reshape(-1)) if array.size and _highest(array) >= HUGE else None
    return root_mean_square(array) if groups is None else groups.reshape(array.shape)


def _scales(flat: Array) -> Array | None:
    """Return the scale of each element where huge ones are far larger than others, else None."""
    exponents = np.frexp(np.where(np.isfinite(flat), flat, 0.0))[1]
    # By powers of two, which takes one pass where sorting the elements would take many.
    occupied = np.flatnonzero(np.bincount(exponents[flat != 0] - _LEAST_EXPONENT)) + _LEAST_EXPONENT
    jumps = (occupied[1:] > _HUGE) & (np.diff(occupied) > _JUMP) & (occupied[:-1] > _ORDINARY)
    ends = occupied[:-1][jumps]
    if not ends.size:
        return None
    group = np.where(flat != 0, np.searchsorted(ends, exponents), 0)
    scale = np.ones(flat.shape)
    for number in range(len(ends) + 1):
        members = (group == number) & np.isfinite(flat)
        scale[members] = root_mean_square(flat[members])
    return scale


def root_mean_square(array: Array) -> float:
    """Return the root mean square of the finite elements; the smallest normal float64 where all of them are zero."""
    flat = np.asarray(array, dtype=np.float64).ravel()
    tiny = float(np.finfo(np.float64).tiny)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        mean = float(flat @ flat) / max(flat.size, 1)
    if np.isfinite(mean) and mean > tiny:
        return math.sqrt(mean)
    flat = flat[np.isfinite(flat)]  # their squares overflow or underflow
    scale = float(np.abs(flat).max(initial=0.0))
    return max(scale * float(np.sqrt(np.mean((flat / scale) ** 2))), tiny) if scale else tiny
