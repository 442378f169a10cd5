"""Read and write Paddle's .pdparams files, and other plain pickles, without executing them."""

from __future__ import annotations

import mmap
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parity.numerics.arrays import Array, pieces
from parity.weights.pickled import Joined, PickleMachine, mapped_file

_NAMES, _SLICES = "StructuredToParameterName@@", "UnpackBigParamInfor@@"


class _Mapped:
    """A memory map, as a file for pickletools: it reads long data as a view of the map, not as a copy."""

    def __init__(self, content: mmap.mmap):
        self.content = content
        self.tell, self.readline = content.tell, content.readline

    def read(self, count: int) -> bytes | memoryview:
        if count <= mmap.PAGESIZE:
            return self.content.read(count)
        start = self.tell()
        self.content.seek(min(start + count, len(self.content)))
        return memoryview(self.content)[start : start + count]


def load_pickle(path: Path) -> tuple[Any, bool]:
    """Return what a pickle holds, arrays as leaves that are views of the file, and whether Paddle wrote it.

    Raises:
        ParityError: If it names what weights do not need, or claims what the file does not hold.
    """
    content = mapped_file(path)
    loaded = PickleMachine(len(content)).run(_Mapped(content))
    if not isinstance(loaded, dict):
        return loaded, False
    named, sliced = loaded.pop(_NAMES, None) is not None, loaded.pop(_SLICES, None) or {}
    for name, told in sliced.items():
        parts = [loaded.pop(part) for part in told["slices"]]
        loaded[name] = Joined(parts, told["OriginShape"])
    return loaded, named or bool(sliced) or any(isinstance(value, tuple) for value in loaded.values())


def write_pdparams(tensors: Mapping[str, Array], path: Path) -> None:
    """Write arrays as paddle.save writes a state dict; paddle.load reads it, under any version of numpy.

    They are written piece by piece: Python's own pickler would copy each, and hold all copies to the end.
    """
    with path.open("wb") as file:
        _ = file.write(b"\x80\x04}")
        for name, array in tensors.items():
            # name, (name, _reconstruct(ndarray, (0,), b"b") with the state (1, shape, dtype, C order, bytes))
            array_object = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + _literal((0,)) + b"C\x01b\x87R"
            state = b"(K\x01" + _literal(array.shape) + _literal(array.dtype) + b"\x89"
            _ = file.write(_literal(name) * 2 + array_object + state + b"\x8e" + array.nbytes.to_bytes(8, "little"))
            for piece in pieces(array):
                _ = file.write(piece)
            _ = file.write(b"tb\x86s")
        _ = file.write(b".")


def _literal(value: Any) -> bytes:
    return pickle.dumps(value, protocol=2)[2:-1]  # without the protocol before and the stop after it
