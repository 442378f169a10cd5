"""Figures of a design space's populations, as PNG; they need matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from parity.analysis.design_population import Population
from parity.analysis.design_space import quantised_widths

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#2e86c1", "#e67e22", "#117a65", "#b03a2e", "#6c3483", "#7d6608", "#566573", "#1b4f72")
_BAR, _MARK = _COLOURS[:2]


def plot_population(
    population: Population, path: str | Path, title: str = "", curves: Mapping[str, ArrayLike] | None = None
) -> None:
    """Write a PNG of the distributions of depth, widths, MACs and e_fit, and of three networks with their lines.

    Needs matplotlib. The three have the least, the median and the greatest e_fit. `curves`, errors of trained networks
    by the name of their set, add a panel like that of `plot_edf`.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(17 if curves else 13, 8), layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.08))
    if title:
        _ = figure.suptitle(title, fontsize=14)
    rows = ["depth", "width", "macs"], ["error", "lines", "lines"]
    edf = ["edf"] if curves else []
    panels = figure.subplot_mosaic([[*row, *edf] for row in rows])
    if curves:
        _draw_edf(panels["edf"], curves, "error")
    _draw_depths(panels["depth"], population)
    _draw_widths(panels["width"], population)
    _draw_macs(panels["macs"], population)
    _draw_fits(panels["error"], panels["lines"], population)
    _save(figure, path)


def _draw_depths(axes: Axes, population: Population) -> None:
    blocks = population.depths.sum(axis=1)
    step = max(1, (blocks.max() - blocks.min()) // 24)
    _ = axes.hist(blocks, np.arange(blocks.min(), blocks.max() + step + 1, step) - 0.5, color=_BAR)
    _ = axes.set(title="Depth", xlabel="blocks", ylabel=f"networks of {len(population.designs)}")


def _draw_widths(axes: Axes, population: Population) -> None:
    stages = range(1, population.widths.shape[1] + 1)
    boxplot = axes.boxplot(
        list(population.widths.T), widths=0.6, patch_artist=True, flierprops={"markersize": 2, "alpha": 0.4}
    )
    for box in boxplot["boxes"]:
        box.set(facecolor="#aed6f1", edgecolor=_BAR)
    for line in boxplot["medians"]:
        line.set(color=_MARK, linewidth=2)
    _ = axes.set(title="Width", xlabel="stage", ylabel="channels", xticks=list(stages))
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _draw_macs(axes: Axes, population: Population) -> None:
    gmacs = population.macs / 1e9
    low, high = gmacs.min(), gmacs.max()
    _ = axes.hist(gmacs, np.geomspace(low * 0.99, high * 1.01, 26), color=_BAR)
    _ = axes.axvline(np.median(gmacs), color=_MARK, label=f"median {np.median(gmacs):.3g}")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _ = axes.set(title="MACs", xlabel="GMACs an image", ylabel="networks")
    _ = axes.legend(frameon=False)


def _draw_fits(axes: Axes, lines: Axes, population: Population) -> None:
    """Draw the errors of all fits, and three networks with their lines."""
    errors = np.array([fit.error for fit in population.fits])
    _ = axes.hist(errors, 25, color=_BAR)
    _ = axes.axvline(np.median(errors), color=_MARK, label=f"median {np.median(errors):.3g}")
    _ = axes.set(title="Error of the quantised linear fit", xlabel="$e_{fit}$", ylabel="networks")
    _ = axes.legend(frameon=False)
    order = errors.argsort(kind="stable")
    chosen = ("best", order[0], _COLOURS[2]), ("median", order[len(order) // 2], _COLOURS[0])
    for name, index, colour in (*chosen, ("worst", order[-1], _COLOURS[3])):
        fit, widths = population.fits[index], population.designs[index].block_widths
        line = quantised_widths(fit.w0, fit.wa, fit.wm, len(widths))
        x = np.arange(1, len(widths) + 1)
        text = f"{name}: $e_{{fit}}$={fit.error:.3f}, $w_0$={fit.w0}, $w_a$={fit.wa:.3g}, $w_m$={fit.wm:.3g}"
        _ = lines.plot(x, widths, "o", color=colour, markersize=4.5, label=text)
        _ = lines.step(x, line, where="mid", color=colour, linewidth=1.4)
        _ = lines.plot(x, fit.w0 + fit.wa * (x - 1), "--", color=colour, linewidth=0.9)
    lines.set_yscale("log", base=2)
    lines.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _ = lines.set(
        title="Three networks (dots), their lines (dashed), quantised (solid)", xlabel="block", ylabel="channels"
    )
    _ = lines.set_ylim(top=lines.get_ylim()[1] * 10)  # room for the legend
    _ = lines.legend(frameon=False, loc="upper left")


def plot_edf(curves: Mapping[str, ArrayLike], path: str | Path, xlabel: str = "error") -> None:
    """Write a PNG of the error distribution functions of several sets of networks; the legend has [least | mean].

    Needs matplotlib.

    Args:
        curves: Errors by the name of their set.
        path: Where the PNG goes.
        xlabel: The errors' name and unit.

    Raises:
        ValueError: For no curves, or one without errors.
    """
    from matplotlib.figure import Figure

    empty = [name for name, errors in curves.items() if not np.size(errors)]
    if empty or not curves:
        raise ValueError(f"no errors to plot: {', '.join(empty) or 'no curves'}")
    figure = Figure(figsize=(7, 5), layout="constrained")
    _draw_edf(figure.subplots(), curves, xlabel)
    _save(figure, path)


def _draw_edf(axes: Axes, curves: Mapping[str, ArrayLike], xlabel: str) -> None:
    highest = max(np.max(errors) for errors in curves.values())
    for i, (name, errors) in enumerate(curves.items()):
        ordered = np.sort(np.asarray(errors, dtype=float))
        text = f"[{ordered[0]:.1f} | {ordered.mean():.1f}] {name}"
        x = np.concatenate([ordered[:1], ordered, [highest]])
        y = np.concatenate([[0.0], np.arange(1, ordered.size + 1) / ordered.size, [1.0]])
        _ = axes.step(x, y, where="post", color=_COLOURS[i % len(_COLOURS)], linewidth=1.8, label=text)
    _ = axes.set(title="Error empirical distribution", xlabel=xlabel, ylabel="fraction of networks below")
    _ = axes.set(ylim=(0, 1.12 + 0.05 * len(curves)), yticks=np.linspace(0, 1, 6))  # room for the legend
    _ = axes.legend(frameon=False, loc="upper left", title="[least | mean]", alignment="left")


def _save(figure: Figure, path: str | Path) -> None:
    for axes in figure.axes:
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120, format="png")
