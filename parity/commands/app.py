"""The `parity` program: its verbs, and the exit codes they share."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

import typer

from parity.errors import ParityError
from parity.printable import printable
from parity.terminated import terminated_cleanly

app = typer.Typer(
    name="parity",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Prove, layer by layer, that two networks compute the same function. Exit 0: yes; 1: no; 2: could not tell.",
)


@app.callback()
def _verbs() -> None:
    """Keep the verb in the command line, however many verbs there are."""


def run(work: Callable[[], bool]) -> None:
    """Do a verb's work and end the program: 0 for parity, 1 for none, 2 with one line for what a user can mend.

    Nothing else ends with 1, as Python's own errors would: 1 is the answer "not the same function".
    """
    try:
        with terminated_cleanly():
            ok = work()
        _ = sys.stdout.flush()
    except ParityError as error:
        typer.echo(f"parity: {printable(str(error))}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("parity: interrupted", err=True)
        raise typer.Exit(130) from None
    except OSError as error:  # the disk is full, or the reader of our output has seen enough
        _ = os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            typer.echo(f"parity: {printable(str(error))}", err=True)
        raise typer.Exit(2) from None
    except Exception:
        typer.echo("\n".join(map(printable, traceback.format_exc().splitlines())), err=True)
        typer.echo("parity: stopped by a mistake in parity itself, which proves nothing; please report it", err=True)
        raise typer.Exit(2) from None
    raise typer.Exit(0 if ok else 1)


def main(verb: str | None = None) -> None:
    """Run the program; with `verb`, as the door of that verb alone."""
    from parity.commands import (  # noqa: F401  (each registers its verb)
        bench,
        compare,
        design_space,
        export,
        lint,
        pooling,
        precision,
        predict,
        summary,
        transfer,
        zoo,
    )

    app(args=None if verb is None else [verb, *sys.argv[1:]], prog_name="parity")
