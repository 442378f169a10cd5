"""safetensors files: their header, their dtypes, a memory-mapped reader, and a writer that streams.

The format: https://github.com/huggingface/safetensors, "Format". The library itself checks a file's header.
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import safetensors

from parity.errors import ParityError
from parity.numerics.arrays import Array, alongside, pieces

Entry = dict[str, Any]  # "dtype": the format's name, "shape": list of lengths, "data_offsets": [first byte, end]

# The format's name for each numpy dtype; its numbers are little-endian.
FORMAT_NAMES = {
    "<f8": "F64", "<f4": "F32", "<f2": "F16", "<i8": "I64", "<i4": "I32", "<i2": "I16", "|i1": "I8",
    "<u8": "U64", "<u4": "U32", "<u2": "U16", "|u1": "U8", "|b1": "BOOL",
}  # fmt: skip
NUMPY_DTYPES = {name: dtype for dtype, name in FORMAT_NAMES.items()}


class Header(NamedTuple):
    """A file's header.

    Attributes:
        start: Offset of the tensors' bytes in the file.
        entries: Dtype, shape and place, relative to `start`, of each tensor by name.
        metadata: Text by key.
    """

    start: int
    entries: dict[str, Entry]
    metadata: dict[str, str]


def read_header(path: str | os.PathLike[str]) -> Header:
    """Return a file's header, which the library has checked against the file.

    Raises:
        ParityError: If the file is missing, unreadable, truncated, or does not match its header.
    """
    try:
        _ = safetensors.safe_open(Path(path), framework="numpy")
        with Path(path).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entries = json.loads(file.read(length))
    except OSError as error:
        raise ParityError(f"{path}: cannot read: {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        message = " ".join(str(error).split())  # it may quote the file's names, with line breaks
        raise ParityError(f"{path}: no safetensors file, or a damaged one: {message}") from error
    metadata = entries.pop("__metadata__", None) or {}
    return Header(8 + length, entries, metadata)


def mapped(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """Return a file's tensors as read-only views of the file, which must not change, and its metadata.

    bfloat16, which numpy lacks, becomes a copy in float32 of the same values.

    Raises:
        ParityError: As `read_header` does, and for a dtype that numpy does not have.
    """
    header = read_header(path)
    with Path(path).open("rb") as file:
        content = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8, offset=header.start)
    tensors = {}
    for name, entry in header.entries.items():
        first, end = entry["data_offsets"]
        if entry["dtype"] == "BF16":  # the upper half of a float32
            flat = (content[first:end].view("<u2").astype("<u4") << 16).view("<f4")
        elif entry["dtype"] in NUMPY_DTYPES:
            flat = content[first:end].view(NUMPY_DTYPES[entry["dtype"]])
        else:
            raise ParityError(f"{path}: holds a dtype that numpy does not have: {entry['dtype']}")
        tensors[name] = flat.reshape(entry["shape"])
    return tensors, header.metadata


class Scratch:
    """Memory for one array at a time, reused: new memory for each array would cost more than reading it."""

    def __init__(self) -> None:
        self._memory = bytearray()

    def read(self, handle: int, start: int, entry: Entry) -> Array:
        """Return a tensor read from an open file whose tensors begin at `start`; it is valid until the next read.

        Raises:
            ParityError: If the file ends too early, or a tensor has a dtype that is never written.
        """
        if entry["dtype"] not in NUMPY_DTYPES:
            raise ParityError(f"a trace holds a tensor of dtype {entry['dtype']}, which none has. Record it anew.")
        kind, shape = np.dtype(NUMPY_DTYPES[entry["dtype"]]), entry["shape"]
        size = math.prod(shape) * kind.itemsize
        if len(self._memory) < size:
            self._memory = bytearray(size)
        view, position = memoryview(self._memory)[:size], start + entry["data_offsets"][0]
        array = np.frombuffer(view, kind).reshape(shape)
        while view:
            count = os.preadv(handle, [view], position)
            if not count:
                raise ParityError("a trace was truncated while it was read. Record it anew.")
            view, position = view[count:], position + count
        return array


class Writer:
    """Writes a file tensor by tensor, so that its content never has to fit into memory.

    The format puts the header first. It is written last, into space reserved at the front and padded with spaces, as
    the format allows; if it needs more space than was reserved, the data is moved back once.

    Use it in a `with` block, which closes the file, and call `finish` at the end of the block.
    """

    def __init__(self, path: str | os.PathLike[str], reserved: int = 1 << 20):
        """Open the file; `reserved` is the length of the header in bytes, from `header_size`, or an estimate."""
        self._reserved = -(-reserved // 8) * 8  # so that the data is aligned
        self._file = Path(path).open("w+b", buffering=0)  # noqa: SIM115  (until `__exit__`)
        _ = self._file.seek(8 + self._reserved)
        self._entries: dict[str, Entry] = {}
        self._end = 0
        self._scratch = Scratch()
        self._pool = ThreadPoolExecutor(1)  # its thread starts with the first work

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()
        self._file.close()

    def add(self, name: str, array: Array, also: Callable[[memoryview], object] | None = None) -> None:
        """Write one array, a piece at a time.

        Args:
            name: Its name in the file; "__metadata__" is reserved by the format.
            array: Of any strides; 0-d ones stay 0-d.
            also: Called with each piece in order by a second thread, a hash for example; all calls have returned at
                the end.

        Raises:
            ParityError: If the format has no name for the array's dtype.
        """
        entry = _entry(name, array, self._end)
        self._end += array.nbytes
        for piece in pieces(array) if also is None else alongside(pieces(array), also, self._pool):
            self._write(piece)
        self._entries[name] = entry

    def read(self, name: str) -> Array:
        """Return an array written before; it is valid until the next one is read."""
        return self._scratch.read(self._file.fileno(), 8 + self._reserved, self._entries[name])

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Write the header."""
        text = _header(self._entries, metadata)
        if len(text) > self._reserved:
            reserved = -(-len(text) // 8) * 8
            self._move_back(reserved - self._reserved)
            self._reserved = reserved
        _ = self._file.seek(0)
        self._write(memoryview(self._reserved.to_bytes(8, "little") + text.ljust(self._reserved)))

    def _write(self, view: memoryview) -> None:
        while view:
            view = view[self._file.write(view) :]

    def _move_back(self, by: int) -> None:
        chunk = 1 << 24
        handle, start = self._file.fileno(), 8 + self._reserved
        for position in range(start + self._end, start, -chunk):
            low = max(start, position - chunk)
            _ = os.pwrite(handle, os.pread(handle, position - low, low), low + by)


def header_size(tensors: Mapping[str, Array], order: Sequence[str], metadata: Mapping[str, str]) -> int:
    """Return a header's length in bytes, given the tensors and the metadata, or text of the same lengths.

    Raises:
        ParityError: If the format has no name for a dtype.
    """
    entries, end = {}, 0
    for name in order:
        entries[name] = _entry(name, tensors[name], end)
        end += tensors[name].nbytes
    return len(_header(entries, metadata))


def _entry(name: str, array: Array, start: int) -> Entry:
    dtype = FORMAT_NAMES.get(array.dtype.str)
    if dtype is None:
        raise ParityError(f"{name}: safetensors has no name for dtype {array.dtype}")
    return {"dtype": dtype, "shape": array.shape, "data_offsets": [start, start + array.nbytes]}


def _header(entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> bytes:
    return json.dumps({"__metadata__": metadata, **entries}, separators=(",", ":")).encode()
