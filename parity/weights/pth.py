"""Read and write torch's .pth files without torch: a zip of one pickle and, stored as they are, the tensors' bytes.

Importing torch takes longer than converting most weight files, and more memory. A file that is not a plain state
dict in torch's zip form (from before torch 1.6, an optimizer's state) is left to torch itself, in its worker.

Source: https://docs.pytorch.org/docs/stable/notes/serialization.html, and what torch 2.14 writes.
"""

from __future__ import annotations

import mmap
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parity.errors import ParityError
from parity.numerics.arrays import Array, pieces
from parity.weights.pickle_machine import Machine, make_mapping

_STORAGES = {
    "f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage", "i8": "LongStorage", "i4": "IntStorage",
    "i2": "ShortStorage", "i1": "CharStorage", "u1": "ByteStorage", "b1": "BoolStorage",
}  # fmt: skip
_ALIGNMENT = 64  # bytes, torch's own: it can use a memory map of the file as its tensors


class _Kind:
    """Stands for a storage class: the dtype of its numbers."""

    def __init__(self, code: str):
        self.dtype = np.dtype(code)


def _tensor(flat: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Array:
    """Return the tensor of torch._utils._rebuild_tensor_v2 as a view of the file; numpy checks that it stays inside."""
    if not isinstance(flat, np.ndarray):
        raise ParityError("a tensor has no storage")
    size = flat.dtype.itemsize
    return np.ndarray(shape, flat.dtype, flat.data, offset * size, tuple(step * size for step in strides))


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): make_mapping,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    **{("torch", name): _Kind(code) for code, name in _STORAGES.items()},
}


class _Machine(Machine):
    """The machine with two more instructions: load a storage, and give a mapping attributes."""

    def __init__(self, size: int, storage: Callable[[str], memoryview]):
        super().__init__(size, _ALLOWED)
        self.storage = storage

    def step(self, name: str, argument: Any) -> None:
        if name == "BINPERSID":
            _, kind, key, _, count = self.stack.pop()
            self.stack.append(np.frombuffer(self.storage(key), kind.dtype, count))
        elif name == "BUILD" and len(self.stack) > 1 and isinstance(self.stack[-2], dict):
            _ = self.stack.pop()  # the versions that torch stores with a state dict
        else:
            super().step(name, argument)


def read_pth(path: Path) -> dict[str, Array]:
    """Return the tensors of a .pth file by name, as read-only views of the file; checksums are left to `check_pth`.

    Raises:
        ParityError: If it is no plain state dict in torch's zip form.
    """
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}

            def stored(name: str) -> memoryview:
                entry = entries[name]
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise ParityError("its entries are compressed")
                lengths = struct.unpack_from("<HH", content, entry.header_offset + 26)
                start = entry.header_offset + 30 + sum(lengths)
                return content[start : start + entry.file_size]

            if "byteorder" in entries and bytes(stored("byteorder")) != b"little":
                raise ParityError("its bytes are in another order than this machine's")
            program = bytes(stored("data.pkl"))
            machine = _Machine(len(program), lambda key: stored(f"data/{key}"))
            loaded = machine.run(program)
    except Exception as error:  # a damaged pickle can raise anything
        raise ParityError(f"{path}: no plain state dict of torch's: {error}") from error
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not all(isinstance(value, np.ndarray) for value in loaded.values()):
        raise ParityError(f"{path}: no state dict: a mapping of names to tensors is what a .pth file should hold.")
    return loaded


def check_pth(path: Path) -> None:
    """Check the checksum of every entry of a .pth file, which torch itself does not.

    Raises:
        ParityError: If one is wrong, or the zip file's headers are damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except Exception as error:  # zipfile raises many kinds of exception for a damaged header
        why = " ".join(str(error).split()) or type(error).__name__
        raise ParityError(f"{path}: damaged: {why}. Get the file again.") from error
    if broken is not None:
        raise ParityError(f"{path}: damaged: wrong checksum of {broken}. Get the file again.")


def write_pth(tensors: Mapping[str, Array], path: Path) -> None:
    """Write arrays as torch.save writes a state dict; torch.load reads it, with weights_only and mmap too.

    Raises:
        ParityError: If torch has no storage for a dtype.
    """
    with zipfile.ZipFile(path, "w") as archive:

        def put(name: str, blocks: Iterable[bytes | memoryview]) -> None:
            entry = zipfile.ZipInfo(f"archive/{name}")
            assert archive.fp is not None
            header = archive.fp.tell() + 30 + len(entry.filename) + 4
            padding = -header % _ALIGNMENT
            entry.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
            with archive.open(entry, "w") as out:
                for block in blocks:
                    _ = out.write(block)

        put("data.pkl", [_program(tensors)])
        put("byteorder", [b"little"])
        for key, array in enumerate(tensors.values()):
            put(f"data/{key}", pieces(array))
        put("version", [b"3\n"])


def _program(tensors: Mapping[str, Array]) -> bytes:
    """Return the pickle of the state dict. Python's pickler would have to import torch to name its classes."""
    mapping = b"ccollections\nOrderedDict\n)R"
    program = [b"\x80\x02", mapping]
    for key, (name, array) in enumerate(tensors.items()):
        storage = _STORAGES.get(array.dtype.str[1:])
        if storage is None:
            raise ParityError(f"{name}: torch has no storage for dtype {array.dtype}")
        strides = tuple(int(np.prod(array.shape[i + 1 :], dtype=np.int64)) for i in range(array.ndim))
        stored = b"(" + _literal("storage") + f"ctorch\n{storage}\n".encode()
        stored += _literal(str(key)) + _literal("cpu") + _literal(array.size) + b"tQ"
        layout = _literal(0) + _literal(array.shape) + _literal(strides) + b"\x89" + mapping  # no gradient, no hooks
        program += [_literal(name), b"ctorch._utils\n_rebuild_tensor_v2\n(", stored, layout, b"tRs"]
    return b"".join([*program, b"."])


def _literal(value: str | int | tuple[int, ...]) -> bytes:
    return pickle.dumps(value, protocol=2)[2:-1]  # without the protocol before and the stop after it
