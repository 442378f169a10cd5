"""Run work that may hang in a library and ignore signals: in its own process, which can be killed.

For work without a framework; frameworks have their workers.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from parity.errors import ParityError

T = TypeVar("T")


def limited(work: Callable[[], Iterable[T]], seconds: float, what: str) -> Iterator[T]:
    """Yield the values of `work`, run in a forked process that ends with the caller's block.

    Args:
        work: Called in that process; its values must be picklable, and it has no other effect.
        seconds: Limit for each value.
        what: Name of the work in messages.

    Raises:
        ParityError: If a value takes longer, the process dies, or `work` raises it.
        OSError: If `work` raises it.
    """
    forking = multiprocessing.get_context("fork")
    answers, sending = forking.Pipe(duplex=False)
    child = forking.Process(target=_serve, args=(work, sending, seconds))
    child.start()
    sending.close()  # the child has its own copy: the answers end when it dies
    try:
        while True:
            if not answers.poll(seconds):
                raise ParityError(f"{what}: no answer within {seconds:g} s. Allow more with --timeout.")
            try:
                kind, value = answers.recv()
            except EOFError as error:
                child.join()
                raise ParityError(f"{what}: {_obituary(child.exitcode or 0)}") from error
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        child.kill()
        child.join()
        answers.close()


def _serve(work: Callable[[], Iterable[Any]], sending: Connection, seconds: float) -> None:
    """Send the values of `work`, and how it ends."""
    _ = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent receives it too, and ends this process
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        _ = signal.signal(each, signal.SIG_DFL)

    def restart_alarm() -> None:  # if the parent is killed, only the alarm ends a process that hangs
        _ = signal.setitimer(signal.ITIMER_REAL, seconds + 5)

    restart_alarm()
    with contextlib.suppress(BrokenPipeError):  # the parent has ended
        try:
            for value in work():
                sending.send(("value", value))
                restart_alarm()
            sending.send(("end", None))
        except (ParityError, OSError) as error:  # any other is a mistake of ours; its traceback is printed
            sending.send(("error", error))


def _obituary(code: int) -> str:
    if code >= 0:
        return f"the process that worked on it ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"the process that worked on it was killed by {name}" + (": out of memory?" if name == "SIGKILL" else "")
