"""Arrays as streams of bytes: no file of weights is held in memory, and hashing takes no time beside writing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

PIECE = 1 << 23  # bytes
_BLOCK = 256  # rows and columns that are transposed at a time: 256 KB of float32 stay in the cache
_SMALL = 1 << 18  # bytes that are hashed sooner than a thread is asked to


def pieces(array: np.ndarray[Any, Any]) -> Iterator[memoryview]:
    """Yield an array's bytes in C order, `PIECE` or so at a time; a transposed one is turned by a thread, one ahead."""
    if not array.size:
        return
    if array.flags.c_contiguous:
        flat = array.reshape(-1).view(np.uint8).data
        yield from (flat[start : start + PIECE] for start in range(0, len(flat), PIECE))
    elif array.ndim == 1:
        yield from pieces(np.ascontiguousarray(array))
    else:
        yield from _ahead(_turned(array))


def _turned(array: np.ndarray[Any, Any]) -> Iterator[memoryview]:
    rows = max(1, PIECE // (array.nbytes // len(array)))
    for top in range(0, len(array), rows):
        wanted = array[top : top + rows]
        made = np.empty(wanted.shape, wanted.dtype)
        # numpy's own copy walks one side in strides of a row, which misses the cache at every step: five times slower.
        for left in range(0, wanted.shape[1], _BLOCK):
            made[:, left : left + _BLOCK] = wanted[:, left : left + _BLOCK]
        yield made.reshape(-1).view(np.uint8).data


def _ahead(parts: Iterator[memoryview]) -> Iterator[memoryview]:
    """Yield the same parts, each made by a thread while the one before it is in use."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, parts, None)
        while (part := coming.result()) is not None:
            coming = pool.submit(next, parts, None)
            yield part


def alongside(parts: Iterable[memoryview], work: Callable[[memoryview], object]) -> Iterator[memoryview]:
    """Yield the same parts; meanwhile a thread gives each to `work`, in order, and is done with all at the end."""
    with ThreadPoolExecutor(1) as pool:
        pending: Future[object] | None = None
        for part in parts:
            if pending is not None:
                _ = pending.result()
            pending = pool.submit(work, part) if len(part) > _SMALL else None
            if pending is None:
                _ = work(part)
            yield part
        if pending is not None:
            _ = pending.result()


def same_bits(a: Array, b: Array) -> bool:
    """Return whether two arrays have the same dtype, shape and bytes; NaN equals the same NaN, 0.0 is not -0.0."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return a.tobytes() == b.tobytes()


Array = np.ndarray[Any, np.dtype[Any]]
