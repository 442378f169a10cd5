"""The known facts of a layer before its export, and the conditions of the table of exporter faults.

Each condition returns the setting that matches, as text ("" where there is nothing to show), or None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from parity.analysis.conditions import Condition, Config

CIRCULAR_OPSET = 19  # the first whose Pad has circular padding


@dataclass(frozen=True)
class Case:
    """One layer before its export; None for a fact that is not known, which may then have any value.

    Attributes:
        kind: Its neutral kind.
        config: Its settings, in neutral words.
        size: (height, width) of its input map.
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
    """Return a condition on a layer's settings as a condition on the case."""
    return lambda case: condition(case.config)


def never(case: Case) -> None:
    """Match no layer: only the exported file shows the fault."""
    del case


def constant_padding(config: Config) -> str | None:
    """Return the value of constant padding."""
    return None if config.get("mode", "constant") != "constant" else f"value={config.get('value', 0)}"


def bounds(config: Config) -> str | None:
    """Return the bounds of Hardtanh, if they are not -1 and 1."""
    low, high = config["min_val"], config["max_val"]
    return f"min_val={low}, max_val={high}" if (low, high) != (-1, 1) else None


def softplus_set(config: Config) -> str | None:
    """Return the settings of Softplus, if they are not beta 1 and threshold 20."""
    beta, threshold = config.get("beta", 1), config.get("threshold", 20)
    return f"beta={beta}, threshold={threshold}" if (beta, threshold) != (1, 20) else None


def several_axes(config: Config) -> str | None:
    """Return the axes of a LayerNorm, if there are more than the last one."""
    shape = config["normalized_shape"]
    return f"normalized_shape={shape}" if isinstance(shape, list) and len(shape) > 1 else None


def circular(case: Case) -> str | None:
    """Return the padding mode, if it is circular and the opset has no circular padding."""
    word = "padding_mode" if case.kind == "Conv2d" else "mode"
    wraps = case.kind == "CircularPad2d" or case.config.get(word) == "circular"
    return f"{word}=circular" if wraps and (case.opset is None or case.opset < CIRCULAR_OPSET) else None


def pooled(case: Case, faulty: Callable[[int, int], bool]) -> str | None:
    """Return the output size of an adaptive pool, if `faulty` of (input size, output size) is true along an axis."""
    output_size = case.config["output_size"]
    axes = [(i, out) for i, out in enumerate(output_size) if out not in (1, None)]
    if not axes or (case.size is not None and not any(faulty(case.size[i], out) for i, out in axes)):
        return None
    return f"{'' if case.size is None else f'from {list(case.size)}, '}output_size={output_size}"


def uneven(size: int, count: int) -> bool:
    """Return whether the `count` windows of adaptive pooling have several sizes or several strides."""
    stride = size // count
    kernel = size - (count - 1) * stride
    return any(
        (i * size // count, -(-(i + 1) * size // count)) != (i * stride, i * stride + kernel) for i in range(count)
    )


def open_size(case: Case) -> str | None:
    """Return the output size of an adaptive pool where height and width stay open."""
    setting = pooled(Case(case.kind, case.config), uneven)
    return f"--dynamic-size, {setting}" if setting and case.dynamic_size is not False else None
