"""Tables that omit columns where a terminal is too narrow: a row broken into two lines is hard to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from parity.printable import printable
from parity.reports.tables import Table

_GAP = 2  # between two columns


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: Its name.
        right: Whether it is aligned to the right, as numbers are.
        spare: The order of omission: columns of 1 first, then those of 2, ...; 0: never.
    """

    heading: str
    right: bool = True
    spare: int = 0


def fitted(columns: Sequence[Column], rows: Sequence[Sequence[str | Text]], width: int | None) -> Table:
    """Return a table with as many of the columns as fit into `width`; None: all of them.

    Cells are plain text without markup; none is truncated.
    """
    shown = list(range(len(columns)))
    if width is not None:
        widths = [
            max(cell_len(column.heading), *(cell_len(printable(str(row[i]))) for row in rows), 0)
            for i, column in enumerate(columns)
        ]
        for spare in sorted({column.spare for column in columns} - {0}):
            if sum(widths[i] + _GAP for i in shown) - _GAP <= width:
                break
            shown = [i for i in shown if columns[i].spare != spare]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i in shown:
        table.add_column(columns[i].heading, justify="right" if columns[i].right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in (row[i] for i in shown)))
    return table
