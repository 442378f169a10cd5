"""A Comparison as text: a table, the reasons, and the verdict last, where a terminal shows it."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from parity.functions import is_function
from parity.judging.comparison import VERDICTS, Comparison, Layer, lines, summary
from parity.reports.columns import Column, fitted
from parity.reports.tables import Table

_STYLES = {
    "exact": "green",
    "rounding": "green",
    "precision": "yellow",
    "different": "bold red",
    "invalid": "bold magenta",
}


def show(comparison: Comparison, console: Console, all_layers: bool = False, width: int | None = None) -> None:
    """Print the table, the reasons and the verdict.

    Args:
        comparison: The result to show.
        console: Where to print.
        all_layers: Whether each layer has a row; else each stage.
        width: Columns of the terminal; None where there is no limit.
    """
    console.print(table(comparison, all_layers, width))
    for line in lines(comparison):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    console.print(Text(summary(comparison), style=_STYLES[comparison.verdict]), soft_wrap=True)


def table(comparison: Comparison, all_layers: bool = False, width: int | None = None) -> Table:
    """Return a table of one row a stage, or one a layer, without the least needed columns if `width` is too small."""
    numbers = ("float64", "allowed", *comparison.names, "bound")
    columns = [
        Column("layer" if all_layers else "stage", right=False),
        Column("kind", right=False, spare=1),
        Column("output", spare=2),
        *(Column(heading, spare=3 if heading in (*comparison.names, "bound") else 0) for heading in numbers),
        Column("verdict", right=False),
    ]
    rows = [_cells(name, kind, layers) for name, kind, layers in _rows(comparison, all_layers)]
    return fitted(columns, rows, width)


def _cells(name: str, kind: str, layers: list[Layer]) -> tuple[str | Text, ...]:
    worst = max(layers, key=lambda layer: layer.distance / layer.allowance if layer.allowance else 0.0)
    noisiest = max(layers, key=lambda layer: max(layer.noise) / layer.bound if layer.bound else 0.0)
    verdict = max((layer.verdict for layer in layers), key=VERDICTS.index)
    return (
        name,
        kind,
        "x".join(map(str, layers[-1].shape)),
        f"{worst.distance:.1e}",
        f"{worst.allowance:.0e}",
        *(f"{noise:.0f}u" for noise in noisiest.noise),
        f"{noisiest.bound:.0f}u",
        Text(verdict, style=_STYLES[verdict]),
    )


def _rows(comparison: Comparison, all_layers: bool) -> Iterable[tuple[str, str, list[Layer]]]:
    if all_layers:
        for layer in comparison.layers:
            if layer.leaf or layer.layer == "":
                call = f" (call {layer.call})" if layer.call else ""
                yield (layer.layer or "(network)") + call, layer.kind, [layer]
        return
    stages: dict[str, list[Layer]] = {}
    for layer in comparison.layers:
        stages.setdefault(layer.layer.partition(".")[0] or "(network)", []).append(layer)
    for name, layers in stages.items():
        yield name, layers[-1].kind, layers


def zoo_row(comparison: Comparison) -> tuple[str | Text, ...]:
    """Return a network's row of a sweep: name, verdict, layers, worst float64 distance, float32 noise of both."""
    verdict = Text(comparison.verdict, style=_STYLES[comparison.verdict])
    distance = max((layer.distance for layer in comparison.layers), default=0.0)
    noise = [max((layer.noise[i] for layer in comparison.layers), default=0.0) for i in range(2)]
    leaves = len([layer for layer in comparison.layers if layer.leaf and not is_function(layer.layer)])
    return comparison.network, verdict, str(leaves), f"{distance:.1e}", *(f"{value:.0f}u" for value in noise)
