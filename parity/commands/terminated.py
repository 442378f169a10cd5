"""A polite end: what asks the program to stop leaves as little behind as Ctrl-C does."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """One of the signals has come."""


@contextlib.contextmanager
def terminated_cleanly() -> Iterator[None]:
    """Unwind the block at SIGTERM and SIGHUP, as at Ctrl-C, then end the process by that signal, as its parent expects.

    A signal that is ignored, by nohup, or that somebody else handles is left alone. A second one ends at once.
    """

    def unwind(number: int, frame: FrameType | None) -> None:
        _ = signal.signal(number, signal.SIG_DFL)
        raise Terminated(number)

    ours = threading.current_thread() is threading.main_thread()  # no other may set a handler
    taken = [each for each in _SIGNALS if ours and signal.getsignal(each) is signal.SIG_DFL]
    for each in taken:
        _ = signal.signal(each, unwind)
    try:
        yield
    except Terminated as stop:
        os.kill(os.getpid(), stop.args[0])
        raise
    finally:
        for each in taken:
            _ = signal.signal(each, signal.SIG_DFL)
