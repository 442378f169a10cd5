"""Temporary files and folders with an owner process; the next run removes those whose owner is dead.

The owner holds the lock of a file, and the system releases the lock whenever the process ends. So a lock that can be
taken proves that the owner is dead; a process number proves nothing, as another process soon has it.
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
_LOCK = ".lock"  # a file beside the folder of the same name without this suffix
_PART = ".part"


@contextlib.contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """Yield a new, empty folder that is removed when the block ends; remove those of dead owners beside it first.

    Args:
        parent: Its parent folder; by default TMPDIR.

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
    """Yield a new, empty file beside `target`, removed when the block ends if it exists; first remove dead owners'.

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
    """Return a new file, locked by this process as long as the handle is open."""
    while True:
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=folder)
        # Before the lock is taken, another run may have removed the file as a dead owner's: then make a new one.
        if _locked(handle) is not False and os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)


def _locked(handle: int) -> bool | None:
    """Take the lock of a file; return whether it succeeded, None where the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _sweep(folder: Path, pattern: str) -> None:
    """Remove the files of dead owners that match a pattern in a folder, and the folders that they lock."""
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):  # removed by another run, or owned by another user: ignore it
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if os.fstat(handle).st_uid == os.getuid() and _locked(handle):
                    if path.suffix == _LOCK and path.with_suffix("").exists():
                        shutil.rmtree(path.with_suffix(""))
                    path.unlink()  # last, so that an interrupted sweep can be repeated
            finally:
                os.close(handle)
