"""How far one array is from another, at its worst element."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from parity.numerics.arrays import Array

# Elements compared at a time: few enough to stay in a cache, many enough not to count the calls.
_CHUNK = 1 << 20


ROUNDOFF32 = 2.0**-24


ROUNDOFF64 = 2.0**-53


# See `scales`.
HUGE = 2.0**15


_JUMP = 2.0**10


_ORDINARY = 2.0**-10


@dataclass(frozen=True)
class Distance:
    """How far one array is from another, at its worst element.

    Attributes:
        relative: Largest |actual - expected| over the root mean square of `expected` (of its part, see `scales`); 0 for
            equal arrays, infinity where shapes, NaNs, infinities or integers do not coincide, NaN where both have one
            in the same place.
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
    """Return how far `actual` is from `expected`; of real floating dtypes, in float64.

    An infinity against the same infinity is no distance, and no scale; NaN against NaN is the distance NaN: it proves
    nothing. Integers and booleans are equal or not: the distance is 0 or infinity.
    """
    if actual.shape != expected.shape:
        return Distance(np.inf)
    if not expected.size:
        return Distance(0.0)
    if expected.dtype.kind != "f":
        return _inequality(actual, expected)
    flat, right = actual.reshape(-1), expected.reshape(-1)
    largest, worst, highest = -1.0, 0, 0.0
    for start in range(0, flat.size, _CHUNK):
        part, exact = flat[start : start + _CHUNK], right[start : start + _CHUNK]
        gap = _gap(part, exact)
        here = int(gap.argmax())  # the first NaN, if there is one
        if not gap[here] <= largest and not np.isnan(largest):
            largest, worst = float(gap[here]), start + here
        highest = max(highest, _highest(exact))
    least = float(np.finfo(actual.dtype).tiny)
    if highest >= HUGE and np.isfinite(largest) and (parts := _scales(right)) is not None:
        parts = np.maximum(parts, least)
        relative, sizes = _gap(flat, right) / parts, np.abs(right) / parts
        worst = int(relative.argmax())
        number, peak = float(relative[worst]), float(sizes[np.isfinite(sizes)].max())
    else:
        scale = max(root_mean_square(expected), least)
        number, peak = largest / scale, highest / scale
    index = tuple(int(i) for i in np.unravel_index(worst, expected.shape))
    return Distance(number, index, float(expected[index]), float(actual[index]), peak)


def _gap(part: Array, exact: Array) -> Array:
    """Return |part - exact|: 0 for equal infinities, infinity for NaN against a number, NaN for NaN against NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.subtract(part, exact, dtype=np.float64)
        _ = np.abs(gap, out=gap)
    if not np.isfinite(gap[int(gap.argmax())]):
        gap[part == exact] = 0.0
        gap[np.isnan(part) != np.isnan(exact)] = np.inf
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
    """Return what each element's error is measured by: the root mean square, of its own part if there are two.

    Where huge elements stand far above all others, theirs counts for them, and the others' own for the others: an
    attention mask of -1e9 would hide whatever happens to the rest. Huge is 2**15 and more, where half precision ends
    and beyond what normalised activations reach, and 2**10 times all elements below. Those below must be of ordinary
    size, 2**-10 or more at their largest: else they are what rounding left of the huge ones.
    """
    parts = _scales(array.reshape(-1)) if array.size and _highest(array) >= HUGE else None
    return root_mean_square(array) if parts is None else parts.reshape(array.shape)


def _scales(flat: Array) -> Array | None:
    """Return the scale of each element where huge ones stand far above others, else None."""
    sizes = np.abs(flat)
    ordered = np.unique(sizes[np.isfinite(sizes) & (sizes > 0)])
    jumps = (ordered[1:] >= HUGE) & (ordered[1:] / _JUMP >= ordered[:-1]) & (ordered[:-1] >= _ORDINARY)
    ends = ordered[:-1][jumps]
    if not ends.size:
        return None
    group = np.searchsorted(ends, sizes)  # in which range of sizes each element is
    found = np.ones(flat.shape)
    for number in range(len(ends) + 1):
        inside = (group == number) & np.isfinite(sizes)
        found[inside] = root_mean_square(flat[inside])
    return found


def root_mean_square(array: Array) -> float:
    """Return the root mean square of the finite elements; the smallest normal float64 where all of them are zero."""
    flat = np.asarray(array, dtype=np.float64).ravel()
    tiny = float(np.finfo(np.float64).tiny)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        mean = float(flat @ flat) / max(flat.size, 1)
    if np.isfinite(mean) and mean > tiny:
        return math.sqrt(mean)
    flat = flat[np.isfinite(flat)]  # too large or too small to be squared as they are
    scale = float(np.abs(flat).max(initial=0.0))
    return max(scale * float(np.sqrt(np.mean((flat / scale) ** 2))), tiny) if scale else tiny
