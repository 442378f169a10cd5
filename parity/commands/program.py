"""The `parity` program: its verbs."""

from __future__ import annotations

import os
import sys
from typing import Annotated, ClassVar

import typer

from parity.commands.lazy import Group, Verb


class _Verbs(Group):
    verbs: ClassVar = {
        "compare": Verb("parity.commands.compare:compare", "Compare two networks layer by layer."),
        "lint": Verb("parity.commands.lint:lint", "Warn of known traps in a network, one line each."),
        "summary": Verb("parity.commands.summary:summary", "Show a network's layers and their cost."),
        "pooling": Verb("parity.commands.pooling:pooling", "Show a pooling layer's windows by framework."),
        "list": Verb("parity.commands.zoo:list_", "Show the networks that exist as twins."),
        "weights": Verb("parity.commands.weights:weights", "Show what is in a file of weights."),
        "transfer": Verb("parity.commands.transfer:transfer", "Convert a file of weights, bit for bit."),
        "export": Verb("parity.commands.export:export", "Write a network as ONNX and prove it."),
        "precision": Verb("parity.commands.precision:precision", "Write an ONNX file of lower precision."),
        "predict": Verb("parity.commands.predict:predict", "Show the most likely classes of pictures."),
        "bench": Verb("parity.commands.bench.group:bench", "Measure speed and memory, as ratios in one run."),
        "design-space": Verb("parity.commands.design_space:design_space", "Sample random networks of a design space."),
    }


app = typer.Typer(
    name="parity",
    cls=_Verbs,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Prove, layer by layer, that two networks compute the same function. Exit 0: yes; 1: no; 2: unknown.",
)


def _version(requested: bool) -> None:
    if requested:
        import parity

        typer.echo(f"parity {parity.__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main(verb: str | None = None) -> None:
    """Run the program; with `verb`, only that verb."""
    _check_streams()
    app(args=None if verb is None else [verb, *sys.argv[1:]], prog_name="parity")


def _check_streams() -> None:
    """End the program if stdout is closed: the first file we open would get its number and our prints."""
    for number in (0, 2):
        try:
            _ = os.fstat(number)
        except OSError:  # not used, but no other file may get its number
            _ = os.dup2(os.open(os.devnull, os.O_RDWR), number)
    try:
        _ = os.fstat(1)
    except OSError:
        _ = os.write(
            2, b"parity: stdout is closed, but the report needs it; redirect it to /dev/null if nobody reads it\n"
        )
        raise SystemExit(2) from None
