"""Files that are whole or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from parity.errors import ParityError
from parity.temporary import temporary_part

_LINKS = 40  # as many as Linux follows


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends well, remove it otherwise.

    A kill at any moment leaves the old file or the new one. A symbolic link stays: what it points to is replaced.

    Raises:
        ParityError: If `path` is a folder, a device or a pipe, its folder does not exist or cannot be written, or the
            disk is full.
    """
    target, cleaned = Path(path), contextlib.ExitStack()
    try:
        target = _followed(target)
        if why := _in_the_way(target):
            raise OSError(errno.EINVAL, why)
        part = cleaned.enter_context(temporary_part(target))
    except OSError as error:
        raise ParityError(f"{path}: cannot write: {error.strerror}. Name a file in a folder you may write.") from error
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
    try:
        target = _followed(path)
        why = _in_the_way(target)
    except OSError as error:
        target, why = path, error.strerror
    if not why and not target.parent.is_dir():
        why = "no such folder"
    elif not why and not os.access(target.parent, os.W_OK):
        why = "the folder cannot be written"
    if why:
        raise ParityError(f"{path}: cannot write: {why}. Name a file in a folder you may write.")


def _followed(path: Path) -> Path:
    """Return where a symbolic link leads, through further links; any other path as it is.

    Raises:
        OSError: If it leads round in a circle, or to an open file of a process, as /dev/stdout does: a new file under
            its name would not be what the shell has redirected.
    """
    for _ in range(_LINKS):
        if path.parent.is_dir() and Path("/proc") in path.parent.resolve().parents:
            raise OSError(errno.EINVAL, "is an open stream, no file")
        if not path.is_symlink():
            return path
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _in_the_way(target: Path) -> str:
    """Return why a file cannot take the place of what is there; "" if it can."""
    if target.is_dir():
        return "is no file but a folder"
    return "is no file" if target.exists() and not target.is_file() else ""


def check_folder(folder: Path) -> None:
    """Fail before the work is done if a folder cannot be made or written; make nothing yet.

    Raises:
        ParityError: Naming what is in the way.
    """
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ParityError(f"{folder}: cannot make the folder: {there} is no folder that can be written")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        ParityError: If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParityError(f"{folder}: cannot make the folder: {error.strerror}") from error
