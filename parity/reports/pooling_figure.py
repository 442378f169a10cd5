"""Figures of pooling: the windows of one layer, and the input sizes of a network. They need matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.atomic import atomic
from parity.errors import ParityError
from parity.extras import install
from parity.numerics.pooling import RULES, Pool, differs, draw, sizes, windows

if TYPE_CHECKING:
    from parity.analysis.survey import SizeReport

_FORMATS = (".png", ".svg", ".pdf")
_ENDS = 10  # the last windows, where the rules differ
# Okabe and Ito's colours, which colour-blind readers can distinguish.
_SAME, _ROUNDS, _PARTS, _PADDING = "#56B4E9", "#0072B2", "#D55E00", "#EEEEEE"


def check(path: Path) -> None:
    """Return if a figure can be written to `path`: called before the work, not after it.

    Raises:
        ParityError: If matplotlib is missing, or the file's suffix is no known format.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ParityError(f"{path}: draws {', '.join(_FORMATS)}; choose a name that ends so")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ParityError(f"--plot needs matplotlib: {install('plot')}") from error


def _save(figure: Any, path: Path) -> None:
    with atomic(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lower()[1:], dpi=150, bbox_inches="tight", facecolor="white")


def window(size: int, pool: Pool, path: Path) -> None:
    """Draw the last windows along one axis, under floor and under ceil, and the rules that place them.

    Raises:
        ParityError: If no framework places any, or the file cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    modes = [replace(pool, ceil_mode=mode) for mode in (False, True)]
    modes = [each for each in modes if draw(size, each)]
    if not modes:
        raise ParityError(f"{path}: nothing to draw: no framework places a window of {pool} at length {size}")
    figure = Figure(figsize=(9, 0.8 + 2.6 * len(modes)), layout="constrained")
    axes = figure.subplots(len(modes), 1, sharex=True, squeeze=False)[:, 0]
    bounds = [_windows(axis, size, each) for axis, each in zip(axes, modes, strict=True)]
    axes[0].set_xlim(min(first for first, _ in bounds) - 1, max(last for _, last in bounds) + 0.5)
    axes[-1].set_xlabel("pixel")
    _ = figure.suptitle(f"length {size}, {replace(pool, ceil_mode=False)}", fontsize=12)
    legend = [Patch(color=_SAME, label="placed by all"), Patch(color=_PADDING, label="padding")]
    if any(differs(size, each) for each in modes):
        legend.append(Patch(color=_PARTS, label="not placed by all"))
    _ = figure.legend(handles=legend, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    _save(figure, path)


def _windows(axis: Any, size: int, pool: Pool) -> tuple[int, int]:
    """Draw the last windows of one mode; return their first pixel and the end."""
    sizes_by_rule = sizes(size, pool)["ceil" if pool.ceil_mode else "floor"]
    counts = {rule: count for rule, count in sizes_by_rule.items() if isinstance(count, int)}
    most = max(counts, key=counts.__getitem__)
    placed = list(enumerate(windows(size, pool, most)))[-_ENDS:]
    padding = int(pool.axes[0].padding)  # pyright: ignore[reportArgumentType]
    first, last = placed[0][1].start, max(size + padding, placed[-1][1].stop)
    if first < 0:
        axis.axvspan(first - 0.5, -0.5, color=_PADDING, zorder=0)
    axis.axvspan(size - 0.5, size + padding - 0.5, color=_PADDING, zorder=0)
    for edge in (-0.5, size - 0.5):
        axis.axvline(edge, color="#888888", linewidth=0.8, zorder=1)
    for number, taps in placed:
        shared = len(counts) == len(RULES) and all(number < count for count in counts.values())
        colour = _SAME if shared else _PARTS
        axis.broken_barh([(tap - 0.45, 0.9) for tap in taps], (number - 0.35, 0.7), facecolor=colour, zorder=2)
        if not shared:
            note = f"{', '.join(rule for rule, count in counts.items() if number < count)} only"
            left = taps[0] - first > last - taps[-1]  # where there is more space
            place = (taps[0] - 0.7, number) if left else (taps[-1] + 0.7, number)
            axis.annotate(note, place, ha="right" if left else "left", va="center", fontsize=9, color=_PARTS)
    title = ", ".join(f"{rule} {counts.get(rule, 'refused')}" for rule in RULES)
    axis.set_title(f"{'ceil' if pool.ceil_mode else 'floor'}: {title}", loc="left", fontsize=10)
    axis.set_ylabel("window")
    axis.set_yticks([number for number, _ in placed])
    axis.set_ylim(placed[-1][0] + 0.6, placed[0][0] - 0.6)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.spines[["top", "right"]].set_visible(False)
    return first, last


def survey(model: str, findings: Sequence[SizeReport], published: int | None, path: Path) -> None:
    """Draw a network's input sizes against its pooling layers: where rounding or the framework matters."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    layers = list(dict.fromkeys(layer for finding in findings for layer in (*finding.layers, *finding.parts)))
    if not layers:
        raise ParityError(f"{model}: has no pooling layer to draw")
    grid = [[_cell(finding, layer) for finding in findings] for layer in layers]
    colours = ["#DDDDDD", _ROUNDS, _PARTS, "#FFFFFF"]
    labels = ["same", "floor and ceil differ", "torch and Paddle differ", "size refused by both"]
    first, last = findings[0].size, findings[-1].size
    figure = Figure(figsize=(max(6.0, 2.5 + 0.13 * len(findings)), 1.4 + 0.32 * len(layers)), layout="constrained")
    axis = figure.subplots()
    edges = [first - 0.5 + i for i in range(len(findings) + 1)]
    _ = axis.pcolormesh(
        edges,
        [i - 0.5 for i in range(len(layers) + 1)],
        grid,
        cmap=ListedColormap(colours),
        vmin=-0.5,
        vmax=len(colours) - 0.5,
        edgecolors="white",
        linewidth=0.8 if len(findings) <= 150 else 0,
    )
    _ = axis.set_yticks(range(len(layers)), layers)
    _ = axis.set_ylim(len(layers) - 0.5, -0.5)
    _ = axis.set_xlim(edges[0], edges[-1])
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.tick_params(axis="y", length=0)
    axis.spines[:].set_visible(False)
    if published is not None and first <= published <= last:
        _ = axis.annotate("published", (published, -0.5), (0, 3), textcoords="offset points", ha="center", fontsize=9)
        _ = axis.axvspan(published - 0.5, published + 0.5, fill=False, edgecolor="black", linewidth=1.2)
    _ = axis.set_ylabel("layer")
    _ = axis.set_xlabel("input height and width, pixels")
    _ = axis.set_title(f"{model}: pooling by input size", loc="left", fontsize=12, pad=18)
    shown = sorted({cell for row in grid for cell in row})
    legend = [Patch(facecolor=colours[i], edgecolor="#BBBBBB", label=labels[i]) for i in shown]
    _ = figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), frameon=False, fontsize=9)
    _save(figure, path)


def _cell(finding: SizeReport, layer: str) -> int:
    if len(finding.refused) == 2:
        return 3
    if layer in finding.parts or layer not in finding.layers:
        return 2
    return 1 if layer in finding.rounds else 0
