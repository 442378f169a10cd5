"""Temporary files and folders that outlive no run for long: each has an owner, and the next run sweeps a dead one's.

The owner holds the lock of a file, and the system releases it when the process ends, however it ends. So a lock that
can be taken says that nobody owns what is there; a process number would not: it is soon another's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_MARK = "parity-"
_LOCK = ".lock"  # beside a folder of the same name without it
_PART = ".part"


@contextlib.contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """Yield a new, empty folder that is removed when the block ends; those of dead owners beside it go first.

    Args:
        parent: Where it is made; by default TMPDIR.

    Raises:
        OSError: If it cannot be made.
    """
    home = Path(tempfile.gettempdir()) if parent is None else parent
    _sweep(home, f"{_MARK}*{_LOCK}")
    handle, lock = _claim(home, _MARK, _LOCK)
    folder = lock.with_suffix("")
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        if folder.exists():
            shutil.rmtree(folder)
        lock.unlink()
        os.close(handle)


@contextlib.contextmanager
def temporary_part(target: Path) -> Iterator[Path]:
    """Yield a new, empty file beside `target`, removed when the block ends if it is still there; dead owners' go first.

    Raises:
        OSError: If it cannot be made.
    """
    _sweep(target.parent, f".*.{_MARK}*{_PART}")
    handle, part = _claim(target.parent, f".{target.name}.{_MARK}", _PART)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)
        os.close(handle)


def _claim(folder: Path, prefix: str, suffix: str) -> tuple[int, Path]:
    """Return a new file that this process holds the lock of as long as the handle is open."""
    while True:
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=folder)
        # Between its making and its lock another run may take it for a dead owner's: then there is nothing to own.
        if _locked(handle) is not False and os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)


def _locked(handle: int) -> bool | None:
    """Return whether the lock of a file could be taken; None where the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _sweep(folder: Path, pattern: str) -> None:
    """Remove what dead owners have left in a folder: files of these names, and the folders that they are locks of."""
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):  # another run was faster, or it is another user's: this one goes on
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if os.fstat(handle).st_uid == os.getuid() and _locked(handle):
                    if path.suffix == _LOCK and path.with_suffix("").exists():
                        shutil.rmtree(path.with_suffix(""))
                    path.unlink()  # last: a sweep that is cut short can be finished
            finally:
                os.close(handle)
