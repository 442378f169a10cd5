"""The one table of framework functions: what people write as a function is recorded, and judged, like a layer.

`F.relu(x)`, `x.mean((2, 3))` and `x + y` are calls of a run as a layer's are. Names and parameters are torch's; every
backend translates its functions into them. A function that is not in the table is recorded under its own name, without
settings.
"""

from __future__ import annotations

import ast
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Config = Mapping[str, Any]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MARK = "()"  # ends the name of a call of a function: "layer1.0.add()"
# They move numbers and compute none.
MOVES = _words(
    "slice chunk split tensor_split reshape permute flatten squeeze unsqueeze index_select narrow unbind select roll "
    "flip expand expand_as tile repeat gather index_sample unfold_view cat stack unflatten movedim moveaxis t"
)
# Its result is no data: code cuts sizes from it, and gives them to other functions.
SHAPE = "shape"
# They sum products along an axis of their operands; which one is not looked up.
CONTRACTIONS = _words("einsum addmm baddbmm scaled_dot_product_attention multi_head_attention_forward")


@dataclass(frozen=True)
class Function:
    """The facts about one function.

    Attributes:
        kind: Neutral kind, of `layers.KINDS` where a layer computes the same.
        parameters: Neutral name and default of each parameter behind the first, in torch's order.
        tensors: How many of its tensors are data; the others are weights, or a target's.
        commutes: Whether the order of its two operands has no effect.
    """

    kind: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tensors: int = 99
    commutes: bool = False


def _function(kind: str, parameters: str = "", tensors: int = 99, commutes: bool = False) -> Function:
    """Return a Function; `parameters` are words, "dim=-1", where one without a default is None."""
    words = (word.partition("=") for word in parameters.split())
    return Function(kind, {name: ast.literal_eval(value or "None") for name, _, value in words}, tensors, commutes)


_CONV = _function("Conv2d", "weight bias stride=1 padding=0 dilation=1 groups=1", tensors=1)
_TRANSPOSED = _function(
    "ConvTranspose2d", "weight bias stride=1 padding=0 output_padding=0 groups=1 dilation=1", tensors=1
)
_REDUCED = "dim keepdim=False"
_REDUCTION = "target weight size_average ignore_index=-100 reduce reduction='mean'"
_LOSS = "target size_average reduce reduction='mean'"
_OPERATORS = {
    "add": _function("Add", "other alpha=1", commutes=True),
    "mul": _function("Mul", "other", commutes=True),
    "sub": _function("Sub", "other alpha=1"),
    "rsub": _function("RSub", "other"),
    "div": _function("Div", "other"),
    "rdiv": _function("RDiv", "other"),
    "pow": _function("Pow", "other"),
    "matmul": _function("MatMul", "other"),
    "maximum": _function("Maximum", "other", commutes=True),
    "minimum": _function("Minimum", "other", commutes=True),
}
FUNCTIONS: dict[str, Function] = {
    **_OPERATORS,
    "conv1d": _function("Conv1d", "weight bias stride=1 padding=0 dilation=1 groups=1", tensors=1),
    "conv2d": _CONV,
    "conv3d": _function("Conv3d", "weight bias stride=1 padding=0 dilation=1 groups=1", tensors=1),
    "conv_transpose2d": _TRANSPOSED,
    "linear": _function("Linear", "weight bias", tensors=1),
    "batch_norm": _function(
        "BatchNorm2d", "running_mean running_var weight bias training=False momentum=0.1 eps=1e-5", tensors=1
    ),
    "instance_norm": _function(
        "InstanceNorm2d", "running_mean running_var weight bias use_input_stats=True momentum=0.1 eps=1e-5", tensors=1
    ),
    "layer_norm": _function("LayerNorm", "normalized_shape weight bias eps=1e-5", tensors=1),
    "group_norm": _function("GroupNorm", "num_groups weight bias eps=1e-5", tensors=1),
    "rms_norm": _function("RMSNorm", "normalized_shape weight eps", tensors=1),
    "local_response_norm": _function("LocalResponseNorm", "size alpha=1e-4 beta=0.75 k=1.0"),
    "normalize": _function("Normalize", "p=2.0 dim=1 eps=1e-12"),
    "max_pool2d": _function("MaxPool2d", "kernel_size stride padding=0 dilation=1 ceil_mode=False"),
    "avg_pool2d": _function(
        "AvgPool2d", "kernel_size stride padding=0 ceil_mode=False count_include_pad=True divisor_override"
    ),
    "adaptive_avg_pool2d": _function("AdaptiveAvgPool2d", "output_size"),
    "adaptive_max_pool2d": _function("AdaptiveMaxPool2d", "output_size"),
    "interpolate": _function("Upsample", "size scale_factor mode='nearest' align_corners=False align_mode=0"),
    "pad": _function("Pad2d", "padding mode='constant' value=0.0"),
    "pixel_shuffle": _function("PixelShuffle", "upscale_factor"),
    "pixel_unshuffle": _function("PixelUnshuffle", "downscale_factor"),
    "channel_shuffle": _function("ChannelShuffle", "groups"),
    "relu": _function("ReLU"),
    "relu6": _function("ReLU6"),
    "selu": _function("SELU"),
    "silu": _function("SiLU"),
    "mish": _function("Mish"),
    "hardswish": _function("Hardswish"),
    "hardsigmoid": _function("Hardsigmoid", f"slope={1 / 6} offset=0.5"),
    "sigmoid": _function("Sigmoid"),
    "logsigmoid": _function("LogSigmoid"),
    "tanh": _function("Tanh"),
    "tanhshrink": _function("Tanhshrink"),
    "softsign": _function("Softsign"),
    "prelu": _function("PReLU", "weight", tensors=1),
    "leaky_relu": _function("LeakyReLU", "negative_slope=0.01"),
    "elu": _function("ELU", "alpha=1.0"),
    "celu": _function("CELU", "alpha=1.0"),
    "gelu": _function("GELU", "approximate='none'"),
    "softplus": _function("Softplus", "beta=1 threshold=20"),
    "softshrink": _function("Softshrink", "lambd=0.5"),
    "hardshrink": _function("Hardshrink", "lambd=0.5"),
    "hardtanh": _function("Hardtanh", "min_val=-1.0 max_val=1.0"),
    "clamp": _function("Hardtanh", "min_val max_val"),
    "glu": _function("GLU", "dim=-1"),
    "softmax": _function("Softmax", "dim"),
    "log_softmax": _function("LogSoftmax", "dim"),
    "dropout": _function("Dropout", "p=0.5 training=True"),
    "flatten": _function("Flatten", "start_dim=0 end_dim=-1"),
    "cat": _function("Concat", "dim=0"),
    "stack": _function("Stack", "dim=0"),
    "mean": _function("Mean", _REDUCED),
    "sum": _function("Sum", _REDUCED),
    "amax": _function("Max", _REDUCED),
    "amin": _function("Min", _REDUCED),
    "cross_entropy": _function("CrossEntropyLoss", f"{_REDUCTION} label_smoothing=0.0 dim=1", tensors=1),
    "nll_loss": _function("NLLLoss", _REDUCTION, tensors=1),
    "mse_loss": _function("MSELoss", _LOSS),
    "l1_loss": _function("L1Loss", _LOSS),
    "smooth_l1_loss": _function("SmoothL1Loss", f"{_LOSS} beta=1.0"),
    "binary_cross_entropy": _function("BCELoss", "target weight size_average reduce reduction='mean'"),
    "binary_cross_entropy_with_logits": _function(
        "BCEWithLogitsLoss", "target weight size_average reduce reduction='mean' pos_weight"
    ),
}
# Other names of the same functions; `name_` works in place, and `__name__` is an operator.
ALIASES = {
    "upsample": "interpolate",
    "concat": "cat",
    "concatenate": "cat",
    "clip": "clamp",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "true_divide": "div",
    "truediv": "div",
    "rtruediv": "rdiv",
    "radd": "add",
    "iadd": "add",
    "rmul": "mul",
    "imul": "mul",
    "isub": "sub",
    "itruediv": "div",
    "mm": "matmul",
    "bmm": "matmul",
    "swish": "silu",
    "view": "reshape",
    "log_sigmoid": "logsigmoid",
    "dropout2d": "dropout",
    "dropout3d": "dropout",
    "zeropad2d": "pad",
    "transpose": "permute",
    "swapaxes": "permute",
    "getitem": "slice",
}
# They make no number, or move one only between devices and types.
SKIPPED = _words(
    """get set contiguous to type type_as astype cast float double half detach clone numpy cpu cuda item tolist size dim
    numel is_floating_point requires_grad_ zeros_like ones_like empty_like full_like rand_like randn_like new_zeros
    new_ones new_full new_empty new_tensor data_ptr stride storage backward register_hook retain_grad deepcopy setitem
    copy_ set_value rank broadcast_shape len iter bool int index format repr str hash eq ne lt le gt ge isnan
    isinf isfinite equal allclose is_complex is_integer is_empty zero_ fill_ result_type broadcast_tensors
    create_parameter assign uniform_ normal_ _to pin_memory element_size untyped_storage as_subclass _is_view gradient
    is_tensor in_dynamic_mode has_torch_function scalar_tensor reduce_ex dlpack"""
)


def is_function(call: str) -> bool:
    """Return whether the name of a call is that of a function."""
    return call.endswith(MARK)


def function_of(call: str) -> str:
    """Return the neutral name of a call's function: "add" of "layer1.0.add()"; "" for a layer."""
    return call.rpartition(".")[2].removesuffix(MARK) if is_function(call) else ""


def counted(calls: Iterable[str]) -> str:
    """Return how many calls are of layers and of functions: "61 layers and 8 function calls"."""
    functions = [is_function(call) for call in calls]
    count = sum(functions)
    more = f" and {count} function call{'s' if count > 1 else ''}" if count else ""
    return f"{len(functions) - count} layers{more}"


def caller_of(call: str) -> str:
    """Return the path of the layer whose code makes a call: "layer1.0" of "layer1.0.add()"."""
    return call.rpartition(".")[0]


def commutes(call: str) -> bool:
    """Return whether a call is of a function whose operands may be in either order."""
    function = FUNCTIONS.get(function_of(call))
    return function is not None and function.commutes


@functools.cache
def neutral_name(name: str) -> str:
    """Return the table's name of a function: "add" of "__iadd__" and "add_"; "" for one that is not recorded."""
    if name.startswith("__"):
        name = name.strip("_")
    if name in SKIPPED:
        return ""
    name = name.rstrip("_").lstrip("_")
    return "" if name in SKIPPED else ALIASES.get(name, name)


def bound(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], words: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments behind the first of a call, by neutral name, as torch orders them.

    Args:
        name: In FUNCTIONS.
        args: All positional arguments; the first is the data.
        kwargs: The others.
        words: Neutral names of parameters that have another name.
    """
    function = FUNCTIONS[name]
    arguments = {**function.parameters, **dict(zip(function.parameters, args[1:], strict=False))}
    return arguments | {words.get(word, word): value for word, value in kwargs.items() if value is not None}


def configured(name: str, arguments: Mapping[str, Any], shape: Sequence[int]) -> Config:
    """Return a function's neutral configuration.

    Args:
        name: In FUNCTIONS.
        arguments: By neutral name; a tensor is given by its shape, as a tuple under its name.
        shape: Of its first tensor.
    """
    function = FUNCTIONS[name]
    axes = max(1, len(shape) - 2)
    weight = arguments.get("weight")
    tensors = {"weight", "bias", "running_mean", "running_var", "target", "size_average", "reduce", "pos_weight"}
    config = {
        word: _plain(value, axes, word)
        for word, value in arguments.items()
        if word in function.parameters and word not in tensors
    }
    if function.kind.startswith("Conv") and isinstance(weight, tuple):
        first, second = weight[0], weight[1] * config["groups"]
        inputs, outputs = (first, second) if "Transpose" in function.kind else (second, first)
        config |= {"in_channels": inputs, "out_channels": outputs}
        config |= {"kernel_size": list(weight[2:]), "padding_mode": "zeros"}
    elif name in ("linear", "matmul") and shape:
        config = {"in_features": shape[-1]}
    elif name in ("batch_norm", "instance_norm"):
        config = {"num_features": shape[1], "eps": config["eps"], "momentum": config["momentum"]}
        config |= {"training": bool(arguments["training"])} if name == "batch_norm" else {}
    elif name == "group_norm":
        config["num_channels"] = shape[1]
    elif name in ("layer_norm", "rms_norm") and isinstance(config["normalized_shape"], int):
        config["normalized_shape"] = [config["normalized_shape"]]
    elif name in ("max_pool2d", "avg_pool2d") and config["stride"] in (None, []):
        config["stride"] = config["kernel_size"]
    elif name == "interpolate":
        config["align_corners"] = bool(config["align_corners"])
    elif name in _OPERATORS and not isinstance(config.get("other"), (int, float)):
        _ = config.pop("other", None)  # a tensor
    elif name in ("softmax", "log_softmax") and config["dim"] is None:
        config["dim"] = 0 if len(shape) in (0, 1, 3) else 1  # torch's rule
    if name == "clamp":
        config = {"min_val": -math.inf, "max_val": math.inf} | {k: v for k, v in config.items() if v is not None}
    return {word: value for word, value in config.items() if value is not None}


_COUNTS = {"kernel_size", "stride", "padding", "dilation", "output_padding", "output_size"}


def _plain(value: Any, axes: int, word: str) -> Any:
    """Return a setting as JSON holds it; one that counts pixels as a list with a number for each axis."""
    if isinstance(value, (tuple, list)):
        value = [_plain(each, 1, "") for each in value]
        return value * axes if word in _COUNTS and len(value) == 1 else value
    if isinstance(value, int) and not isinstance(value, bool) and word in _COUNTS:
        return [value] * axes
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
