"""Print lines that may hold text from elsewhere: names of layers and files, messages of libraries."""

from __future__ import annotations

import typer

from parity.printable import printable


def say(text: str, err: bool = False) -> None:
    """Print one line, made safe for a terminal."""
    typer.echo(printable(text), err=err)


def say_lines(text: str) -> None:
    """Print the output of a framework on stderr, line by line."""
    for line in text.splitlines():
        say(line.expandtabs(), err=True)
