"""`parity design-space`: random networks of one of the RegNet paper's design spaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from parity.atomic import atomic
from parity.commands import options as opt
from parity.commands.app import answers
from parity.commands.outputs import check_outputs
from parity.errors import ParityError
from parity.extras import install
from parity.reports.tables import Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from parity.analysis.design_population import Population

Space = Literal["A", "B", "C", "D", "E"]


@answers
def design_space(
    samples: Annotated[int, typer.Option(min=1, help="Number of networks.")] = 500,
    stage: Annotated[Space, typer.Option(help="AnyNetX A (free) to E (the most restricted).")] = "E",
    seed: opt.Seed = 0,
    plot: opt.Plot = None,
    edf: Annotated[
        list[Path] | None,
        typer.Option(help="CSV with a column `error` of trained networks, for their distribution; may be repeated."),
    ] = None,
    json: opt.Json = None,
) -> bool:
    """Sample random networks of a design space; show their depths, widths, MACs and the fit of a quantised line."""
    from parity.analysis import design_space as space
    from parity.analysis.design_population import describe
    from parity.commands.terminal import stdout
    from parity.reports import design_space_figure as figure

    check_outputs(plot, json)
    if plot is not None and plot.suffix.lower() != ".png":
        raise ParityError(f"--plot {plot}: this writes a PNG; name a file that ends in .png")
    if plot is not None and find_spec("matplotlib") is None:
        raise ParityError(f"--plot needs matplotlib: {install('plot')}")
    curves = {str(path): _errors(path) for path in edf or []}
    population = describe(space.sample(stage, samples, seed))
    if plot is not None:
        title = f"AnyNetX {stage}: {samples} networks, seed {seed}"
        with atomic(plot) as part:
            figure.plot_population(population, part, title, curves)
    if json is not None:
        json.write(_json(stage, seed, population, curves))
    _show(stdout(), stage, population, curves)
    return True


def _errors(path: Path) -> NDArray[np.float64]:
    from parity.analysis.design_population import read_errors

    try:
        return read_errors(path)
    except OSError as error:
        raise ParityError(f"--edf {path}: cannot read: {error.strerror}") from error
    except ValueError as error:
        raise ParityError(f"--edf {error}") from error


def _show(console: Console, stage: str, population: Population, curves: Mapping[str, NDArray[np.float64]]) -> None:
    from parity.analysis.design_population import summary
    from parity.analysis.design_space import RESTRICTIONS

    console.print(f"AnyNetX {stage}, {len(population.designs)} networks: {RESTRICTIONS[stage]}\n", highlight=False)
    measures = summary(population)
    console.print(
        _table(("", *next(iter(measures.values()))), [(name, *row.values()) for name, row in measures.items()])
    )

    console.print("\nThe nearest quantised line, w0 + wa x block rounded to w0 x wm^k:\n", highlight=False)
    ranked = sorted(population.fits, key=lambda fit: fit.error)
    chosen = (("best", ranked[0]), ("median", ranked[len(ranked) // 2]), ("worst", ranked[-1]))
    rows = [(name, fit.error, fit.w0, fit.wa, fit.wm) for name, fit in chosen]
    console.print(_table(("fit", "e_fit", "w0", "wa", "wm"), rows))

    if curves:
        rows = [(name, errors.size, errors.min(), errors.mean(), errors.max()) for name, errors in curves.items()]
        console.print()
        console.print(_table(("errors", "networks", "min", "mean", "max"), rows))


def _table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if i else "left", no_wrap=True)
    for name, *values in rows:
        table.add_row(name, *(f"{value:.4g}" for value in values))
    return table


def _json(stage: str, seed: int, population: Population, curves: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    from parity.analysis.design_population import summary

    measured = zip(
        population.designs, population.macs.tolist(), population.parameters.tolist(), population.fits, strict=True
    )
    return {
        "schema": 1,
        "space": stage,
        "seed": seed,
        "summary": summary(population),
        "networks": [
            {**asdict(design), "macs": macs, "parameters": parameters, "fit": asdict(fit)}
            for design, macs, parameters, fit in measured
        ],
        "errors": {name: sorted(errors.tolist()) for name, errors in curves.items()},
    }
