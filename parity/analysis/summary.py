"""Summarise a network from its outline: arithmetic on plain data, without any framework.

A receptive field is the extent, along each axis, of the input pixels that an output element can depend on. It includes
padding, so it may exceed the image.

Source: Araujo et al., Computing Receptive Fields of Convolutional Neural Networks, https://distill.pub/2019/
computing-receptive-fields (equation 2; the union over paths); activations: Radosavovic et al., Designing Network Design
Spaces, https://arxiv.org/abs/2003.13678 (section 2).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from parity.errors import ParityError
from parity.json_codec import encode
from parity.layers import KINDS, known

if TYPE_CHECKING:  # --help need not wait for numpy
    from parity.analysis.outline import LayerCall, Outline, Tensor

BYTES = 4  # of a float32, the dtype of activations


class Axis(NamedTuple):
    """The receptive field of a map's elements along one axis, in pixels of the network's input.

    Attributes:
        first: First pixel of the field of element 0; negative in the padding.
        last: Last pixel of the field of element 0.
        jump: Pixels between the fields of an element and the next one.
        length: Number of elements of the map.
    """

    first: int
    last: int
    jump: int
    length: int

    def slid(self, reach: int, stride: int, before: int, length: int) -> Axis:
        """Return the field of windows of `reach` elements; the first starts `before` elements ahead of the map."""
        last = self.last + (reach - 1 - before) * self.jump
        return Axis(self.first - before * self.jump, last, self.jump * stride, length)

    def divided(self, length: int) -> Axis:
        """Return the field of `length` windows that divide the map evenly, as in adaptive pooling; one covers all."""
        widest = max(-(-(i + 1) * self.length // length) - i * self.length // length for i in range(length))
        return Axis(self.first, self.last + (widest - 1) * self.jump, self.jump * (self.length // length), length)


Field = tuple[Axis, Axis]


@dataclass(frozen=True)
class LayerRow:
    """A row for a layer call, or for a stage: all calls below one path.

    Attributes:
        layer: Dotted path; "" is the network itself.
        kind: Neutral kind, "Conv2d"; for a layer of the user, its class.
        kernel: (M, C, H, W) of a convolution: filters, channels of each, height, width; (M, C) of a linear layer;
            (H, W) of pooling.
        padding: In elements along each axis, or the framework's name of it; empty for a layer without.
        stride: In elements along each axis.
        dilation: In elements along each axis.
        output: Shape of its first output; empty if it was not called.
        parameters: Trained numbers; those of a layer that is called more than once count once.
        macs: Multiplications of convolutions and linear layers; None for a layer whose arithmetic is not known.
        activations: Elements of the outputs of convolutions.
        receptive_field: (H, W) in pixels of the input; None if not known.
    """

    layer: str
    kind: str
    kernel: tuple[int, ...]
    padding: tuple[int, ...] | str
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    output: tuple[int, ...]
    parameters: int
    macs: int | None
    activations: int
    receptive_field: tuple[int, int] | None


@dataclass(frozen=True)
class Summary:
    """A network's rows and their totals, for the whole batch.

    Attributes:
        model: The requested model.
        framework: The framework that ran it.
        input: Shape, (N, C, H, W).
        output: Shape of its first output.
        rows: One a layer call, or one a stage.
        parameters: Trained numbers.
        macs: Multiplications of convolutions and linear layers, without those of `uncounted`.
        activations: Elements of the outputs of convolutions.
        uncounted: Paths of layers with parameters whose MACs are not known.
    """

    model: str
    framework: str
    input: tuple[int, ...]
    output: tuple[int, ...]
    rows: tuple[LayerRow, ...]
    parameters: int
    macs: int
    activations: int
    uncounted: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the summary for JSON, schema 1 (docs/contract.md)."""
        return {"schema": 1, **encode(self), "activation_bytes": BYTES * self.activations}


def summarise(model: str, framework: str, outline: Outline, depth: int | None = None) -> Summary:
    """Return the summary of an outline (see `outline`): a row for each layer call, or for each path of `depth` parts.

    Raises:
        ParityError: If no layer was called.
    """
    tensors, calls = outline.tensors, outline.calls
    if not calls:
        raise ParityError(f"{model}: its forward calls no layer: there is nothing to summarise.")
    fields = _fields(tensors, calls)
    named = [(call, _row(call, tensors, fields)) for call in calls]
    rows = [row for call, row in named if call.leaf or call.parameters]
    for layer in outline.uncalled:
        rows.append(LayerRow(layer.layer, layer.kind, (), (), (), (), (), layer.parameters, 0, 0, None))
    return Summary(
        model,
        framework,
        tensors[0].shape,
        named[-1][1].output,
        tuple(rows if depth is None else _stages(rows, [row for _, row in named], depth)),
        sum(row.parameters for row in rows),
        sum(row.macs or 0 for row in rows),
        sum(row.activations for row in rows),
        tuple(dict.fromkeys(row.layer for row in rows if row.macs is None)),
    )


def _stages(rows: Sequence[LayerRow], calls: Sequence[LayerRow], depth: int) -> Iterable[LayerRow]:
    """Yield a row for each path of `depth` parts, in the order of their first calls."""
    below: dict[str, list[LayerRow]] = {}
    for row in rows:
        below.setdefault(".".join(row.layer.split(".")[:depth]), []).append(row)
    last = {row.layer: row for row in calls}
    for path, group in below.items():
        stage = last.get(path, group[-1])
        macs = [row.macs for row in group]
        yield replace(
            stage,
            layer=path,
            parameters=sum(row.parameters for row in group),
            macs=None if None in macs else sum(each or 0 for each in macs),
            activations=sum(row.activations for row in group),
        )


def _row(call: LayerCall, tensors: Sequence[Tensor], fields: Mapping[int, Field | None]) -> LayerRow:
    config = call.config
    before, after = (tensors[numbers[0]].shape if numbers else () for numbers in (call.inputs, call.outputs))
    kernel = _kernel(call.kind, config)
    convolves = "in_channels" in config and "kernel_size" in config
    macs: int | None = 0
    if convolves:
        # Each output element is a sum over one filter; transposed: each input element is multiplied by one filter.
        macs = math.prod(before if "Transpose" in call.kind else after) * math.prod(kernel[1:])
    elif "in_features" in config:
        macs = math.prod(after) * config["in_features"]
    elif call.leaf and call.parameters and call.kind not in KINDS:
        macs = None
    field = fields.get(call.outputs[0]) if call.outputs else None
    padding = config.get("padding", ())
    return LayerRow(
        call.layer,
        call.kind,
        kernel,
        padding if isinstance(padding, str) else tuple(padding),
        tuple(config.get("stride", ())),
        tuple(config.get("dilation", ())),
        after,
        call.parameters,
        macs,
        math.prod(after) if convolves else 0,
        None if field is None else (_extent(field[0]), _extent(field[1])),
    )


def _extent(axis: Axis) -> int:
    return axis.last - axis.first + 1


def _kernel(kind: str, config: Mapping[str, Any]) -> tuple[int, ...]:
    window = tuple(config.get("kernel_size", ()))
    if "in_features" in config:
        return config["out_features"], config["in_features"]
    if "in_channels" not in config:
        return window
    # A filter of a transposed convolution turns one input channel into many.
    outputs, inputs = config["out_channels"], config["in_channels"]
    filters, channels = (inputs, outputs) if "Transpose" in kind else (outputs, inputs)
    return (filters, channels // config["groups"], *window)


def _fields(tensors: Sequence[Tensor], calls: Sequence[LayerCall]) -> dict[int, Field | None]:
    """Return the receptive field of each tensor's elements, None where it is not known."""
    makers = {number: call for call in reversed(calls) if call.leaf for number in call.outputs}
    height, width = tensors[0].shape[2:]
    fields: dict[int, Field | None] = {0: (Axis(0, 0, 1, height), Axis(0, 0, 1, width))}
    for number, tensor in list(enumerate(tensors))[1:]:
        call = makers.get(number)
        if tensor.sources or call is None:
            fields[number] = _joined(tensor, tensors, fields)
        else:
            fields[number] = _through(call, tensors, fields)
    return fields


def _through(call: LayerCall, tensors: Sequence[Tensor], fields: Mapping[int, Field | None]) -> Field | None:
    """Return the receptive field of a leaf layer's output."""
    kind, config = call.kind, call.config
    field = fields[call.inputs[0]] if len(call.inputs) == 1 else None
    if field is None:
        return None
    before, after = tensors[call.inputs[0]].shape, tensors[call.outputs[0]].shape
    if known(kind).pointwise or kind == "Flatten":
        return field
    if kind == "Linear":
        return _all_of(field) if len(before) == 2 else None
    if len(before) != 4 or len(after) != 4:
        return None
    if "kernel_size" in config:
        return None if "Transpose" in kind else _slid(field, config, after[2:])
    if (kind.startswith("Adaptive") and all(map(int.__ge__, before[2:], after[2:]))) or after[2:] == (1, 1):
        return field[0].divided(after[2]), field[1].divided(after[3])
    return None


def _all_of(field: Field) -> Field:
    return field[0].divided(1), field[1].divided(1)


def _slid(field: Field, config: Mapping[str, Any], after: Sequence[int]) -> Field:
    padding, axes = config["padding"], []
    for i, axis in enumerate(field):
        stride = config["stride"][i]
        reach = config.get("dilation", [1, 1])[i] * (config["kernel_size"][i] - 1) + 1
        if isinstance(padding, str):  # "same" adds the missing elements at both ends; "valid" has none
            ahead = max((after[i] - 1) * stride + reach - axis.length, 0) // 2
        else:
            ahead = padding[i * len(padding) // 2]  # two numbers, or four: before and after each axis
        axes.append(axis.slid(reach, stride, ahead, after[i]))
    return axes[0], axes[1]


def _joined(tensor: Tensor, tensors: Sequence[Tensor], fields: Mapping[int, Field | None]) -> Field | None:
    """Return the field of a tensor that code computed from its sources: the union of all sources that fit it.

    A sum or a concatenation has the map of its terms; a factor may have one number for each channel.
    """
    shape, size = tensor.shape, math.prod(tensor.shape[1:])
    sources = [(tensors[source].shape, fields.get(source)) for source in tensor.sources]
    if len(shape) == 4:
        alike = [field for each, field in sources if each[2:] == shape[2:]]
        single = [field for each, field in sources if each[2:] == (1, 1) != shape[2:]]
    else:
        alike, single = [field for each, field in sources if math.prod(each[1:]) == size], []
    if alike:
        return _union(alike, single)
    # At most all of all sources; the field of a map of another size is not known.
    return _union([field and _all_of(field) for _, field in sources]) if shape[2:] in ((), (1, 1)) else None


def _union(alike: Sequence[Field | None], single: Sequence[Field | None] = ()) -> Field | None:
    known = [field for field in alike if field is not None]
    if not known or len(known) < len(alike) or None in single:
        return None
    axes = []
    for i in range(2):
        jumps = {field[i].jump for field in known if field[i].length > 1} or {known[0][i].jump}
        lengths = {field[i].length for field in known}
        if len(jumps) > 1 or len(lengths) > 1:
            return None
        all_ = [field[i] for field in (*known, *single) if field is not None]
        first, last = min(axis.first for axis in all_), max(axis.last for axis in all_)
        axes.append(Axis(first, last, *jumps, *lengths))
    return axes[0], axes[1]
