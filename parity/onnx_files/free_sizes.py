"""Try a second value of each size that a file leaves free: a batch baked into a Reshape shows at no other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.errors import ParityError
from parity.numerics.arrays import Array
from parity.numerics.distance import distance
from parity.onnx_files import runtime

# A step of half a precision and of a grid are smaller, as a distance; another picture's numbers are not.
ALIKE = 0.02
_LARGEST_STEP = 64


@dataclass(frozen=True)
class FreeSize:
    """A free size of a file, and what came of a second value.

    Attributes:
        name: The file's name of it; "batch" or "axis 2 of image" where it has none.
        axes: Number of the input, and axis, of each place where it stands.
        size: The second value.
        is_batch: Whether it is the number of pictures: then each picture must give what it gave.
        error: Why it does not work; "" if it does.
    """

    name: str
    axes: tuple[tuple[int, int], ...]
    size: int
    is_batch: bool
    error: str = ""


def free_sizes(slots: Sequence[Any], fed: Mapping[str, Array]) -> list[FreeSize]:
    """Return the free sizes of a session's inputs, each with a second value that a network should take.

    A batch grows by one. Another size grows by the largest power of two that divides it, up to 64: a network that
    halves its map takes multiples.
    """
    groups = dict[str, list[tuple[int, int]]]()
    for i, slot in enumerate(slots):
        for axis, length in enumerate(slot.shape):
            if not isinstance(length, int):
                unnamed = "batch" if axis == 0 else f"axis {axis} of {slot.name}"
                groups.setdefault(str(length) if length else unnamed, []).append((i, axis))
    arrays, found = list(fed.values()), list[FreeSize]()
    for name, axes in groups.items():
        lengths = {arrays[i].shape[axis] for i, axis in axes}
        if len(lengths) == 1 and (length := lengths.pop()):
            is_batch = all(axis == 0 for _, axis in axes)
            step = 1 if is_batch else min(length & -length, _LARGEST_STEP)
            found.append(FreeSize(name, tuple(axes), length + step, is_batch))
    return found


def grown(array: Array, axis: int, size: int) -> Array:
    """Return an array with its first elements along an axis once more behind it, as far as `size`."""
    index = np.arange(size) % array.shape[axis]
    return np.ascontiguousarray(array.take(index, axis))


def inputs_at(free: FreeSize, arrays: Sequence[Array]) -> list[Array]:
    """Return inputs with the second value of a free size."""
    result = list(arrays)
    for i, axis in free.axes:
        result[i] = grown(result[i], axis, free.size)
    return result


def problem(
    free: FreeSize,
    session: Any,
    fed: Mapping[str, Array],
    outputs: Sequence[Array],
    name: str,
    where: Callable[[], str],
) -> str:
    """Return why the second value of a free size does not work, "" if it does.

    Args:
        free: The size.
        session: The onnxruntime.InferenceSession.
        fed: Its inputs by name.
        outputs: What it made of them.
        name: The file's, for messages.
        where: Returns the node at fault, where the runtime has no error; asked for only then.
    """
    more = dict(zip(fed, inputs_at(free, list(fed.values())), strict=True))
    try:
        made = runtime.run(session, more, name)
    except ParityError as error:
        return str(error).removeprefix(f"{name}: ONNX Runtime cannot run it on this input: ")
    if not free.is_batch or all(map(same_pictures, outputs, made)):
        return ""
    return f"the same pictures give other numbers, or another number of them{where()}"


def same_pictures(before: Array, after: Array) -> bool:
    """Return whether an output of one more picture, the first again, holds what the output before did."""
    if before.ndim == 0 or after.ndim != before.ndim or after.shape != (before.shape[0] + 1, *before.shape[1:]):
        return False
    expected = np.concatenate([before, before[:1]])
    if before.dtype.kind != "f":
        return bool(np.array_equal(expected, after))
    gap = distance(after.astype(np.float64), expected.astype(np.float64)).relative
    return gap <= ALIKE or math.isnan(gap)
