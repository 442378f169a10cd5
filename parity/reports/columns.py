"""Tables that leave columns out where a terminal is too narrow: a row that is broken in two cannot be read."""

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
        spare: Which are left out first: 1, then 2, ...; those of one number together. 0: never.
    """

    heading: str
    right: bool = True
    spare: int = 0


def fitted(columns: Sequence[Column], rows: Sequence[Sequence[str | Text]], width: int | None) -> Table:
    """Return a table with as many of the columns as `width` has room for; None: all of them.

    Cells are plain text, in which nothing is markup; no cell is cut.
    """
    kept = list(range(len(columns)))
    if width is not None:
        wide = [
            max(cell_len(column.heading), *(cell_len(printable(str(row[i]))) for row in rows), 0)
            for i, column in enumerate(columns)
        ]
        for spare in sorted({column.spare for column in columns} - {0}):
            if sum(wide[i] + _GAP for i in kept) - _GAP <= width:
                break
            kept = [i for i in kept if columns[i].spare != spare]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i in kept:
        table.add_column(columns[i].heading, justify="right" if columns[i].right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in (row[i] for i in kept)))
    return table
