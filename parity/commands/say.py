"""Lines on a terminal that may quote others: a layer's name, a file's, a library's message."""

from __future__ import annotations

import typer

from parity.printable import printable


def say(text: str, err: bool = False) -> None:
    """Print one line, made safe for a terminal."""
    typer.echo(printable(text), err=err)


def say_lines(text: str) -> None:
    """Print on stderr what a framework has printed, line by line."""
    for line in text.splitlines():
        say(line.expandtabs(), err=True)
