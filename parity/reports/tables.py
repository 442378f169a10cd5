"""Tables whose cells are plain text: without markup, and without control characters for the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table as RichTable
from rich.text import Text

from parity.printable import printable


class Table(RichTable):
    """A rich table of strings, and of Texts of one style."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a row of `str` and `Text` cells; options are rich's."""
        plain = [
            Text(printable(cell.plain), style=cell.style) if isinstance(cell, Text) else Text(printable(cell))
            for cell in cells
        ]
        super().add_row(*plain, **options)
