"""The exit codes of every verb of the `parity` program."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
import traceback
from collections.abc import Callable
from typing import ParamSpec

import typer

from parity.commands.outputs import JsonFile
from parity.commands.say import say
from parity.commands.terminated import terminated_cleanly
from parity.errors import ParityError
from parity.printable import printable

_Options = ParamSpec("_Options")


def answers(verb: Callable[_Options, bool]) -> Callable[_Options, None]:
    """Turn a function that returns whether there is parity into a verb, which ends the program with an exit code.

    0 for parity, 1 for none, 2 with one line for an error that the user can fix. No error ends with 1, as Python's own
    would: 1 is the answer "not the same function". With `--json -`, the JSON replaces the report.
    """

    @functools.wraps(verb)
    def with_exit_code(*args: _Options.args, **options: _Options.kwargs) -> None:
        json = options.get("json")
        only_json = isinstance(json, JsonFile) and json.stream is not None

        def work() -> bool:
            with contextlib.redirect_stdout(io.StringIO()) if only_json else contextlib.nullcontext():
                return verb(*args, **options)

        raise typer.Exit(_exit_code(work))

    return with_exit_code


def _say(error: Exception) -> None:
    """Print an error on stderr: its indented lines stay lines; any other line end is part of a name, and is escaped."""
    for line in f"parity: {error}".split("\n  "):
        say(line if line.startswith("parity: ") else f"  {line}", err=True)


def _exit_code(work: Callable[[], bool]) -> int:
    try:
        with terminated_cleanly():
            ok = work()
        _ = sys.stdout.flush()
    except ParityError as error:
        _say(error)
        return 2
    except KeyboardInterrupt:
        typer.echo("parity: interrupted", err=True)
        return 130
    except OSError as error:  # the disk is full, or the reader of our output has ended
        _ = os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            _say(error)
        return 2
    except Exception:
        typer.echo("\n".join(map(printable, traceback.format_exc().splitlines())), err=True)
        typer.echo("parity: stopped by a bug in parity itself, which proves nothing; please report it", err=True)
        return 2
    return 0 if ok else 1
