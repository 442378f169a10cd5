"""`parity summary`: the table of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from parity.analysis.summary import BYTES, LayerRow, Summary, summarise
from parity.commands import options as opt
from parity.commands.app import answers
from parity.commands.outputs import check_outputs
from parity.errors import ParityError
from parity.printable import printable
from parity.reports.columns import Column, fitted

if TYPE_CHECKING:
    from parity.processes.models import Model

_COLUMNS = (
    Column("kind", right=False, spare=2),
    Column("kernel"),
    Column("padding", spare=4),
    Column("stride", spare=5),
    Column("output"),
    Column("parameters"),
    Column("MACs"),
    Column("activations", spare=3),
    Column("MB", spare=1),
    Column("field", spare=6),
)


@answers
def summary(
    model: opt.OneModel,
    input_: Annotated[
        str | None, typer.Option("--input", help="N,C,H,W; by default the published input, or 1,3,224,224.")
    ] = None,
    num_classes: opt.NumClasses = None,
    depth: Annotated[int | None, typer.Option(min=1, help="One row for each path of this many parts.")] = None,
    torch_python: opt.TorchPython = None,
    paddle_python: opt.PaddlePython = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    json: opt.Json = None,
) -> bool:
    """Show a network's layers and their cost: kernels, shapes, parameters, MACs, activations, receptive fields.

    MB is the size of the activations in float32, field the receptive field. A narrow terminal shows fewer columns.
    """
    from parity.commands.terminal import stdout, width
    from parity.processes.models import parse_single
    from parity.processes.pool import Options, Workers, fair_share
    from parity.processes.questions import outline

    check_outputs(json)
    pythons = opt.interpreters(torch=torch_python, paddle=paddle_python)
    options = Options(pythons=pythons, num_classes=num_classes, threads=fair_share())
    chosen = _available(parse_single(model), pythons)
    with Workers(options) as workers:
        result = summarise(model, chosen.backend, outline(chosen, input_, options, workers), depth)
    if json is not None:
        json.write(result.to_json())
    columns = (Column("layer" if depth is None else "stage", right=False), *_COLUMNS)
    rows, total = [*map(_cells, result.rows)], _total(result)
    title = f"{result.model}, input {_by(result.input)}"
    console = stdout()
    if markdown:
        table = _markdown([column.heading for column in columns], [*rows, (title, *total)])
        console.print(table, markup=False, soft_wrap=True)
    else:
        bold = [Text(cell, style="bold") for cell in ("total", *total)]
        console.print(title, highlight=False, markup=False, soft_wrap=True)
        console.print(fitted(columns, [*rows, bold], width()), soft_wrap=True)
    for note in _notes(result):
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    return True


def _available(model: Model, pythons: Mapping[str, str]) -> Model:
    """Return a zoo network in the framework that is here: torch's twin, else Paddle's, which has the same layers.

    Raises:
        ParityError: If neither is installed.
    """
    if not model.twin:
        return model
    here = [name for name in ("torch", "paddle") if name in pythons or find_spec(name) is not None]
    if not here:
        raise ParityError(
            f"{model.target}: a summary runs the network for its shapes, and neither torch nor Paddle is installed: "
            f"pip install torch. Its totals without either: parity list {model.target}"
        )
    return model if model.backend in here else replace(model, backend=here[0])


def _notes(result: Summary) -> list[str]:
    notes = []
    if any(row.receptive_field is None for row in result.rows):
        notes.append("field ?: not known after pooling as a function, or after a layer of an unknown kind")
    if result.uncounted:
        more = f" and {len(result.uncounted) - 8} more" if len(result.uncounted) > 8 else ""
        notes.append(f"MACs of unknown arithmetic, not in the total: {', '.join(result.uncounted[:8])}{more}")
    return notes


def _cells(row: LayerRow) -> tuple[str, ...]:
    dilated = set(row.dilation) - {1}
    return (
        row.layer or "(network)",
        row.kind,
        _by(row.kernel) + (f" dilation {_each(row.dilation)}" if dilated else ""),
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
    return "", "", "", "", _by(result.output), *counts, size, ""


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", "---", *["---:"] * (len(headings) - 2)]
    cells = [[printable(cell).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, rule, *cells))


def _by(numbers: tuple[int, ...]) -> str:
    return "x".join(map(str, numbers))


def _each(numbers: tuple[int, ...]) -> str:
    """Return the numbers of the axes as text, one number where they are equal."""
    return _by(numbers[:1] if len(set(numbers)) == 1 else numbers)
