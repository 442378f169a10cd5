"""The files that a verb writes besides its report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from parity.atomic import check_writable
from parity.json_file import to_text, write_text


class JsonFile:
    """The target of `--json`: a file, or with `-` standard output, which then has only the JSON.

    Attributes:
        path: The path as the user wrote it.
        stream: Standard output at the time the command line was read; None for a file.
    """

    def __init__(self, name: str):
        self.path = Path(name)
        self.stream = sys.stdout if name == "-" else None

    def check(self) -> None:
        """Fail before the work is done if it cannot be written.

        Raises:
            ParityError: If it is a folder, a device or a pipe, or its folder cannot be written.
        """
        if self.stream is None:
            check_writable(self.path)

    def write(self, data: Any) -> None:
        """Write data as JSON; a file is complete or not written.

        Raises:
            ParityError: If the file cannot be written.
        """
        self.write_text(to_text(data))

    def write_text(self, text: str) -> None:
        """Write text that is JSON already."""
        if self.stream is None:
            write_text(self.path, text)
        else:
            _ = self.stream.write(f"{text}\n")


def check_outputs(*outputs: JsonFile | Path | None) -> None:
    """Fail before the work is done if one of the requested files cannot be written.

    Raises:
        ParityError: Naming the first one.
    """
    for output in outputs:
        if isinstance(output, JsonFile):
            output.check()
        elif output is not None:
            check_writable(output)
