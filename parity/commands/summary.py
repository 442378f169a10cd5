"""`parity summary`: the table of a network."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from parity.commands.app import app, run
from parity.printable import printable
from parity.summary import BYTES, Row, Summary, summarise
from parity.tables import Table


@app.command()
def summary(
    model: Annotated[
        str, typer.Argument(help="A zoo name (torch's twin), or torch:..., paddle:... as `parity compare` takes them.")
    ],
    input_: Annotated[
        str | None, typer.Option("--input", help="N,C,H,W; by default the published input, or 1,3,224,224.")
    ] = None,
    num_classes: Annotated[int | None, typer.Option(min=1, help="Of a zoo network.")] = None,
    depth: Annotated[int | None, typer.Option(min=1, help="A row for each path of so many parts, not a layer.")] = None,
    torch_python: Annotated[str | None, typer.Option(help="Interpreter that has torch; this one by default.")] = None,
    paddle_python: Annotated[str | None, typer.Option(help="Interpreter that has Paddle; this one by default.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the summary to this file.")] = None,
) -> None:
    """Show a network's layers: kernels, shapes, parameters, MACs, activations, receptive fields."""

    def work() -> bool:
        from parity import run as job
        from parity.atomic import atomic
        from parity.commands.terminal import stdout

        if json is not None:
            job.check_writable(json)
        pythons = {side: python for side, python in (("torch", torch_python), ("paddle", paddle_python)) if python}
        options = job.Options(pythons=pythons, num_classes=num_classes, threads=job.fair_share())
        chosen = job.parse_single(model)
        with job.Workers(options) as workers:
            result = summarise(model, chosen.side, job.outline(chosen, input_, options, workers), depth)
        if json is not None:
            with atomic(json) as part:
                _ = part.write_text(jsonlib.dumps(result.to_json(), indent=1) + "\n")
        headings, rows = _headings("layer" if depth is None else "stage"), [*map(_cells, result.rows), _total(result)]
        console = stdout()
        console.print(_markdown(headings, rows) if markdown else _table(headings, rows), markup=False, soft_wrap=True)
        if result.uncounted:
            more = f" and {len(result.uncounted) - 8} more" if len(result.uncounted) > 8 else ""
            console.print(
                printable(
                    f"note: MACs of unknown arithmetic, not in the total: {', '.join(result.uncounted[:8])}{more}"
                ),
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
        return True

    run(work)


def _headings(first: str) -> tuple[str, ...]:
    numbers = ("parameters", "MACs", "activations", "MB float32", "receptive field")
    return (first, "kind", "kernel", "padding", "stride", "output", *numbers)


def _cells(row: Row) -> tuple[str, ...]:
    spread = set(row.dilation) - {1}
    return (
        row.layer or "(network)",
        row.kind,
        _by(row.kernel) + (f" dilation {_each(row.dilation)}" if spread else ""),
        row.padding if isinstance(row.padding, str) else _each(row.padding),
        _each(row.stride),
        _by(row.output) or "not called",
        f"{row.parameters:,}",
        "?" if row.macs is None else f"{row.macs:,}",
        f"{row.activations:,}",
        f"{BYTES * row.activations / 1e6:.2f}",
        "?" if row.receptive_field is None else _each(row.receptive_field),
    )


def _total(result: Summary) -> tuple[str, ...]:
    counts = (f"{result.parameters:,}", f"{result.macs:,}", f"{result.activations:,}")
    size = f"{BYTES * result.activations / 1e6:.2f}"
    return f"{result.model}, input {_by(result.input)}", "", "", "", "", _by(result.output), *counts, size, ""


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="left" if i < 2 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row, style="bold" if row is rows[-1] else None)
    return table


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", "---", *["---:"] * (len(headings) - 2)]
    cells = [[printable(cell).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, rule, *cells))


def _by(numbers: tuple[int, ...]) -> str:
    return "x".join(map(str, numbers))


def _each(numbers: tuple[int, ...]) -> str:
    """Return a number for each axis, once where they are the same."""
    return _by(numbers[:1] if len(set(numbers)) == 1 else numbers)
