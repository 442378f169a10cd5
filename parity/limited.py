"""Work that may hang inside a library, deaf to every signal: done in a process of its own, which can be ended.

For what imports no framework; frameworks have their workers.
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
    """Yield what `work` yields, done in a forked process that ends with the block of the caller, or by the kernel.

    Args:
        work: Called there; what it yields must be picklable. It leaves nothing behind but that.
        seconds: For each answer.
        what: What to call the work in messages.

    Raises:
        ParityError: If an answer takes longer, the process dies, or `work` raises it.
        OSError: As `work` does.
    """
    forking = multiprocessing.get_context("fork")
    answers, sending = forking.Pipe(duplex=False)
    child = forking.Process(target=_serve, args=(work, sending, seconds))
    child.start()
    sending.close()  # the child has its own: its death is the end of the answers
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
    """Send what `work` yields, and how it ends."""
    _ = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told too, and ends this process
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        _ = signal.signal(each, signal.SIG_DFL)

    def wind() -> None:  # if the parent is killed, nobody else ends a process that hangs
        _ = signal.setitimer(signal.ITIMER_REAL, seconds + 5)

    wind()
    with contextlib.suppress(BrokenPipeError):  # the parent has gone
        try:
            for value in work():
                sending.send(("value", value))
                wind()
            sending.send(("end", None))
        except (ParityError, OSError) as error:  # any other is ours, and its traceback is shown
            sending.send(("error", error))


def _obituary(code: int) -> str:
    if code >= 0:
        return f"the process that worked on it ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"the process that worked on it was killed by {name}" + (": out of memory?" if name == "SIGKILL" else "")
