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

    If the process is killed at any moment, the old file or the new one is there. A symbolic link stays: its target is
    replaced.

    Raises:
        ParityError: If `path` is a folder, a device or a pipe, its folder does not exist or cannot be written, or the
            disk is full.
    """
    target, cleanup = Path(path), contextlib.ExitStack()
    try:
        target = _resolved(target)
        if obstacle := _obstacle(target):
            raise OSError(errno.EINVAL, obstacle)
        part = cleanup.enter_context(temporary_part(target))
    except OSError as error:
        raise ParityError(f"{path}: cannot write: {error.strerror}. Name a file in a folder you may write.") from error
    try:
        yield part
        mask = os.umask(0)  # a temporary file is readable by its owner only: give it the mode of other files
        _ = os.umask(mask)
        part.chmod(0o666 & ~mask)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        _ = part.replace(target)
    except OSError as error:
        raise ParityError(f"{target}: cannot write: {error.strerror or error}.") from error
    finally:
        cleanup.close()


def check_writable(path: Path) -> None:
    """Fail before the work is done, not after it.

    Raises:
        ParityError: If `path` cannot be written.
    """
    try:
        target = _resolved(path)
        reason = _obstacle(target)
    except OSError as error:
        target, reason = path, error.strerror
    if not reason and not target.parent.is_dir():
        reason = "no such folder"
    elif not reason and not os.access(target.parent, os.W_OK):
        reason = "the folder cannot be written"
    if reason:
        raise ParityError(f"{path}: cannot write: {reason}. Name a file in a folder you may write.")


def _resolved(path: Path) -> Path:
    """Return the final target of a symbolic link, through further links; any other path unchanged.

    Raises:
        OSError: If it leads in a circle, or to an open file of a process, as /dev/stdout does: a new file of that name
            would not be the file that the shell has redirected.
    """
    for _ in range(_LINKS):
        if path.parent.is_dir() and Path("/proc") in path.parent.resolve().parents:
            raise OSError(errno.EINVAL, "it is an open stream, not a file")
        if not path.is_symlink():
            return path
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _obstacle(target: Path) -> str:
    """Return why a file cannot replace the target; "" if it can."""
    if target.is_dir():
        return "it is a folder"
    return "it is not a file" if target.exists() and not target.is_file() else ""


def check_folder(folder: Path) -> None:
    """Fail before the work is done if a folder cannot be made or written; make nothing yet.

    Raises:
        ParityError: Naming the path that prevents it.
    """
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ParityError(f"{folder}: cannot make the folder: {existing} is not a folder that can be written")


def make_folder(folder: Path) -> None:
    """Make a folder and its parents.

    Raises:
        ParityError: If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParityError(f"{folder}: cannot make the folder: {error.strerror}") from error
