"""The output on a terminal: the report on stdout, progress on stderr."""

from __future__ import annotations

import shutil
import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from parity.printable import printable


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise for `answers`: rich would end the program with 1, which means that two networks differ."""
        raise BrokenPipeError


def stdout() -> Console:
    """Return the console for reports: colour on a terminal unless NO_COLOR is set; tables have their full width."""
    return _Console(width=1000)


def width() -> int | None:
    """Return the number of columns of the terminal that shows the report; None without a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


class ProgressBars:
    """A bar for each busy backend; nothing where stderr is not a terminal."""

    def __init__(self, name: str, quiet: bool):
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._name = printable(name)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> ProgressBars:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def update(self, backend: str, precision: str, done: int, total: int) -> None:
        """Show the progress of a backend."""
        if backend not in self._tasks:
            self._tasks[backend] = self._bars.add_task(backend, total=total)
        description = f"{self._name}: {backend} {precision}"
        self._bars.update(self._tasks[backend], description=description, completed=done, total=max(total, done))
