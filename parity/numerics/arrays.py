"""Arrays as streams of bytes: a file of weights never has to fit into memory, and is hashed while it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

PIECE = 1 << 23  # bytes
_BLOCK = (64, 128)  # rows and columns turned at a time: 40 KB of float32 stay in the cache
_BESIDE = 16  # unused elements beside each row of a block
_SMALL = 1 << 18  # bytes that are hashed in less time than a thread needs to start on them


def pieces(array: np.ndarray[Any, Any]) -> Iterator[memoryview]:
    """Yield an array's bytes in C order, about `PIECE` at a time; a thread copies those of a transposed one ahead."""
    if not array.size:
        return
    if array.flags.c_contiguous:
        flat = array.reshape(-1).view(np.uint8).data
        yield from (flat[start : start + PIECE] for start in range(0, len(flat), PIECE))
    elif array.ndim == 1:
        yield from pieces(np.ascontiguousarray(array))
    else:
        yield from _ahead(_contiguous_pieces(array))


def _contiguous_pieces(array: np.ndarray[Any, Any]) -> Iterator[memoryview]:
    rows = max(1, PIECE // (array.nbytes // len(array)))
    for top in range(0, len(array), rows):
        source = array[top : top + rows]
        copy = np.empty(source.shape, source.dtype)
        if source.ndim == 2 and source.strides[0] == source.itemsize:
            _turn(source, copy)
        else:
            copy[...] = source
        yield copy.reshape(-1).view(np.uint8).data


def _turn(source: np.ndarray[Any, Any], copy: np.ndarray[Any, Any]) -> None:
    """Copy a matrix whose columns are contiguous into one whose rows are, block by block.

    numpy's own copy reads with a stride of one row, which misses the cache at every step. A block is copied along its
    columns first, and turned within the cache; its rows are longer than they need be, since a stride of a power of two
    would use a few lines of the cache only.
    """
    tall, wide = _BLOCK
    block = np.empty((wide, tall + _BESIDE), source.dtype)
    for left in range(0, source.shape[1], wide):
        for top in range(0, len(source), tall):
            part = source[top : top + tall, left : left + wide].T
            inside = block[: part.shape[0], : part.shape[1]]
            inside[...] = part
            copy[top : top + tall, left : left + wide] = inside.T


def _ahead(chunks: Iterator[memoryview]) -> Iterator[memoryview]:
    """Yield the same chunks; a thread computes each while the one before it is in use."""
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(next, chunks, None)
        while (chunk := pending.result()) is not None:
            pending = pool.submit(next, chunks, None)
            yield chunk


def alongside(
    chunks: Iterable[memoryview], work: Callable[[memoryview], object], pool: ThreadPoolExecutor
) -> Iterator[memoryview]:
    """Yield the same chunks, while the pool's one thread gives each to `work`, in order; all are done at the end."""
    pending: Future[object] | None = None
    for chunk in chunks:
        if pending is not None:
            _ = pending.result()
        pending = pool.submit(work, chunk) if len(chunk) > _SMALL else None
        if pending is None:
            _ = work(chunk)
        yield chunk
    if pending is not None:
        _ = pending.result()


def same_bits(a: Array, b: Array) -> bool:
    """Return whether two arrays have the same dtype, shape and bytes; NaN equals the same NaN, 0.0 is not -0.0."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return a.tobytes() == b.tobytes()


Array = np.ndarray[Any, np.dtype[Any]]


def without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape without its axes of one element."""
    return tuple(size for size in shape if size != 1)


def same_but_ones(one: Sequence[int], other: Sequence[int]) -> bool:
    """Return whether two shapes differ only by axes of one element: (8, 1, 1) and (8,)."""
    return without_ones(one) == without_ones(other)
