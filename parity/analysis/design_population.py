"""Populations of a design space: networks fitted by a quantised line, their summary, and errors of trained ones.

Source: Radosavovic et al., Designing Network Design Spaces, https://arxiv.org/abs/2003.13678 (section 3).
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from parity.analysis.design_space import Design, cost, log_lines, quantised_widths


@dataclass(frozen=True)
class LinearFit:
    """The quantised line nearest to a network's block widths.

    Attributes:
        w0: Width of the first block in channels, a multiple of 8.
        wa: Slope in channels for each block.
        wm: Ratio between the widths of successive stages.
        error: The paper's e_fit: mean of |log(fitted width / width)| over the blocks; 0 is a perfect fit.
    """

    w0: int
    wa: float
    wm: float
    error: float


@dataclass(frozen=True)
class Population:
    """Networks and their measures, one row for each network.

    Attributes:
        designs: The networks.
        depths: Blocks, networks x stages.
        widths: Channels, networks x stages.
        macs: Multiplications for one image.
        parameters: Trained parameters.
        fits: The line nearest to each.
    """

    designs: tuple[Design, ...]
    depths: NDArray[np.int64]
    widths: NDArray[np.int64]
    macs: NDArray[np.int64]
    parameters: NDArray[np.int64]
    fits: tuple[LinearFit, ...]


_WM = np.geomspace(1.1, 6.0, 25)


_WA = np.concatenate([[0.0], np.geomspace(0.5, 512.0, 41)])


_W0 = np.unique(np.round(np.geomspace(8, 1024, 48) / 8) * 8)


@lru_cache(maxsize=1)
def _grid(depth: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return all (w0, wa, wm) of the first search, as rows, and the logarithms of their widths: rows x depth."""
    rows = np.stack(np.meshgrid(_W0, _WA, _WM, indexing="ij"), axis=-1).reshape(-1, 3)
    return rows, log_lines(rows, depth).astype(np.float32)


def _near(start: NDArray[np.float64], spread: float) -> NDArray[np.float64]:
    """Return rows of (w0, wa, wm) around a start and the start itself, up to `spread` steps of the first grid away."""
    w0, wa, wm = start
    steps = np.linspace(-spread, spread, 15)
    near_w0 = np.maximum(w0 + np.arange(-16, 17, 8), 8)
    near_wa = np.append(max(wa, 0.5) * (_WA[2] / _WA[1]) ** steps, wa)
    near_wm = np.maximum(wm * (_WM[1] / _WM[0]) ** steps, 1.01)
    return np.stack(np.meshgrid(near_w0, near_wa, near_wm, indexing="ij"), axis=-1).reshape(-1, 3)


def linear_fit(design: Design) -> LinearFit:
    """Return the quantised line nearest to a network's block widths, by grid search and finer searches around the best.

    The search covers w0 from 8 to 1024, wa from 0 to 512 and wm from 1.1 to 6. The nearest is seldom unique: many lines
    quantise to the same widths, so the error means more than the parameters.

    Source: Radosavovic et al. 2020, section 3.3: w0, wa and wm by grid search for the least e_fit.
    """
    widths = np.log(design.block_widths)
    depth = len(widths)
    rows, grid = _grid(max(64, depth))
    errors = np.abs(grid[:, :depth] - widths.astype(np.float32)).mean(axis=1).reshape(len(_W0), -1)
    best = errors.argmin(axis=1) + np.arange(len(_W0)) * errors.shape[1]  # one row for each w0
    starts = rows[best[errors.min(axis=1).argsort()[:6]]]
    for spread in (1.0, 0.2):  # of the first grid's step
        rows = np.concatenate([_near(start, spread) for start in starts])
        errors = np.abs(log_lines(rows, depth) - widths).mean(axis=1)
        starts = rows[[errors.argmin()]]
    nearest_w0, wa, wm = map(float, starts[0])
    w0 = int(nearest_w0)
    line = np.log(quantised_widths(w0, wa, wm, depth))
    return LinearFit(w0, wa, wm, float(np.abs(line - widths).mean()))


def describe(designs: Sequence[Design], size: int = 224) -> Population:
    """Return the measures of networks, all of the same number of stages; `size` is that of the image in pixels.

    Raises:
        ValueError: If there are no networks.
    """
    if not designs:
        raise ValueError("no networks to describe")
    costs = [cost(design, size) for design in designs]
    return Population(
        tuple(designs),
        np.array([design.depths for design in designs]),
        np.array([design.widths for design in designs]),
        np.array([each.macs for each in costs]),
        np.array([each.parameters for each in costs]),
        tuple(linear_fit(design) for design in designs),
    )


def summary(population: Population) -> dict[str, dict[str, float]]:
    """Return minimum, quartiles and maximum of each measure: depth, widths, GMACs, million parameters, e_fit.

    `depth` is the number of blocks of the whole network; `width of stage 1` and so on are in channels.
    """
    measures = {"depth": population.depths.sum(axis=1)}
    measures |= {f"width of stage {i}": widths for i, widths in enumerate(population.widths.T, 1)}
    measures |= {"GMACs": population.macs / 1e9, "M parameters": population.parameters / 1e6}
    measures["e_fit"] = np.array([fit.error for fit in population.fits])
    names = ("min", "25 %", "median", "75 %", "max")
    return {
        measure: dict(zip(names, np.quantile(values, (0, 0.25, 0.5, 0.75, 1)).tolist(), strict=True))
        for measure, values in measures.items()
    }


def read_errors(path: str | Path, column: str = "error") -> NDArray[np.float64]:
    """Return the errors of trained networks from a CSV file with a header, in the order and the unit of the file.

    Raises:
        ValueError: If it is not a CSV file, has no such column, no rows, or values that are not numbers >= 0; the first
            ten of these in one message.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            cells = [(reader.line_num, row[column]) for row in reader] if column in columns else []
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a CSV file: {error}") from error
    if column not in columns:
        raise ValueError(f"{path}: no column {column!r}; columns: {', '.join(columns)[:200] or 'none'}")
    errors = [_number(cell) for _, cell in cells]
    bad = [
        f"line {line}: {column} is {cell!r}"
        for (line, cell), error in zip(cells, errors, strict=True)
        if not (math.isfinite(error) and error >= 0)
    ]
    if bad:
        more = f"; and {len(bad) - 10} more" if len(bad) > 10 else ""
        raise ValueError(f"{path}: not a number >= 0: " + "; ".join(bad[:10]) + more)
    if not errors:
        raise ValueError(f"{path}: no rows")
    return np.array(errors)


def _number(cell: str | None) -> float:
    try:
        return float(cell or "")
    except ValueError:
        return math.nan


def edf(errors: ArrayLike, at: ArrayLike) -> NDArray[np.float64]:
    """Return the error empirical distribution function: for each value of `at` the fraction of errors below it, 0 to 1.

    Raises:
        ValueError: If there are no errors.

    Source: Radosavovic et al. 2020, equation 1.
    """
    ordered = np.sort(np.asarray(errors, dtype=float))
    if not ordered.size:
        raise ValueError("no errors: their distribution is not defined")
    return np.searchsorted(ordered, np.asarray(at), side="left") / ordered.size
