"""A clean end: a signal that stops the program leaves as few files behind as Ctrl-C does."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """One of the signals has arrived."""


@contextlib.contextmanager
def terminated_cleanly() -> Iterator[None]:
    """Unwind the block at SIGTERM and SIGHUP, as at Ctrl-C, then end the process by that signal, as its parent expects.

    A signal that is ignored (nohup) or has another handler is not changed. A second signal ends the process at once.
    """

    def unwind(number: int, frame: FrameType | None) -> None:
        _ = signal.signal(number, signal.SIG_DFL)
        raise Terminated(number)

    in_main_thread = threading.current_thread() is threading.main_thread()  # only it may set a handler
    handled = [each for each in _SIGNALS if in_main_thread and signal.getsignal(each) is signal.SIG_DFL]
    for each in handled:
        _ = signal.signal(each, unwind)
    try:
        yield
    except Terminated as stop:
        os.kill(os.getpid(), stop.args[0])
        raise
    finally:
        for each in handled:
            _ = signal.signal(each, signal.SIG_DFL)
