"""Read and write torch's files without torch: a zip of one pickle and, stored as they are, the tensors' bytes.

Before torch 1.6 it was five pickles in a row, and the tensors' bytes behind them. Importing torch takes longer than
converting most weight files, and more memory; and `torch.load` runs code, or refuses what is beside the weights.

Source: https://docs.pytorch.org/docs/stable/notes/serialization.html, torch/serialization.py (_legacy_save), and what
torch 2.14 writes.
"""

from __future__ import annotations

import functools
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from parity.errors import ParityError
from parity.numerics.arrays import PIECE, Array, alongside, pieces
from parity.weights.pickled import STORAGE_NAMES, Kind, PickleMachine, Storage, mapped_file

_ALIGNMENT = 64  # bytes, torch's own: it can use a memory map of the file as its tensors
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickle of torch's magic number


def load_zip(content: memoryview, archive: zipfile.ZipFile) -> Any:
    """Return what torch.save has stored in a zip file, tensors as leaves; checksums are left to `check_pth`.

    Args:
        content: A memory map of the file.
        archive: The same file, opened.

    Raises:
        ParityError: If it is no file of torch's.
    """
    entries = dict[str, zipfile.ZipInfo]()
    for entry in archive.infolist():
        if entry.external_attr & 0x10:  # torch would read its bytes from memory that nobody has written
            raise ParityError(f"{entry.filename} is marked as a folder")
        entries[entry.filename.partition("/")[2]] = entry

    def stored(name: str) -> memoryview:
        entry = entries[name]
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ParityError("its entries are compressed, as torch never writes them")
        start, end = _extent(entry, content)
        return content[start:end]

    if "byteorder" in entries and bytes(stored("byteorder")) != b"little":
        raise ParityError("its bytes are in another order than this machine's")
    program = bytes(stored("data.pkl"))
    return PickleMachine(len(program), lambda key, kind, count: _storage(stored(f"data/{key}"), kind, count)).run(
        program
    )


def _storage(content: memoryview, kind: Any, count: int) -> Storage:
    if isinstance(kind, Kind) and not 0 <= count * kind.dtype.itemsize <= len(content):
        raise ParityError(f"a storage claims {count} numbers, and holds {len(content)} bytes")
    return Storage(content, kind)


def load_legacy(path: Path) -> Any:
    """Return what torch.save stored before torch 1.6, tensors as leaves.

    The bytes of the tensors lie behind the pickle that describes them, so that it is read twice.

    Raises:
        ParityError: If a storage claims what the file does not hold.
    """
    content = mapped_file(path)
    storages, kinds = dict[str, memoryview](), dict[str, Any]()

    def note(key: str, kind: Any, count: int) -> Storage:
        kinds[key] = kind
        return Storage(memoryview(b""), kind)

    for _ in ("magic number", "version"):
        PickleMachine(len(content)).run(content)
    system, start = PickleMachine(len(content)).run(content), content.tell()
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise ParityError("its bytes are in another order than this machine's")
    PickleMachine(len(content), note).run(content)
    keys = PickleMachine(len(content)).run(content)
    position, whole = content.tell(), memoryview(content)
    for key in keys:
        if not isinstance(kinds[key], Kind):
            raise ParityError("it holds a storage of numbers that numpy does not have")
        (count,) = struct.unpack_from("<q", content, position)
        end = position + 8 + count * kinds[key].dtype.itemsize
        if not position + 8 <= end <= len(content):
            raise ParityError(f"a storage claims {count} numbers, more than the file holds")
        storages[key] = whole[position + 8 : end]
        position = end
    content.seek(start)
    return PickleMachine(len(content), lambda key, kind, count: _storage(storages[key], kind, count)).run(content)


def check_pth(path: Path, content: memoryview | None = None) -> None:
    """Check the checksum of every entry of a .pth file, which torch itself does not.

    Args:
        path: The file.
        content: A memory map of it, if there is one: a second would count as memory again.

    Raises:
        ParityError: If one is wrong, or the zip file's headers are damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            broken = _broken(archive, memoryview(mapped_file(path)) if content is None else content)
    except Exception as error:  # zipfile raises many kinds of exception for a damaged header
        why = " ".join(str(error).split()) or type(error).__name__
        raise ParityError(f"{path}: damaged: {why}. Get the file again.") from error
    if broken is not None:
        raise ParityError(f"{path}: damaged: wrong checksum of {broken}. Get the file again.")


def _broken(archive: zipfile.ZipFile, content: memoryview) -> str | None:
    """Return the name of the first entry that is not whole, as `testzip` does; what is stored is not copied for it."""
    for entry in archive.infolist():
        try:
            with archive.open(entry) as opened:  # which checks its header
                compressed = entry.compress_type != zipfile.ZIP_STORED
                while compressed and opened.read(PIECE):
                    pass
        except zipfile.BadZipFile:
            return entry.filename
        start, end = _extent(entry, content)
        if not compressed and zlib.crc32(content[start:end]) != entry.CRC:
            return entry.filename
    return None


def _extent(entry: zipfile.ZipInfo, content: memoryview) -> tuple[int, int]:
    """Return where a stored entry's data begin and end in the file."""
    start = entry.header_offset + 30 + sum(struct.unpack_from("<HH", content, entry.header_offset + 26))
    return start, start + entry.file_size


def write_pth(tensors: Mapping[str, Array], path: Path) -> None:
    """Write arrays as torch.save writes a state dict; torch.load reads it, with weights_only and mmap too.

    Raises:
        ParityError: If torch has no storage for a dtype.
    """
    with zipfile.ZipFile(path, "w") as archive, ThreadPoolExecutor(1) as pool:
        put = functools.partial(_put, archive, pool)
        put("data.pkl", np.frombuffer(_program(tensors), np.uint8))
        put("byteorder", np.frombuffer(b"little", np.uint8))
        for key, array in enumerate(tensors.values()):
            put(f"data/{key}", array)
        put("version", np.frombuffer(b"3\n", np.uint8))


def _put(archive: zipfile.ZipFile, pool: ThreadPoolExecutor, name: str, array: Array) -> None:
    """Write an entry as zipfile does, but with the checksum computed by the pool's thread, while the disk is busy."""
    file = archive.fp
    assert file is not None
    entry = zipfile.ZipInfo(f"archive/{name}")
    entry.external_attr = 0o600 << 16
    entry.file_size = entry.compress_size = array.nbytes
    entry.header_offset = file.tell()
    padding = -(entry.header_offset + 30 + len(entry.filename) + 4) % _ALIGNMENT
    entry.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding

    def checksum(block: memoryview) -> None:
        entry.CRC = zlib.crc32(block, entry.CRC)

    entry.CRC = 0
    _ = file.write(entry.FileHeader())
    for block in alongside(pieces(array), checksum, pool):
        _ = file.write(block)
    archive.start_dir = file.tell()
    _ = file.seek(entry.header_offset)
    _ = file.write(entry.FileHeader())
    _ = file.seek(archive.start_dir)
    archive.filelist.append(entry)


def _program(tensors: Mapping[str, Array]) -> bytes:
    """Return the pickle of the state dict. Python's pickler would have to import torch to name its classes."""
    mapping = b"ccollections\nOrderedDict\n)R"
    program = [b"\x80\x02", mapping]
    for key, (name, array) in enumerate(tensors.items()):
        storage = STORAGE_NAMES.get(array.dtype.name)
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
