"""Files that are whole or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from parity.errors import ParityError


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends well, remove it otherwise.

    A kill at any moment leaves the old file or the new one.

    Raises:
        ParityError: If the folder does not exist or cannot be written, or the disk is full.
    """
    target = Path(path)
    try:
        if target.is_dir():
            raise IsADirectoryError(21, "is a folder")
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    except OSError as error:
        raise ParityError(
            f"{target}: cannot write: {error.strerror}. Name a file in a folder you may write."
        ) from error
    os.close(handle)
    part = Path(name)
    try:
        yield part
        mask = os.umask(0)  # mkstemp makes files that only their owner reads; give them the mode of any other file
        _ = os.umask(mask)
        part.chmod(0o666 & ~mask)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        _ = part.replace(target)
    except OSError as error:
        raise ParityError(f"{target}: cannot write: {error.strerror or error}.") from error
    finally:
        part.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Fail before the work is done, not after it.

    Raises:
        ParityError: If `path` cannot be written.
    """
    folder, why = path.parent, ""
    if not folder.is_dir():
        why = "no such folder"
    elif not os.access(folder, os.W_OK):
        why = "the folder cannot be written"
    elif path.exists() and not path.is_file():  # a device or a pipe would be replaced by a file
        why = "is no file"
    if why:
        raise ParityError(f"{path}: cannot write: {why}. Name a file in a folder you may write.")
