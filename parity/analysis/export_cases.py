"""What is known of a layer that is to be exported, and the conditions by which the table of exporter faults picks.

Each condition returns the setting that gives the layer away, as text ("" where there is nothing to show), or None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from parity.analysis.conditions import Condition, Config

CIRCULAR_OPSET = 19  # the first whose Pad wraps around


@dataclass(frozen=True)
class Case:
    """One layer that is to be exported; None for what is not known before, which may then be anything.

    Attributes:
        kind: In neutral words.
        config: Its settings, in neutral words.
        size: (height, width) of the map it gets.
        opset: Version of ONNX's operators.
        dynamic_size: Whether the image's height and width stay open.
        training: Whether the exporter sees it in training mode.
    """

    kind: str
    config: Config
    size: tuple[int, ...] | None = None
    opset: int | None = None
    dynamic_size: bool | None = None
    training: bool = False


def by(condition: Condition) -> Callable[[Case], str | None]:
    """Return a condition on a layer's settings as one on the whole case."""
    return lambda case: condition(case.config)


def never(case: Case) -> None:
    """Hold for no layer: only the file that is written shows it."""
    del case


def constant_padding(config: Config) -> str | None:
    """Return the value of constant padding."""
    return None if config.get("mode", "constant") != "constant" else f"value={config.get('value', 0)}"


def bounds(config: Config) -> str | None:
    """Return the bounds of Hardtanh, if they are others than -1 and 1."""
    low, high = config["min_val"], config["max_val"]
    return f"min_val={low}, max_val={high}" if (low, high) != (-1, 1) else None


def softplus_set(config: Config) -> str | None:
    """Return the settings of Softplus, if they are others than beta 1 and threshold 20."""
    beta, threshold = config.get("beta", 1), config.get("threshold", 20)
    return f"beta={beta}, threshold={threshold}" if (beta, threshold) != (1, 20) else None


def several_axes(config: Config) -> str | None:
    """Return what a LayerNorm is over, if that is more than the last axis."""
    shape = config["normalized_shape"]
    return f"normalized_shape={shape}" if isinstance(shape, list) and len(shape) > 1 else None


def circular(case: Case) -> str | None:
    """Return how a layer pads, if it pads around and the opset has no such padding."""
    word = "padding_mode" if case.kind == "Conv2d" else "mode"
    around = case.kind == "CircularPad2d" or case.config.get(word) == "circular"
    return f"{word}=circular" if around and (case.opset is None or case.opset < CIRCULAR_OPSET) else None


def pooled(case: Case, wrong: Callable[[int, int], bool]) -> str | None:
    """Return what an adaptive pool is asked for, if along an axis `wrong` says so of (size, wanted size)."""
    wanted = case.config["output_size"]
    axes = [(i, out) for i, out in enumerate(wanted) if out not in (1, None)]
    if not axes or (case.size is not None and not any(wrong(case.size[i], out) for i, out in axes)):
        return None
    return f"{'' if case.size is None else f'from {list(case.size)}, '}output_size={wanted}"


def uneven(size: int, wanted: int) -> bool:
    """Return whether adaptive pooling has windows of several sizes, or not one stride apart."""
    stride = size // wanted
    kernel = size - (wanted - 1) * stride
    return any(
        (i * size // wanted, -(-(i + 1) * size // wanted)) != (i * stride, i * stride + kernel) for i in range(wanted)
    )


def open_size(case: Case) -> str | None:
    """Return what an adaptive pool is asked for where height and width stay open."""
    wanted = pooled(Case(case.kind, case.config), uneven)
    return f"--dynamic-size, {wanted}" if wanted and case.dynamic_size is not False else None
