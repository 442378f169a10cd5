"""The output on a terminal: the report on stdout, progress on stderr."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console

from parity.printable import printable

if TYPE_CHECKING:
    from rich.progress import TaskID


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise for `answers`: rich would end the program with 1, which means that two networks differ."""
        raise BrokenPipeError


def stdout() -> Console:
    """Return the console for reports: colour on a terminal unless NO_COLOR is set; tables have their full width.

    A name is shown as it is: ":x:" is no emoji, and the table of emojis is not loaded.
    """
    return _Console(width=1000, emoji=False)


def width() -> int | None:
    """Return the number of columns of the terminal that shows the report; None without a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


class ProgressBars:
    """A bar for each busy backend; nothing where stderr is not a terminal.

    It is a `with` block: the first line appears at once, while frameworks are still being imported.
    """

    def __init__(self, name: str, quiet: bool):
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # not needed for a table

        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._name = printable(name)
        self._tasks: dict[str, TaskID] = {}
        self._waiting: TaskID | None = None

    def __enter__(self) -> ProgressBars:
        self._waiting = self._bars.add_task(f"{self._name}: starting", total=None, count="")
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def update(self, backend: str, step: str, done: int, total: int) -> None:
        """Show the progress of a backend, or of anything else that is busy."""
        if self._waiting is not None:
            self._bars.remove_task(self._waiting)
            self._waiting = None
        if backend not in self._tasks:
            self._tasks[backend] = self._bars.add_task(backend, total=total, count="")
        total = max(total, done)
        description, count = f"{self._name}: {backend} {step}", f"{done}/{total}"
        self._bars.update(self._tasks[backend], description=description, completed=done, total=total, count=count)

    def each(self, names: Sequence[str], costs: Sequence[float]) -> Iterator[str]:
        """Yield the names; meanwhile the bars are of the yielded one: which of how many it is, and the time left.

        Args:
            names: What is worked on, one after the other.
            costs: How long each takes, in any unit, the same for all.
        """
        start, spent, total = time.monotonic(), 0.0, sum(costs)
        for number, (name, cost) in enumerate(zip(names, costs, strict=True), 1):
            left = ""
            if spent > 0.01 * total:  # before, the start of the frameworks is most of it
                seconds = (time.monotonic() - start) / spent * (total - spent)
                left = f", about {duration(seconds)} left"
            self._name = f"{printable(name)} ({number} of {len(names)}{left})"
            for task in self._tasks.values():
                self._bars.remove_task(task)
            self._tasks.clear()
            if self._waiting is not None:
                self._bars.remove_task(self._waiting)
            self._waiting = self._bars.add_task(self._name, total=None, count="")
            yield name
            spent += cost


def duration(seconds: float) -> str:
    """Return a time as a person says it: "40 s", "12 min", "3 h"."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
