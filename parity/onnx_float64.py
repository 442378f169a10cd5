"""What an ONNX file means: its graph evaluated in float64, node by node.

ONNX Runtime's CPU provider has float64 kernels for most operators, but not for convolutions, average pools and Resize;
those are below, in numpy. What neither has is left to onnx.reference, which is slow and, for some operators, wrong
(docs/differences.md). A mistake here cannot pass for parity: it would show as noise of the runtime's float32 run, which
is held against this one.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from parity.errors import ParityError
from parity.runtime import open_session, reason
from parity.state import Array
from parity.trace import distance

# Constants that ONNX keeps as float32 and that mean a number float32 has not. Evaluated in float64 they are that
# number: what is nearer to it than the 4e-7 that Paddle's 0.1666667 is off by (float32's own rounding is less).
_MEANT = {
    ("HardSigmoid", "alpha"): 1 / 6,
    ("Selu", "alpha"): 1.6732632423543772848170429916717,
    ("Selu", "gamma"): 1.0507009873554804934193349852946,
}
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}


def evaluate(
    model: onnx.ModelProto, inputs: Mapping[str, Array], nudge: Nudge | None = None
) -> Iterator[tuple[onnx.NodeProto, dict[str, Array]]]:
    """Yield each node of the graph, in order, with its outputs by name, all floating tensors in float64.

    Values are let go after their last use. Weights are widened when they are needed, and not kept.

    Args:
        model: With its tensors.
        inputs: By name.
        nudge: What to do to constants; they are taken as they are without.

    Raises:
        ParityError: If a node cannot be evaluated in float64.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    last = {name: i for i, node in enumerate(graph.node) for name in needs(node)}
    values: dict[str, Array] = {name: _wide(np.asarray(array)) for name, array in inputs.items()}
    for i, node in enumerate(graph.node):
        # Resize's region and scales are float32 whatever it resizes.
        narrow = set(node.input[1:3]) if node.op_type == "Resize" else set[str]()
        given = {}
        if nudge is not None:
            node = nudge.node(node)
        for name in needs(node):
            array = values[name] if name in values else numpy_helper.to_array(weights[name])
            if nudge is not None and name in weights:
                array = nudge.array(name, array)
            given[name] = array.astype(np.float32) if name in narrow and array.dtype.kind == "f" else _wide(array)
        outputs = dict(zip(node.output, _run(model, node, given), strict=False))
        yield node, outputs
        values.update(outputs)
        for name in [name for name in given if last[name] == i]:
            _ = values.pop(name, None)


class Nudge:
    """Moves a file's constants by one unit in the last place of float32, up or down: what rounding them may have done.

    Left alone are numbers with room in their last 12 bits, as 0.5 and 255: those were written as they were meant.

    Args:
        exact: Names of tensors that are what they are: weights.
    """

    def __init__(self, exact: Container[str]):
        self._exact, self._random = exact, np.random.default_rng(0)

    @staticmethod
    def allowance(moved: Array, made: Array) -> float:
        """Return the distance that rounding the constants explains, from that of a tensor made of moved ones.

        Times 4: a unit is twice what rounding may do, but one draw of signs is not the worst. Where a tensor becomes
        another shape or infinite, moving its constants tells nothing, and nothing is allowed.
        """
        gap = distance(moved, made).relative
        return 4 * gap if math.isfinite(gap) else 0.0

    def array(self, name: str, array: Array) -> Array:
        """Return a tensor's numbers, moved."""
        if name in self._exact or array.dtype.kind != "f":
            return array
        single = np.array(array, np.float32, order="C")
        rounded = single.view(np.int32) & 0xFFF != 0
        step = self._random.choice([-(2.0**-23), 2.0**-23], array.shape)
        return array.astype(np.float64) * np.where(rounded, 1 + step, 1.0)

    def node(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """Return a node with its own numbers moved."""
        moved = onnx.NodeProto()
        moved.CopyFrom(node)
        for attribute in moved.attribute:
            if _meant(node.op_type, attribute.name, attribute.f) != attribute.f:
                continue  # taken for what it means, it is exact
            if attribute.type == onnx.AttributeProto.FLOAT:
                attribute.f = float(self.array("", np.array(attribute.f, np.float32)))
            elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type in _FLOATS:
                name = node.output[0] if node.op_type == "Constant" else ""
                array = self.array(name, numpy_helper.to_array(attribute.t))
                attribute.t.CopyFrom(numpy_helper.from_array(array, attribute.t.name))
        return moved


def needs(node: onnx.NodeProto) -> list[str]:
    """Return the names of what a node reads, its branches' outer values included, each once."""
    names = dict.fromkeys(name for name in node.input if name)
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            inside = {name for inner in attribute.g.node for name in inner.output}
            inside |= {tensor.name for tensor in (*attribute.g.initializer, *attribute.g.input)}
            wanted = [name for inner in attribute.g.node for name in needs(inner)]
            wanted += [output.name for output in attribute.g.output]
            names |= dict.fromkeys(name for name in wanted if name not in inside)
    return list(names)


def _meant(op_type: str, name: str, value: float) -> float:
    """Return the number that an attribute stands for."""
    meant = _MEANT.get((op_type, name), value)
    return meant if abs(value - meant) < 4e-7 * abs(meant) else value


def _wide(array: Array) -> Array:
    floating = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    return array.astype(np.float64, copy=False) if floating else array


def _run(model: onnx.ModelProto, node: onnx.NodeProto, given: Mapping[str, Array]) -> list[Array]:
    settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type == "Constant" and "value" in settings:
        return [_wide(numpy_helper.to_array(settings["value"]))]
    kernel = _KERNELS.get(node.op_type)
    arrays = [given[name] if name else None for name in node.input]
    if node.op_type in _POINTWISE and arrays[0] is not None:
        return [
            _POINTWISE[node.op_type](
                arrays[0], lambda name, default: _meant(node.op_type, name, settings.get(name, default))
            )
        ]
    if kernel is not None and arrays[0] is not None and arrays[0].ndim == 4:
        with contextlib.suppress(NotImplementedError):
            return [kernel(*arrays, settings)]
    alone = _alone(model, node, given)
    try:
        return open_session(alone.SerializeToString(), node.op_type, level="disable").run(None, dict(given))
    except Exception:  # no float64 kernel, or none of ONNX Runtime's types fits
        try:
            return [np.asarray(array) for array in ReferenceEvaluator(alone).run(None, dict(given))]
        except Exception as error:
            raise ParityError(
                f"node {node.name or node.output[0]!r} ({node.op_type}) cannot be evaluated in float64: {reason(error)}"
            ) from error


def _alone(model: onnx.ModelProto, node: onnx.NodeProto, given: Mapping[str, Array]) -> onnx.ModelProto:
    """Return a model of this node alone, its constants in float64."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    _widen(copy)
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([copy], "node", inputs, outputs)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _widen(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type in _FLOATS:
            attribute.t.CopyFrom(numpy_helper.from_array(_wide(numpy_helper.to_array(attribute.t)), attribute.t.name))
        elif attribute.name in ("to", "dtype") and attribute.i in _FLOATS:
            attribute.i = TensorProto.DOUBLE
        elif attribute.type == onnx.AttributeProto.GRAPH:
            for inner in attribute.g.node:
                _widen(inner)
            for tensor in attribute.g.initializer:
                if tensor.data_type in _FLOATS:
                    tensor.CopyFrom(numpy_helper.from_array(_wide(numpy_helper.to_array(tensor)), tensor.name))


def _frame(
    size: tuple[int, ...], kernel: list[int], settings: Mapping[str, Any]
) -> tuple[list[tuple[int, int]], list[int], list[int], list[int]]:
    """Return, for both axes, the padding before and after, the strides, the dilations, and the number of windows.

    Windows under ceil_mode are counted as torch and ONNX Runtime do: none starts in the padding behind the input.
    """
    strides, dilations = (list(settings.get(word, [1, 1])) for word in ("strides", "dilations"))
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    auto = settings.get("auto_pad", b"NOTSET").decode()
    if auto.startswith("SAME"):
        total = [
            max(0, (math.ceil(n / s) - 1) * s + r - n) for n, s, r in zip(size, strides, reach, strict=True)
        ]  # the odd one goes behind the input, or before it
        pads = [(t // 2, t - t // 2) if auto == "SAME_UPPER" else (t - t // 2, t // 2) for t in total]
    else:
        flat = list(settings.get("pads", [0, 0, 0, 0]))
        pads = list(zip(flat[:2], flat[2:], strict=True))
    counts = []
    for n, (before, after), s, r in zip(size, pads, strides, reach, strict=True):
        room = n + before + after - r
        count = room // s + 1
        if settings.get("ceil_mode") and room % s and count * s < n + before:
            count += 1
        counts.append(count)
    return pads, strides, dilations, counts


def _windows(
    x: Array, kernel: list[int], frame: tuple[list[tuple[int, int]], list[int], list[int], list[int]]
) -> Array:
    """Return x's windows, (..., rows, columns, kernel rows, kernel columns), zeros around it."""
    pads, strides, dilations, counts = frame
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    extra = [
        (before, max(after, (count - 1) * s + r - n - before))
        for n, (before, after), count, s, r in zip(x.shape[-2:], pads, counts, strides, reach, strict=True)
    ]
    x = np.pad(x, [(0, 0)] * (x.ndim - 2) + extra)
    views = sliding_window_view(x, reach, axis=(-2, -1))  # pyright: ignore[reportCallIssue, reportArgumentType]
    rows, columns = ((count - 1) * s + 1 for count, s in zip(counts, strides, strict=True))
    return views[..., : rows : strides[0], : columns : strides[1], :: dilations[0], :: dilations[1]]


def _conv(x: Array, w: Array, *more: Any) -> Array:
    *bias, settings = more
    group = settings.get("group", 1)
    kernel = list(w.shape[2:])
    frame = _frame(x.shape[2:], kernel, settings)
    y = np.empty((x.shape[0], w.shape[0], *frame[3]))
    for n in range(x.shape[0]):
        for inner, weight, outer in zip(np.split(x[n], group), np.split(w, group), np.split(y[n], group), strict=True):
            outer[...] = np.tensordot(weight, _windows(inner, kernel, frame), ([1, 2, 3], [0, 3, 4]))
    if bias and bias[0] is not None:
        y += bias[0][:, np.newaxis, np.newaxis]
    return y


def _average_pool(x: Array, settings: Mapping[str, Any]) -> Array:
    kernel = list(settings["kernel_shape"])
    frame = _frame(x.shape[2:], kernel, settings)
    pads, strides, dilations, counts = frame
    total = _windows(x, kernel, frame).sum(axis=(-2, -1))
    ones = np.ones(x.shape[2:])
    if settings.get("count_include_pad"):  # the windows' overhang under ceil_mode counts for nothing even so
        frame = [(0, 0), (0, 0)], strides, dilations, counts
        ones = np.pad(ones, pads, constant_values=1.0)
    return total / _windows(ones, kernel, frame).sum(axis=(-2, -1))


def _resize(x: Array, *more: Any) -> Array:
    """Return x at another size: along each axis an interpolation matrix, out x in."""
    *inputs, settings = more
    plain = settings.get("keep_aspect_ratio_policy", b"stretch") == b"stretch" and len(inputs) > 1
    if not plain or settings.get("antialias") or settings.get("exclude_outside"):
        raise NotImplementedError
    scales, sizes = (inputs[i] if len(inputs) > i and inputs[i] is not None else np.empty(0) for i in (1, 2))
    for i, axis in enumerate(settings.get("axes", range(x.ndim))):
        n = x.shape[axis]
        m = int(sizes[i]) if sizes.size else math.floor(n * float(scales[i]))
        scale = m / n if sizes.size else float(scales[i])
        if (n, scale) != (m, 1.0):
            matrix = _interpolation(n, m, scale, settings)
            x = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    return np.ascontiguousarray(x)


def _interpolation(n: int, m: int, scale: float, settings: Mapping[str, Any]) -> Array:
    """Return what each of m elements takes of each of n, beyond whose ends the last one goes on."""
    o = np.arange(m)
    way = settings.get("coordinate_transformation_mode", b"half_pixel")
    known = {
        b"half_pixel": (o + 0.5) / scale - 0.5,
        b"pytorch_half_pixel": (o + 0.5) / scale - 0.5 if m > 1 else o * 0.0,
        b"align_corners": o * (n - 1) / max(m - 1, 1),
        b"asymmetric": o / scale,
    }
    if way not in known:
        raise NotImplementedError
    places = known[way]
    mode, below = settings.get("mode", b"nearest"), np.floor(places)
    t = places - below
    if mode == b"nearest":
        rule = settings.get("nearest_mode", b"round_prefer_floor")
        up = {b"floor": t < 0, b"ceil": t > 0, b"round_prefer_floor": t > 0.5, b"round_prefer_ceil": t >= 0.5}[rule]
        taps = {0: np.where(up, 0.0, 1.0), 1: np.where(up, 1.0, 0.0)}
    elif mode == b"linear":
        taps = {0: 1 - t, 1: t}
    else:  # Keys, Cubic Convolution Interpolation for Digital Image Processing, IEEE Trans. ASSP 29(6), 1981
        a = settings.get("cubic_coeff_a", -0.75)
        near, far = lambda d: ((a + 2) * d - (a + 3)) * d**2 + 1, lambda d: ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        taps = {-1: far(1 + t), 0: near(t), 1: near(1 - t), 2: far(2 - t)}
    matrix = np.zeros((m, n))
    for offset, weights in taps.items():
        np.add.at(matrix, (o, np.clip(below.astype(int) + offset, 0, n - 1)), weights)
    return matrix


_KERNELS: dict[str, Callable[..., Array]] = {
    "Conv": _conv,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda x, _: x.mean(axis=(2, 3), keepdims=True),
    "GlobalMaxPool": lambda x, _: x.max(axis=(2, 3), keepdims=True),
    "Resize": _resize,
}


def _hard_sigmoid(x: Array, setting: Callable[[str, float], float]) -> Array:
    return np.clip(setting("alpha", 0.2) * x + setting("beta", 0.5), 0, 1)


def _selu(x: Array, setting: Callable[[str, float], float]) -> Array:
    alpha, gamma = (setting(name, _MEANT["Selu", name]) for name in ("alpha", "gamma"))
    return gamma * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


# What the runtime's own float64 computes with constants of float32.
_POINTWISE: dict[str, Callable[[Array, Callable[[str, float], float]], Array]] = {
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda x, _: x * np.clip(x / 6 + 0.5, 0, 1),
    "Selu": _selu,
}
