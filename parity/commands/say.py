"""Print lines that may hold text from elsewhere: names of layers and files, messages of libraries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from parity.printable import printable

if TYPE_CHECKING:
    from parity.deploy.precision import Report


def say(text: str, err: bool = False) -> None:
    """Print one line, made safe for a terminal."""
    typer.echo(printable(text), err=err)


def say_lines(text: str) -> None:
    """Print the output of a framework on stderr, line by line."""
    for line in text.splitlines():
        say(line.expandtabs(), err=True)


def say_report(path: Path | str, report: Report, min_top1: float | None, quiet: bool = False) -> bool:
    """Print the cost of a file of lower precision and its warnings; return whether enough classes stay the same.

    Args:
        path: The file.
        report: Its cost.
        min_top1: The least share of pictures with the same most likely class, in percent; None for any.
        quiet: Whether to print nothing but what is too low.
    """
    if not quiet:
        say(f"{path}: {report}")
        for warning in report.warnings():
            say(f"{path}: warning: {warning}")
    enough = min_top1 is None or 100 * report.top1 >= min_top1
    if not enough:
        say(f"{path}: same most likely class for {report.top1:.1%}, below --min-top1 {min_top1:g}", err=True)
    return enough
