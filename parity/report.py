"""A Comparison for people: a table, and the line that matters last."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from parity.columns import Column, fitted
from parity.comparison import VERDICTS, Comparison, Layer
from parity.judge import SAME_OUTPUT
from parity.printable import printable
from parity.tables import Table

_STYLES = {
    "exact": "green",
    "rounding": "green",
    "precision": "yellow",
    "different": "bold red",
    "invalid": "bold magenta",
}

_PLACES = {
    "inside": "its inputs agree, its output does not",
    "settings": "its settings differ, its output on this input does not",
    "between": "all outputs so far agree, its input does not",
    "forward": "what it calls agrees, its output does not: its own forward code is to blame",
}


def show(comparison: Comparison, console: Console, all_layers: bool = False, width: int | None = None) -> None:
    """Print the table, the notes and the verdict.

    Args:
        comparison: What to show.
        console: Where; as wide as it says, so that no table is cut.
        all_layers: One row a layer, not one a stage.
        width: Columns of the terminal; None where there is no limit.
    """
    console.print(table(comparison, all_layers, width))
    for line in lines(comparison):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    console.print(Text(summary(comparison), style=_STYLES[comparison.verdict]), soft_wrap=True)


def text(comparison: Comparison) -> str:
    """Return the report as plain text, without the table."""
    return "\n".join([*lines(comparison), summary(comparison)])


def table(comparison: Comparison, all_layers: bool = False, width: int | None = None) -> Table:
    """Return one row a stage, or one a layer; what is least needed is left out where `width` is too narrow."""
    numbers = ("float64", "allowed", *comparison.sides, "bound")
    columns = [
        Column("layer" if all_layers else "stage", right=False),
        Column("kind", right=False, spare=1),
        Column("output", spare=2),
        *(Column(heading, spare=3 if heading in (*comparison.sides, "bound") else 0) for heading in numbers),
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
    """Return a network's row of a sweep: name, verdict, layers, worst float64 distance, float32 noise of both sides."""
    verdict = Text(comparison.verdict, style=_STYLES[comparison.verdict])
    distance = max((layer.distance for layer in comparison.layers), default=0.0)
    noise = [max((layer.noise[i] for layer in comparison.layers), default=0.0) for i in range(2)]
    leaves = sum(layer.leaf for layer in comparison.layers)
    return comparison.network, verdict, str(leaves), f"{distance:.1e}", *(f"{value:.0f}u" for value in noise)


def lines(comparison: Comparison) -> list[str]:
    """Return what there is to say before the verdict: culprits, unmatched layers, notes."""
    found = [f"note: {note}" for note in comparison.notes]
    for side, names in comparison.unmatched.items():
        if names:
            more = f" and {len(names) - 8} more" if len(names) > 8 else ""
            found.append(f"only in the {side}: {', '.join(names[:8])}{more}")
    where = comparison.first_divergence
    if where is not None:
        layer = next(layer for layer in comparison.layers if (layer.layer, layer.call) == (where.layer, where.call))
        settings = layer.reason.endswith(SAME_OUTPUT)
        place = _PLACES["settings" if settings else where.where if layer.leaf else "forward"]
        found.append(f"first divergence: {where.where} {where.layer or '(network)'}: {place}")
        found += [f"  {layer.reason}"] if layer.reason else []
    found += [f"culprit: {culprit.layer or '(network)'}: {culprit.explanation}" for culprit in comparison.culprits]
    return list(map(printable, found))


def summary(comparison: Comparison) -> str:
    """Return the line that matters."""
    return printable(_summary(comparison))


def _summary(comparison: Comparison) -> str:
    layers = [layer for layer in comparison.layers if layer.leaf]
    start = f"{comparison.network}: {comparison.verdict}:"
    if comparison.ok:
        worst = max((layer.distance for layer in comparison.layers), default=0.0)
        noise = [max((layer.noise[i] for layer in comparison.layers), default=0.0) for i in range(2)]
        return (
            f"{start} {len(layers)} layers are the same function (worst float64 distance {worst:.1e}); "
            f"float32 noise: {comparison.sides[0]} {noise[0]:.0f}u, {comparison.sides[1]} {noise[1]:.0f}u."
        )
    if comparison.culprits:
        first, *others = comparison.culprits
        more = f" ({len(others)} more)" if others else ""
        return f"{start} {first.layer or 'the network'}: {first.explanation}{more}."
    return f"{start} {'; '.join(comparison.notes) or 'see above'}."
