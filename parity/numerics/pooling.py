"""Number, positions and results of a pooling layer's windows: closed forms for torch, Paddle and ONNX Runtime.

They differ only with `ceil_mode`, a kernel larger than the padded input, too much padding, or NaN. The rules were
measured by sweeps over the frameworks (docs/pooling.md); tests/numerics/test_pooling_sweeps.py compares the frameworks
with them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from parity.errors import ParityError

RULES = ("torch", "paddle", "onnx")
KINDS = ("max", "avg")
Extent = int | tuple[int, int]

_LEAST = {"kernel": 1, "stride": 1, "padding": 0, "dilation": 1}
_LOWEST = -float(np.finfo(np.float32).max)  # Paddle's initial value of a maximum, for float64 too
_ENDS = 4  # windows that a drawing of many shows at either end


class _Axis(NamedTuple):
    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def span(self) -> int:
        """Pixels from the first tap of a window to its last, both included."""
        return self.dilation * (self.kernel - 1) + 1


@dataclass(frozen=True)
class Pool:
    """A pooling layer's window.

    Attributes:
        kernel, stride, padding, dilation: In pixels; one number for both axes, or a pair (vertical, horizontal).
        ceil_mode: Round the number of windows up.
        include_pad: Average over the padding too (torch `count_include_pad`, Paddle `not exclusive`).

    Raises:
        ParityError: If numbers are not whole or too small, under any rule; all of them in one message.

    Example:
        >>> pool = Pool(kernel=2, stride=2, padding=1, ceil_mode=True)
        >>> output_shape((11, 11), pool, "torch"), output_shape((11, 11), pool, "paddle")
        ((6, 6), (7, 7))
    """

    kernel: Extent
    stride: Extent
    padding: Extent = 0
    dilation: Extent = 1
    ceil_mode: bool = False
    include_pad: bool = False

    def __post_init__(self) -> None:
        problems = []
        for name, least in _LEAST.items():
            value = getattr(self, name)
            pair = value if isinstance(value, tuple) and len(value) == 2 else (value,)
            if not all(isinstance(number, int | np.integer) and number >= least for number in pair):
                problems.append(f"{name} is {value!r}, needs a whole number >= {least} or a pair of them")
        if problems:
            raise ParityError("pool: " + "; ".join(problems))

    def __str__(self) -> str:
        words = [f"kernel {self.kernel}", f"stride {self.stride}", f"padding {self.padding}"]
        words += [f"dilation {self.dilation}"] if self.dilation != 1 else []
        words += [name for name in ("ceil_mode", "include_pad") if getattr(self, name)]
        return ", ".join(words)

    @property
    def axes(self) -> tuple["Pool", "Pool"]:
        """The pools of the vertical and of the horizontal axis, each of single numbers."""
        first, second = {}, {}
        for name in _LEAST:
            value = getattr(self, name)
            first[name], second[name] = value if isinstance(value, tuple) else (value, value)
        return replace(self, **first), replace(self, **second)


def output_size(size: int, pool: Pool, rule: str) -> int:
    """Return the number of windows that a pooling layer places along one axis.

    Args:
        size: Input length in pixels, before padding, >= 1.
        pool: Window of one axis.
        rule: "torch", "paddle" or "onnx" (what ONNX Runtime computes).

    Returns:
        Number of windows: >= 1 under "torch", >= 0 under the others.

    Raises:
        ParityError: Where that framework raises: torch for no window or padding over half the kernel; Paddle for
            dilation or a negative number of windows; ONNX Runtime for that or padding not below the kernel. Also for
            size < 1, an unknown rule, a pool of two axes.

    Source: torch.nn.MaxPool2d, "Shape"; the C++ of Paddle (phi, pooling.h) and ONNX Runtime (pool_attributes.h), which
    divides toward zero where torch floors.
    """
    _check_choice("rule", rule, RULES)
    axis = _axis(pool)
    kernel, stride, padding, dilation = axis
    if size < 1:
        raise ParityError(f"pool: input length is {size}, needs at least 1")
    refuses = f"{rule} refuses {pool} at length {size}"
    reach = size + 2 * padding - axis.span  # how far the first window can move
    if rule == "torch":
        if padding > kernel // 2:  # torch's message says "effective kernel", but dilation changes nothing
            raise ParityError(f"{refuses}: padding may be at most half the kernel, {kernel // 2}")
        steps = -(-reach // stride) if pool.ceil_mode else reach // stride
    elif rule == "paddle":
        if dilation != 1:
            raise ParityError(f"{refuses}: its pooling has no dilation")
        steps = int((reach + (stride - 1 if pool.ceil_mode else 0)) / stride)
    else:
        if padding >= kernel:
            raise ParityError(f"{refuses}: padding must be smaller than the kernel")
        steps = -(-reach // stride) if pool.ceil_mode else int(reach / stride)
    if pool.ceil_mode and rule != "paddle" and steps * stride >= size + padding:
        steps -= 1  # the last window would start in the padding on the right: Paddle keeps it
    if steps + 1 < (1 if rule == "torch" else 0):
        fit = f"a window spans {axis.span}, the padded input {size + 2 * padding}"
        raise ParityError(f"{refuses}: {steps + 1} windows; {fit}")
    return steps + 1


def output_shape(shape: tuple[int, int], pool: Pool, rule: str) -> tuple[int, int]:
    """Return the number of windows along both axes of a `shape` (height, width); errors as `output_size`."""
    vertical, horizontal = pool.axes
    return output_size(shape[0], vertical, rule), output_size(shape[1], horizontal, rule)


def windows(size: int, pool: Pool, rule: str) -> list[range]:
    """Return the bounds of each window along one axis, in pixels of the input; errors as `output_size`.

    Returns:
        One range a window, its step the dilation. Pixels are 0 to size - 1; before and after them is padding, and
        behind that, under `ceil_mode`, positions beyond the padding.
    """
    axis = _axis(pool)
    starts = (i * axis.stride - axis.padding for i in range(output_size(size, pool, rule)))
    return [range(start, start + axis.span, axis.dilation) for start in starts]


def pool(array: NDArray[Any], pool: Pool, kind: str, rule: str) -> NDArray[Any]:
    """Return the array pooled over its last two axes, as that framework's CPU kernel does.

    Args:
        array: ... x height x width, float32 or float64.
        pool: Window.
        kind: "max" or "avg".
        rule: "torch", "paddle" or "onnx" (opset 19 and later; before, an average that includes the padding divides by
            the whole kernel where that is larger than the padded input).

    Returns:
        ... x output_shape, the array's dtype. A maximum is equal bit for bit, NaN and the sign of zero too (under
        "onnx" those two and a window of -inf alone vary with ONNX Runtime's vector code); an average to rounding.
        For a window without a pixel: Paddle's maximum is -FLT_MAX, its average NaN, 0.0 or -0.0; with dilation, torch's
        maximum is -inf, ONNX Runtime's -FLT_MAX and its average 0.0.

    Raises:
        ParityError: As `output_size`; for an average with dilation under "torch"; for another kind, dtype or rank.
    """
    _check_choice("kind", kind, KINDS)
    if array.ndim < 2 or array.dtype not in (np.float32, np.float64):
        raise ParityError(f"pool: array is {array.dtype} {array.shape}, needs float32 or float64, ... x height x width")
    dilated = pool.dilation not in (1, (1, 1))
    if kind == "avg" and rule == "torch" and dilated:
        raise ParityError(f"torch refuses {pool}: its average pooling has no dilation")
    height, width = array.shape[-2:]
    vertical, horizontal = pool.axes
    down, across = _places(height, vertical, rule), _places(width, horizontal, rule)
    start = 0.0 if kind == "avg" else -np.inf if rule == "torch" else _LOWEST
    y = np.full((*array.shape[:-2], down.shape[1], across.shape[1]), start, array.dtype)
    untouched = np.ones(y.shape[-2:], bool)
    for rows in down:
        for columns in across:
            x = array[..., rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)]
            inside = ((rows >= 0) & (rows < height))[:, None] & (columns >= 0) & (columns < width)
            if kind == "avg":
                y = y + np.where(inside, x, 0)
                continue
            if rule == "torch":
                wins = (x > y) | np.isnan(x)  # NaN stays; of equals (0.0 and -0.0) the first stays
            elif rule == "paddle":
                wins = ~(y > x)  # NaN stays where it comes last; of equals the last stays
            else:
                wins = (x > y) | (dilated & untouched)  # with dilation the first pixel counts, whatever it is
            y = np.where(inside & wins, x, y)
            untouched = untouched & ~inside
    if kind == "max":
        return y
    areas = np.multiply.outer(divisors(height, vertical, rule), divisors(width, horizontal, rule))
    with np.errstate(invalid="ignore"):  # Paddle's 0 / 0
        return y / areas.astype(array.dtype)


def divisors(size: int, pool: Pool, rule: str) -> NDArray[np.int_]:
    """Return what an average divides the sum of every window by, along one axis; errors as `output_size`.

    Returns:
        A number a window; under "paddle" 0 or negative where the window is wholly outside.
    """
    padding = _axis(pool).padding if pool.include_pad else 0
    low, high = -padding, size + padding
    places = _places(size, pool, rule)
    if rule == "paddle":  # a signed length
        return np.minimum(places[-1] + 1, high) - np.maximum(places[0], low)
    return np.maximum(((places >= low) & (places < high)).sum(0), 1)  # with dilation a window may hold no pixel: 0 / 1


def sizes(size: int, pool: Pool) -> dict[str, dict[str, int | str]]:
    """Return the number of windows along one axis by rounding and rule: `sizes(112, pool)["ceil"]["paddle"]`.

    Returns:
        "floor" and "ceil", each with every rule of RULES; where that framework raises, the reason.
    """
    table: dict[str, dict[str, int | str]] = {"floor": {}, "ceil": {}}
    for mode, row in table.items():
        rounded = replace(pool, ceil_mode=mode == "ceil")
        for rule in RULES:
            try:
                row[rule] = output_size(size, rounded, rule)
            except ParityError as error:
                row[rule] = str(error)
    return table


def differs(size: int, pool: Pool) -> str | None:
    """Return in one line how the rules differ along one axis, or None where all place as many windows or all refuse."""
    sizes_by_rule = sizes(size, pool)["ceil" if pool.ceil_mode else "floor"]
    counts = {rule: count if isinstance(count, int) else "refused" for rule, count in sizes_by_rule.items()}
    if len(set(counts.values())) == 1:
        return None
    return "windows: " + ", ".join(f"{rule} {count}" for rule, count in counts.items())


def rounds(size: int, pool: Pool, rule: str) -> bool:
    """Return whether floor and ceil differ along one axis under a rule: in number, or one of them is refused."""
    _check_choice("rule", rule, RULES)
    floor, ceil = (row[rule] if isinstance(row[rule], int) else None for row in sizes(size, pool).values())
    return floor != ceil


def parting(pool: Pool) -> tuple[int, ...]:
    """Return the lengths, modulo the stride, at which Paddle places one window more than torch and ONNX Runtime.

    Returns:
        Sorted residues; empty if there are none, as without `ceil_mode` or for stride <= kernel - padding. They hold
        where the window fits (length + 2 padding >= kernel) and no framework refuses; `differs` answers everywhere.

    Source: with r = (length + 2 padding - kernel) mod stride, Paddle's last window starts in the padding on the right
    iff r > 0 and stride - r >= kernel - padding.
    """
    axis = _axis(pool)
    if not pool.ceil_mode or axis.dilation != 1:
        return ()
    remainders = [r for r in range(1, axis.stride) if axis.stride - r >= axis.kernel - axis.padding]
    return tuple(sorted((r + axis.kernel - 2 * axis.padding) % axis.stride for r in remainders))


def draw(size: int, pool: Pool) -> str:
    """Return the windows along one axis as text, a line each, with the rules that place it where not all do.

    Returns:
        Lines without a last newline; "" where no rule places one. The scale: pixels by their last digit, `p` padding,
        `~` beyond it. A window: `#` a pixel, `-` a position without one. Of many windows, the first and the last four.
    """
    sizes_by_rule = sizes(size, pool)["ceil" if pool.ceil_mode else "floor"]
    counts = {rule: count for rule, count in sizes_by_rule.items() if isinstance(count, int)}
    if not any(counts.values()):
        return ""
    placed = list(enumerate(windows(size, pool, max(counts, key=counts.__getitem__))))  # the others' are its first ones
    first, end = placed[0][1].start, max(size + _axis(pool).padding, placed[-1][1].stop)
    blocks = [range(first, end)]
    if len(placed) > 2 * _ENDS:
        placed = placed[:_ENDS] + placed[-_ENDS:]
        stop, start = placed[_ENDS - 1][1].stop, placed[_ENDS][1].start
        blocks = [range(first, stop), range(start, end)] if stop < start else blocks

    def line(sign: Callable[[int], str]) -> str:
        return " .. ".join("".join(map(sign, block)) for block in blocks)

    def scale(place: int) -> str:
        return str(place % 10) if 0 <= place < size else "p" if place < size + _axis(pool).padding else "~"

    lines = [" " * 16 + line(scale)]
    for i, window in placed:
        drawn = line(lambda place, window=window: " " if place not in window else "#" if 0 <= place < size else "-")
        placing = [rule for rule, count in counts.items() if i < count]
        note = f"  {', '.join(placing)} only" if len(placing) < len(counts) else ""
        lines.append(f"{i:>4} {window[0]:>4}..{window[-1]:<4} {drawn}{note}".rstrip())
    return "\n".join(lines)


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ParityError(f"pool: unknown {what} {value!r}; known: {', '.join(choices)}")


def _axis(pool: Pool) -> _Axis:
    numbers = [number for name in _LEAST if not isinstance(number := getattr(pool, name), tuple)]
    if len(numbers) < len(_LEAST):
        raise ParityError(f"pool of {pool} has two axes: take one of its `axes`")
    return _Axis(*map(int, numbers))


def _places(size: int, pool: Pool, rule: str) -> NDArray[np.int_]:
    """Return the position of every tap of every window along one axis, kernel x windows."""
    axis = _axis(pool)
    starts = np.arange(output_size(size, pool, rule)) * axis.stride - axis.padding
    return np.arange(axis.kernel)[:, None] * axis.dilation + starts
