"""Files that are whole or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from parity.errors import ParityError
from parity.temporary import temporary_part


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends well, remove it otherwise.

    A kill at any moment leaves the old file or the new one.

    Raises:
        ParityError: If the folder does not exist or cannot be written, or the disk is full.
    """
    target, cleaned = Path(path), contextlib.ExitStack()
    try:
        if target.is_dir():
            raise IsADirectoryError(21, "is a folder")
        part = cleaned.enter_context(temporary_part(target))
    except OSError as error:
        raise ParityError(
            f"{target}: cannot write: {error.strerror}. Name a file in a folder you may write."
        ) from error
    try:
        yield part
        mask = os.umask(0)  # it is a file that only its owner reads: give them the mode of any other file
        _ = os.umask(mask)
        part.chmod(0o666 & ~mask)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        _ = part.replace(target)
    except OSError as error:
        raise ParityError(f"{target}: cannot write: {error.strerror or error}.") from error
    finally:
        cleaned.close()


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
