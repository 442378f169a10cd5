"""The design spaces of the RegNet paper: AnyNets checked, sampled by seed, and their cost.

Source: Radosavovic et al., Designing Network Design Spaces, https://arxiv.org/abs/2003.13678 (section 3); samples after
its code, https://github.com/facebookresearch/pycls; compatible widths after torchvision.
Deviation: from C on, a sample whose group width exceeds a bottleneck width is drawn again, since the published clipping
to the bottleneck width would give a group width that is no longer shared.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral
from random import Random

import numpy as np
from numpy.typing import NDArray

RESTRICTIONS: Mapping[str, str] = {
    "A": "every stage has whole positive numbers that divide: width by bottleneck ratio, their quotient by group width",
    "B": "as A, and the bottleneck ratio is the same in all stages",
    "C": "as B, and the group width is the same in all stages, or a stage's whole bottleneck width where that is less",
    "D": "as C, and no stage is narrower than the one before it",
    "E": "as D, and no stage has fewer blocks than the one before it",
}


@dataclass(frozen=True)
class Design:
    """The numbers of an AnyNet, one for each stage; `anynet` returns a checked one.

    Attributes:
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
    """The ranges of a space; the defaults are the paper's.

    Attributes:
        stages: Number of stages.
        depth: Maximum number of blocks in a stage, of 1, 2, 3, ...
        width: Maximum width of a stage in channels, of 8, 16, 24, ...
        bottleneck_ratios: Bottleneck ratios, of equal probability.
        group_widths: Group widths in channels, of equal probability.
    """

    stages: int = 4
    depth: int = 16
    width: int = 1024
    bottleneck_ratios: tuple[int, ...] = (1, 2, 4)
    group_widths: tuple[int, ...] = (1, 2, 4, 8, 16, 32)


PAPER = Ranges()


@dataclass(frozen=True)
class Cost:
    """The cost of one image: multiplications of convolutions and linear layers; and the trained parameters."""

    macs: int
    parameters: int


def anynet(
    space: str,
    depths: Sequence[int],
    widths: Sequence[int],
    bottleneck_ratios: Sequence[int],
    group_widths: Sequence[int],
) -> Design:
    """Return a network that satisfies all restrictions of a space.

    Args:
        space: One of A, B, C, D, E; each restricts the one before it further, see `RESTRICTIONS`.
        depths: Blocks of each stage.
        widths: Channels of each stage.
        bottleneck_ratios: Width over bottleneck width of each stage.
        group_widths: Channels of a group, of each stage.

    Raises:
        ValueError: With every violation in one message, each with its restriction's letter; or for an unknown space.

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
        listed = ", ".join(f"{count} {name}s" for name, count in zip(numbers, counts, strict=True))
        return [f"A: not one number for each stage: {listed}"]
    violations = [
        f"A: stage {stage}: {name} {value!r} is not a whole positive number"
        for name, values in numbers.items()
        for stage, value in enumerate(values, 1)
        if not isinstance(value, Integral) or value <= 0
    ]
    if violations:
        return violations
    bottlenecks = [width // ratio for width, ratio in zip(widths, ratios, strict=True)]
    for stage, (width, ratio, group_width) in enumerate(zip(widths, ratios, group_widths, strict=True), 1):
        if width % ratio:
            violations.append(f"A: stage {stage}: width {width} is not divisible by bottleneck ratio {ratio}")
        elif width // ratio % group_width:
            quotient = f"width {width} / bottleneck ratio {ratio} = {width // ratio}"
            violations.append(f"A: stage {stage}: {quotient} is not divisible by group width {group_width}")
    if space >= "B" and len(set(ratios)) > 1:
        violations.append(f"B: the bottleneck ratio is not the same in all stages: {_listed(ratios)}")
    shared = [min(max(group_widths), bottleneck) for bottleneck in bottlenecks]
    if space >= "C" and list(group_widths) != shared:
        violations.append(f"C: the group width is not the same in all stages: {_listed(group_widths)}")
    for letter, name in (("D", "width"), ("E", "depth")):
        for stage, (value, following) in enumerate(pairwise(numbers[name]), 1):
            if space >= letter and following < value:
                violations.append(
                    f"{letter}: {name} falls from {value} in stage {stage} to {following} in stage {stage + 1}"
                )
    return violations


def _listed(values: Iterable[int]) -> str:
    return ", ".join(map(str, values))


def quantised_widths(w0: int, wa: float, wm: float, depth: int) -> list[int]:
    """Return the width of each block of a RegNet, in channels: the twins' arithmetic.

    w0 + wa x block is rounded to the nearest w0 x wm^k with a whole k, then to the nearest multiple of 8.

    Raises:
        ValueError: If w0 is not a positive multiple of 8, wa is negative, or wm is not above 1.

    Source: Radosavovic et al. 2020, equations 2 to 4.
    """
    if w0 <= 0 or w0 % 8 or wa < 0 or wm <= 1:
        raise ValueError(f"RegNet: w0={w0}, wa={wa}, wm={wm}: w0 is a positive multiple of 8, wa >= 0, wm > 1")
    powers = [round(math.log((w0 + wa * block) / w0) / math.log(wm)) for block in range(depth)]
    return [round(w0 * wm**power / 8) * 8 for power in powers]


def log_lines(rows: NDArray[np.float64], depth: int) -> NDArray[np.float64]:
    """Return the logarithms of `quantised_widths` for rows of (w0, wa, wm): rows x depth."""
    w0, wa, wm = rows.T[..., None]
    powers = np.round(np.log((w0 + wa * np.arange(depth)) / w0) / np.log(wm))
    return np.log(np.round(w0 * wm**powers / 8) * 8)


def compatible_widths(
    widths: Sequence[int], bottleneck_ratios: Sequence[int], group_widths: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Return widths and group widths, adjusted so that each group width divides its bottleneck width, as in the twins.

    A group width above the bottleneck width becomes the bottleneck width. The bottleneck width becomes the nearest
    multiple of the group width, or the next larger one where the nearest is smaller by more than a tenth.

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
    """Return random networks of a space; the same seed gives the same networks on every machine.

    Depths and widths are log-uniform, ratios and group widths uniform over their powers of two. Where a space requires
    numbers in order, they are drawn until they are. Widths and group widths are then made compatible.

    Args:
        space: One of A, B, C, D, E.
        count: Number of networks, >= 0.
        seed: Any whole number.
        ranges: The ranges of the numbers.

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
        parameters += weights + (filters if biased else 2 * filters)  # no bias: a BatchNorm follows

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
