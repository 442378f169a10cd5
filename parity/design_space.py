"""The design spaces of the RegNet paper: AnyNets checked, drawn by seed, counted, fitted by a line and plotted.

Source: Radosavovic et al., Designing Network Design Spaces, https://arxiv.org/abs/2003.13678 (section 3); drawing after
its code, https://github.com/facebookresearch/pycls; compatible widths after torchvision.
Deviation: from C on, a draw in which a group width exceeds a bottleneck width is repeated, since the published clipping
to the bottleneck width would leave a group width that is no longer shared.
"""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from numbers import Integral
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RESTRICTIONS: Mapping[str, str] = {
    "A": "every stage has whole positive numbers that divide: width by bottleneck ratio, their quotient by group width",
    "B": "as A, and the bottleneck ratio is the same in all stages",
    "C": "as B, and the group width is the same in all stages, or a stage's whole bottleneck width where that is less",
    "D": "as C, and no stage is narrower than the one before it",
    "E": "as D, and no stage has fewer blocks than the one before it",
}


@dataclass(frozen=True)
class Design:
    """The numbers of an AnyNet, one a stage; `anynet` makes a checked one.

    Args:
        depths: Blocks.
        widths: Output channels of every block of the stage.
        bottleneck_ratios: Width over the channels of the 3x3 convolution.
        group_widths: Channels of one group of the 3x3 convolution.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    bottleneck_ratios: tuple[int, ...]
    group_widths: tuple[int, ...]

    @property
    def block_widths(self) -> list[int]:
        """The width of every block, from the first to the last."""
        return [width for depth, width in zip(self.depths, self.widths, strict=True) for _ in range(depth)]


@dataclass(frozen=True)
class Ranges:
    """What a space is drawn from; the defaults are the paper's.

    Args:
        stages: Number of stages.
        depth: Most blocks in a stage, of 1, 2, 3, ...
        width: Widest stage in channels, of 8, 16, 24, ...
        bottleneck_ratios: Ratios that are drawn, all alike.
        group_widths: Group widths that are drawn, all alike, in channels.
    """

    stages: int = 4
    depth: int = 16
    width: int = 1024
    bottleneck_ratios: tuple[int, ...] = (1, 2, 4)
    group_widths: tuple[int, ...] = (1, 2, 4, 8, 16, 32)


PAPER = Ranges()


@dataclass(frozen=True)
class Cost:
    """What one image costs: multiplications of convolutions and linear layers; and the parameters that are trained."""

    macs: int
    parameters: int


@dataclass(frozen=True)
class LinearFit:
    """The quantised line nearest to a network's block widths.

    Args:
        w0: Width of the first block in channels, a multiple of 8.
        wa: Slope in channels a block.
        wm: Ratio between the widths of successive stages.
        error: The paper's e_fit: mean of |log(fitted width / width)| over the blocks; 0 is a perfect fit.
    """

    w0: int
    wa: float
    wm: float
    error: float


@dataclass(frozen=True)
class Population:
    """Networks and their measures, one row a network.

    Args:
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


def anynet(
    space: str,
    depths: Sequence[int],
    widths: Sequence[int],
    bottleneck_ratios: Sequence[int],
    group_widths: Sequence[int],
) -> Design:
    """Return a network that keeps all restrictions of a space.

    Args:
        space: One of A, B, C, D, E; each restricts further what the one before allows, see `RESTRICTIONS`.
        depths: Blocks of each stage.
        widths: Channels of each stage.
        bottleneck_ratios: Width over bottleneck width of each stage.
        group_widths: Channels of a group, of each stage.

    Raises:
        ValueError: With every violation in one message, each under the letter of the restriction that it violates; for
            an unknown space.

    Source: Radosavovic et al. 2020, section 3.2, AnyNetX_A to AnyNetX_E.
    """
    _require_space(space)
    violations = _violations(space, depths, widths, bottleneck_ratios, group_widths)
    if violations:
        raise ValueError(f"AnyNet {space}: " + "; ".join(violations))
    numbers = (tuple(map(int, each)) for each in (depths, widths, bottleneck_ratios, group_widths))
    return Design(*numbers)


def _require_space(space: str) -> None:
    if space not in RESTRICTIONS:
        raise ValueError(f"unknown design space {space!r}; known: {', '.join(RESTRICTIONS)}")


def _violations(
    space: str, depths: Sequence[int], widths: Sequence[int], ratios: Sequence[int], group_widths: Sequence[int]
) -> list[str]:
    numbers = {"depth": depths, "width": widths, "bottleneck ratio": ratios, "group width": group_widths}
    counts = [len(values) for values in numbers.values()]
    if len(set(counts)) > 1 or counts[0] == 0:
        given = ", ".join(f"{count} {name}s" for name, count in zip(numbers, counts, strict=True))
        return [f"A: not one number a stage: {given}"]
    found = [
        f"A: stage {stage}: {name} {value!r} is not a whole positive number"
        for name, values in numbers.items()
        for stage, value in enumerate(values, 1)
        if not isinstance(value, Integral) or value <= 0
    ]
    if found:
        return found
    bottlenecks = [width // ratio for width, ratio in zip(widths, ratios, strict=True)]
    for stage, (width, ratio, group_width) in enumerate(zip(widths, ratios, group_widths, strict=True), 1):
        if width % ratio:
            found.append(f"A: stage {stage}: width {width} is not divisible by bottleneck ratio {ratio}")
        elif width // ratio % group_width:
            given = f"width {width} / bottleneck ratio {ratio} = {width // ratio}"
            found.append(f"A: stage {stage}: {given} is not divisible by group width {group_width}")
    if space >= "B" and len(set(ratios)) > 1:
        found.append(f"B: the bottleneck ratio is not the same in all stages: {_listed(ratios)}")
    shared = [min(max(group_widths), bottleneck) for bottleneck in bottlenecks]
    if space >= "C" and list(group_widths) != shared:
        found.append(f"C: the group width is not the same in all stages: {_listed(group_widths)}")
    for letter, name in (("D", "width"), ("E", "depth")):
        for stage, (value, following) in enumerate(pairwise(numbers[name]), 1):
            if space >= letter and following < value:
                found.append(
                    f"{letter}: {name} falls from {value} in stage {stage} to {following} in stage {stage + 1}"
                )
    return found


def _listed(values: Iterable[int]) -> str:
    return ", ".join(map(str, values))


def quantised_widths(w0: int, wa: float, wm: float, depth: int) -> list[int]:
    """Return the width of each block of a RegNet, in channels: the twins' arithmetic.

    w0 + wa x block is moved to the nearest w0 x wm^k with a whole k, then to the nearest multiple of 8.

    Raises:
        ValueError: If w0 is not a positive multiple of 8, wa is negative, or wm is not above 1.

    Source: Radosavovic et al. 2020, equations 2 to 4.
    """
    if w0 <= 0 or w0 % 8 or wa < 0 or wm <= 1:
        raise ValueError(f"RegNet: w0={w0}, wa={wa}, wm={wm}: w0 is a positive multiple of 8, wa >= 0, wm > 1")
    powers = [round(math.log((w0 + wa * block) / w0) / math.log(wm)) for block in range(depth)]
    return [round(w0 * wm**power / 8) * 8 for power in powers]


def _log_lines(rows: NDArray[np.float64], depth: int) -> NDArray[np.float64]:
    """Return the logarithms of `quantised_widths` for rows of (w0, wa, wm): rows x depth."""
    w0, wa, wm = rows.T[..., None]
    powers = np.round(np.log((w0 + wa * np.arange(depth)) / w0) / np.log(wm))
    return np.log(np.round(w0 * wm**powers / 8) * 8)


def compatible_widths(
    widths: Sequence[int], bottleneck_ratios: Sequence[int], group_widths: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Return widths and group widths changed so that each group width divides its bottleneck width, as the twins do.

    A group width above the bottleneck width becomes the bottleneck width; the bottleneck width goes to the nearest
    multiple of the group width, or to the next above where that would lose more than a tenth.

    Source: torchvision.models.regnet, `_adjust_widths_groups_compatibilty`.
    """
    fitted = []
    for width, ratio, group_width in zip(widths, bottleneck_ratios, group_widths, strict=True):
        bottleneck = max(width // ratio, 1)
        group_width = min(group_width, bottleneck)
        nearest = max((2 * bottleneck + group_width) // (2 * group_width) * group_width, group_width)
        if 10 * nearest < 9 * bottleneck:
            nearest += group_width
        fitted.append((nearest * ratio, group_width))
    return [width for width, _ in fitted], [group_width for _, group_width in fitted]


def sample(space: str, count: int, seed: int, ranges: Ranges = PAPER) -> list[Design]:
    """Return networks drawn at random from a space; the same seed gives the same networks on every machine.

    Depths and widths are log-uniform, ratios and group widths uniform over their powers of two. Where a space wants
    numbers in order they are drawn until they are. Widths and group widths are then made compatible.

    Args:
        space: One of A, B, C, D, E.
        count: Number of networks, >= 0.
        seed: Any whole number.
        ranges: What to draw from.

    Raises:
        ValueError: For an unknown space.

    Source: Radosavovic et al. 2020, section 3.2; pycls, `sweep/random.py`.
    """
    _require_space(space)
    random = Random(seed)  # noqa: S311  (it draws networks, no secrets)
    return [_draw(space, random, ranges) for _ in range(count)]


def _draw(space: str, random: Random, ranges: Ranges) -> Design:
    stages = range(ranges.stages)
    while True:
        depths = _draw_all(random, ranges.depth, 1, ranges.stages, in_order=space >= "E")
        widths = _draw_all(random, ranges.width, 8, ranges.stages, in_order=space >= "D")
        ratios = [random.choice(ranges.bottleneck_ratios) for _ in stages]
        group_widths = [random.choice(ranges.group_widths) for _ in stages]
        if space >= "B":
            ratios = ratios[:1] * ranges.stages
        if space >= "C":
            group_widths = group_widths[:1] * ranges.stages
        widths, fitted = compatible_widths(widths, ratios, group_widths)
        if space < "C" or fitted == group_widths:
            return anynet(space, depths, widths, ratios, fitted)


def _draw_all(random: Random, high: int, step: int, count: int, in_order: bool) -> list[int]:
    """Return `count` multiples of `step` up to `high`, log-uniform."""
    while True:
        reals = [math.exp(random.uniform(math.log(step / 2), math.log(high))) for _ in range(count)]
        values = [min(math.ceil(real / step), high // step) * step for real in reals]
        if not in_order or values == sorted(values):
            return values


def cost(design: Design, size: int = 224, se_ratio: float = 0.0, num_classes: int = 1000, in_channels: int = 3) -> Cost:
    """Return what the AnyNet twin of this design costs, by plain arithmetic.

    Args:
        design: The network.
        size: Height and width of the image in pixels.
        se_ratio: Channels of the squeeze over the block's input channels (RegNetY: 0.25); 0 for none.
        num_classes: Outputs.
        in_channels: Channels of the image.
    """
    macs = parameters = 0

    def convolve(channels: int, filters: int, kernel: int, area: int, groups: int = 1, biased: bool = False) -> None:
        nonlocal macs, parameters
        weights = channels // groups * filters * kernel**2
        macs += weights * area
        parameters += weights + (filters if biased else 2 * filters)  # without bias: a BatchNorm follows

    size = (size + 1) // 2
    channels = 32
    convolve(in_channels, channels, 3, size**2)
    stages = zip(design.depths, design.widths, design.bottleneck_ratios, design.group_widths, strict=True)
    for depth, width, ratio, group_width in stages:
        bottleneck = width // ratio
        for block in range(depth):
            before, size = size, (size + 1) // 2 if block == 0 else size
            if block == 0:
                convolve(channels, width, 1, size**2)
            convolve(channels, bottleneck, 1, before**2)
            convolve(bottleneck, bottleneck, 3, size**2, groups=bottleneck // group_width)
            if se_ratio > 0:
                squeeze = round(se_ratio * channels)
                convolve(bottleneck, squeeze, 1, 1, biased=True)
                convolve(squeeze, bottleneck, 1, 1, biased=True)
            convolve(bottleneck, width, 1, size**2)
            channels = width
    convolve(channels, num_classes, 1, 1, biased=True)
    return Cost(macs, parameters)


_WM = np.geomspace(1.1, 6.0, 25)
_WA = np.concatenate([[0.0], np.geomspace(0.5, 512.0, 41)])
_W0 = np.unique(np.round(np.geomspace(8, 1024, 48) / 8) * 8)


@lru_cache(maxsize=1)
def _grid(depth: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return all (w0, wa, wm) of the first search, as rows, and the logarithms of their widths: rows x depth."""
    rows = np.stack(np.meshgrid(_W0, _WA, _WM, indexing="ij"), axis=-1).reshape(-1, 3)
    return rows, _log_lines(rows, depth).astype(np.float32)


def _near(start: NDArray[np.float64], spread: float) -> NDArray[np.float64]:
    """Return rows of (w0, wa, wm) around a start and the start itself, up to `spread` steps of the first grid away."""
    w0, wa, wm = start
    steps = np.linspace(-spread, spread, 15)
    near_w0 = np.maximum(w0 + np.arange(-16, 17, 8), 8)
    near_wa = np.append(max(wa, 0.5) * (_WA[2] / _WA[1]) ** steps, wa)
    near_wm = np.maximum(wm * (_WM[1] / _WM[0]) ** steps, 1.01)
    return np.stack(np.meshgrid(near_w0, near_wa, near_wm, indexing="ij"), axis=-1).reshape(-1, 3)


def linear_fit(design: Design) -> LinearFit:
    """Return the quantised line nearest to a network's block widths, by grid search and finer ones around its best.

    Searched are w0 from 8 to 1024, wa from 0 to 512 and wm from 1.1 to 6. The nearest is seldom one alone: many lines
    quantise to the same widths, so the error says more than the parameters.

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
        errors = np.abs(_log_lines(rows, depth) - widths).mean(axis=1)
        starts = rows[[errors.argmin()]]
    w0, wa, wm = int(starts[0, 0]), float(starts[0, 1]), float(starts[0, 2])
    line = np.log(quantised_widths(w0, wa, wm, depth))
    return LinearFit(w0, wa, wm, float(np.abs(line - widths).mean()))


def describe(designs: Sequence[Design], size: int = 224) -> Population:
    """Return the measures of networks, all of the same number of stages; `size` is the image's side in pixels.

    Raises:
        ValueError: For no networks.
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
    """Return least, quartiles and greatest of each measure: depth, widths, GMACs, million parameters, e_fit.

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
        ValueError: For what is no CSV file, a missing column, no rows, or values that are not numbers >= 0, the first
            ten of them in one message.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            cells = [(reader.line_num, row[column]) for row in reader] if column in columns else []
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no CSV file: {error}") from error
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
        ValueError: For no errors.

    Source: Radosavovic et al. 2020, equation 1.
    """
    ordered = np.sort(np.asarray(errors, dtype=float))
    if not ordered.size:
        raise ValueError("no errors: their distribution is not defined")
    return np.searchsorted(ordered, np.asarray(at), side="left") / ordered.size


_COLOURS = ("#2e86c1", "#e67e22", "#117a65", "#b03a2e", "#6c3483", "#7d6608", "#566573", "#1b4f72")
_BAR, _MARK = _COLOURS[:2]


def plot_population(
    population: Population, path: str | Path, title: str = "", curves: Mapping[str, ArrayLike] | None = None
) -> None:
    """Write a PNG of the distributions of depth, widths, MACs and e_fit, and of three networks with their lines.

    Needs matplotlib. The three are those of the least, the median and the greatest e_fit. `curves`, errors of trained
    networks by the name of their set, add a panel as `plot_edf` draws it.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(17 if curves else 13, 8), layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.08))
    if title:
        _ = figure.suptitle(title, fontsize=14)
    rows = ["depth", "width", "macs"], ["error", "lines", "lines"]
    panels = figure.subplot_mosaic([[*row, *["edf"] * bool(curves)] for row in rows])
    if curves:
        _draw_edf(panels["edf"], curves, "error")
    count = len(population.designs)

    blocks = population.depths.sum(axis=1)
    step = max(1, (blocks.max() - blocks.min()) // 24)
    _ = panels["depth"].hist(blocks, np.arange(blocks.min(), blocks.max() + step + 1, step) - 0.5, color=_BAR)
    _ = panels["depth"].set(title="Depth", xlabel="blocks", ylabel=f"networks of {count}")

    stages = range(1, population.widths.shape[1] + 1)
    drawn = panels["width"].boxplot(
        list(population.widths.T), widths=0.6, patch_artist=True, flierprops={"markersize": 2, "alpha": 0.4}
    )
    for part in drawn["boxes"]:
        part.set(facecolor="#aed6f1", edgecolor=_BAR)
    for part in drawn["medians"]:
        part.set(color=_MARK, linewidth=2)
    _ = panels["width"].set(title="Width", xlabel="stage", ylabel="channels", xticks=list(stages))
    panels["width"].set_yscale("log", base=2)
    panels["width"].yaxis.set_major_formatter(lambda value, _: f"{value:g}")

    gmacs = population.macs / 1e9
    low, high = gmacs.min(), gmacs.max()
    edges = np.geomspace(low * 0.99, high * 1.01, 26)
    _ = panels["macs"].hist(gmacs, edges, color=_BAR)
    _ = panels["macs"].axvline(np.median(gmacs), color=_MARK, label=f"median {np.median(gmacs):.3g}")
    panels["macs"].set_xscale("log")
    panels["macs"].xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _ = panels["macs"].set(title="MACs", xlabel="GMACs an image", ylabel="networks")
    _ = panels["macs"].legend(frameon=False)

    errors = np.array([fit.error for fit in population.fits])
    _ = panels["error"].hist(errors, 25, color=_BAR)
    _ = panels["error"].axvline(np.median(errors), color=_MARK, label=f"median {np.median(errors):.3g}")
    _ = panels["error"].set(title="Error of the quantised linear fit", xlabel="$e_{fit}$", ylabel="networks")
    _ = panels["error"].legend(frameon=False)

    order = errors.argsort(kind="stable")
    lines = panels["lines"]
    for name, index, colour in zip(
        ("best", "median", "worst"),
        (order[0], order[len(order) // 2], order[-1]),
        (_COLOURS[2], _COLOURS[0], _COLOURS[3]),
        strict=True,
    ):
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
    _save(figure, path)


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


def _draw_edf(axes: "Axes", curves: Mapping[str, ArrayLike], xlabel: str) -> None:
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


def _save(figure: "Figure", path: str | Path) -> None:
    for axes in figure.axes:
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120, format="png")
