"""Moves: calls that change no number, only its place. No run records their settings: what went in and out tells."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from parity.numerics.arrays import Array
from parity.numerics.fixed_random import projection

_AXES = 6  # of which all orders are tried
_NEAR = 1e-9  # of two rows' sums, relative to the largest
_SHOWN = 8


@dataclass(frozen=True)
class Move:
    """Numbers in other places.

    Attributes:
        words: "channels 6 to 11".
        apply: Does it to an array of the same shape.
    """

    words: str
    apply: Callable[[Array], Array]


def learned(before: Array, after: Array) -> Move | None:
    """Return what makes one array of another: an order of axes, or rows along one axis; None if neither does.

    Args:
        before: Of any shape.
        after: Of any shape.
    """
    if not all(array.dtype.kind == "f" and array.size and np.isfinite(array).all() for array in (before, after)):
        return None
    if before.ndim == after.ndim and before.size == after.size and before.ndim <= _AXES:
        for order in itertools.permutations(range(before.ndim)):
            fits = tuple(before.shape[axis] for axis in order) == after.shape
            if fits and _same(before.transpose(order), after):
                return Move(_of_axes(order), lambda array, order=order: array.transpose(order))
    for axis in sorted(range(before.ndim), key=lambda axis: axis != 1):
        single = before.shape[:axis] + before.shape[axis + 1 :] == after.shape
        whole = np.expand_dims(after, axis) if single else after
        rest = lambda array, axis=axis: array.shape[:axis] + array.shape[axis + 1 :]
        if whole.ndim != before.ndim or rest(whole) != rest(before):
            continue
        index = _index(np.moveaxis(before, axis, 0), np.moveaxis(whole, axis, 0))
        if index is not None and _same(before.take(index, axis), whole):
            place: int | list[int] = index[0] if single else index
            words = f"{_row(axis, before.ndim)} {_of_index(index, before.shape[axis])}"
            return Move(words, lambda array, place=place, axis=axis: array.take(place, axis))
    return None


def _same(one: Array, other: Array) -> bool:
    return bool(np.allclose(one, other, rtol=_NEAR, atol=_NEAR * float(np.abs(other).max())))


def _index(before: Array, after: Array) -> list[int] | None:
    """Return which row of one array each row of another is; where several are alike, the one that continues a step."""
    weights = projection((before[0].size,))
    sums, wanted = (array.reshape(len(array), -1) @ weights for array in (before, after))
    near = _NEAR * float(np.abs(sums).max())
    index = list[int]()
    for number in wanted:
        alike = np.flatnonzero(np.abs(sums - number) <= near)
        if not alike.size:
            return None
        step = index[-1] - index[-2] if len(index) > 1 else 1
        following = index[-1] + step if index else -1
        index.append(following if following in alike else int(alike[0]))
    return index


def _row(axis: int, axes: int) -> str:
    if axis == 1:
        return "channels"
    return {2: "rows", 3: "columns"}.get(axis, f"elements along axis {axis}") if axes == 4 else f"axis {axis}, elements"


def _of_axes(order: Sequence[int]) -> str:
    if order == (0, 2, 3, 1):
        return "channels last (NHWC)"
    return f"axes in the order {', '.join(map(str, order))}"


def _of_index(index: Sequence[int], size: int) -> str:
    """Return which rows are taken, in words: "6 to 11", "shuffled in 2 groups", "2, 0, 1"."""
    steps = {b - a for a, b in itertools.pairwise(index)}
    if len(index) == 1:
        return str(index[0])
    if steps == {1}:
        return f"{index[0]} to {index[-1]}"
    if steps == {-1} and len(index) == size:
        return "in reverse"
    if sorted(index) == [*range(size)]:
        for groups in range(2, math.isqrt(size) + size // 2):
            if size % groups == 0 and list(index) == np.arange(size).reshape(groups, -1).T.ravel().tolist():
                return f"shuffled in {groups} groups"
    if len(steps) == 1:
        return f"{index[0]} to {index[-1]} in steps of {steps.pop()}"
    return ", ".join(map(str, index[:_SHOWN])) + (", ..." if len(index) > _SHOWN else "")
