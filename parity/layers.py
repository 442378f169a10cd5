"""The one table of layer kinds: their settings by neutral names, and the facts that the core needs of each.

Names of kinds and settings are torch's; every backend translates its layers into them. A new kind is a line here, and a
line in a backend where its own name differs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.errors import ParityError

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """The facts about one kind of layer.

    Attributes:
        settings: Neutral names of its configuration: torch's attribute names.
        training: Those of them that matter in training alone.
        float32: Those that Paddle and ONNX keep as float32 within a float64 kernel (tests/judging/test_right_ports.py).
        weighted: Whether it sums products of weights and inputs.
        pointwise: Whether a map's size stays the same, and each pixel depends on that pixel alone.
        like: The kind of a file's node that computes the same, or of which it is a special case.
    """

    settings: tuple[str, ...] = ()
    training: tuple[str, ...] = ()
    float32: tuple[str, ...] = ()
    weighted: bool = False
    pointwise: bool = False
    like: str = ""


_CONV = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
_CONVOLUTION = Kind(_CONV, weighted=True)
_TRANSPOSED = Kind((*_CONV, "output_padding"), weighted=True)
_BATCH_NORM = Kind(
    ("num_features", "eps", "momentum", "track_running_stats"),
    training=("momentum", "use_global_stats"),
    float32=("eps",),
    pointwise=True,
)
_INSTANCE_NORM = Kind(("num_features", "eps", "affine"), float32=("eps",))
_DROPOUT = Kind(("p",), training=("p",), pointwise=True, like="Identity")
_ACTIVATION = Kind(pointwise=True)
_PAD = Kind(("padding",))
_UPSAMPLE = Kind(("size", "scale_factor", "mode", "align_corners", "align_mode"))

KINDS: dict[str, Kind] = {
    **dict.fromkeys(("Conv1d", "Conv2d", "Conv3d"), _CONVOLUTION),
    **dict.fromkeys(("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"), _TRANSPOSED),
    "Linear": Kind(("in_features", "out_features"), weighted=True),
    "MatMul": Kind(weighted=True, like="Linear"),
    **dict.fromkeys(("BatchNorm", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"), _BATCH_NORM),
    **dict.fromkeys(("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"), _INSTANCE_NORM),
    "GroupNorm": Kind(("num_groups", "num_channels", "eps")),
    "LayerNorm": Kind(("normalized_shape", "eps"), float32=("eps",)),
    "RMSNorm": Kind(("normalized_shape", "eps")),
    "LocalResponseNorm": Kind(("size", "alpha", "beta", "k"), float32=("beta",), pointwise=True),
    "MaxPool2d": Kind(("kernel_size", "stride", "padding", "dilation", "ceil_mode")),
    "AvgPool2d": Kind(("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")),
    "AdaptiveAvgPool2d": Kind(("output_size",), like="AvgPool2d"),
    "AdaptiveMaxPool2d": Kind(("output_size",), like="MaxPool2d"),
    **dict.fromkeys(("Dropout", "Dropout2d", "Dropout3d", "AlphaDropout"), _DROPOUT),
    "Identity": _ACTIVATION,
    **dict.fromkeys(("ReLU", "SELU", "SiLU", "Mish", "Hardswish", "Sigmoid", "LogSigmoid"), _ACTIVATION),
    "Hardsigmoid": Kind(("slope", "offset"), pointwise=True),
    **dict.fromkeys(("Tanh", "Softsign", "Tanhshrink", "PReLU"), _ACTIVATION),
    "ReLU6": Kind(pointwise=True, like="Clip"),
    "Hardtanh": Kind(("min_val", "max_val"), float32=("min_val", "max_val"), pointwise=True, like="Clip"),
    "LeakyReLU": Kind(("negative_slope",), pointwise=True),
    **dict.fromkeys(("ELU", "CELU"), Kind(("alpha",), float32=("alpha",), pointwise=True)),
    "Softshrink": Kind(("lambd",), float32=("lambd",), pointwise=True),
    "Hardshrink": Kind(("lambd",), pointwise=True),
    "RReLU": Kind(("lower", "upper"), float32=("lower", "upper"), pointwise=True),
    "Softplus": Kind(("beta", "threshold"), pointwise=True),
    "GELU": Kind(("approximate",), pointwise=True),
    "Softmax": Kind(("dim",)),
    "LogSoftmax": Kind(("dim",)),
    "Softmax2d": _ACTIVATION,
    "GLU": Kind(("dim",)),
    "ConstantPad2d": Kind(("padding", "value")),
    **dict.fromkeys(("ZeroPad2d", "ReflectionPad2d", "ReplicationPad2d", "CircularPad2d"), _PAD),
    "Pad2d": Kind(("padding", "value", "mode")),
    "Flatten": Kind(("start_dim", "end_dim")),
    **dict.fromkeys(("Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"), _UPSAMPLE),
    "PixelShuffle": Kind(("upscale_factor",)),
    "PixelUnshuffle": Kind(("downscale_factor",)),
    "ChannelShuffle": Kind(("groups",)),
    # What functions compute; docs/contract.md, "Functions".
    **dict.fromkeys(("Add", "Sub"), Kind(("other", "alpha"), pointwise=True)),
    **dict.fromkeys(("Mul", "RSub", "Div", "RDiv", "Pow"), Kind(("other",), pointwise=True)),
    **dict.fromkeys(("Maximum", "Minimum"), Kind(("other",), pointwise=True)),
    **dict.fromkeys(("Concat", "Stack"), Kind(("dim",))),
    **dict.fromkeys(("Mean", "Sum", "Max", "Min"), Kind(("dim",))),
    "Normalize": Kind(("p", "dim", "eps")),
    "CrossEntropyLoss": Kind(("dim", "reduction", "ignore_index", "label_smoothing")),
    "NLLLoss": Kind(("reduction", "ignore_index")),
    **dict.fromkeys(("MSELoss", "L1Loss", "SmoothL1Loss", "BCELoss", "BCEWithLogitsLoss"), Kind(("reduction",))),
    "KLDivLoss": Kind(("reduction", "log_target")),
}
# Paddle's name of a setting, where it differs from the neutral one.
PADDLE_WORDS = {
    "eps": "epsilon",
    "dim": "axis",
    "start_dim": "start_axis",
    "end_dim": "stop_axis",
    "min_val": "min",
    "max_val": "max",
    "lambd": "threshold",
}
_UNKNOWN = Kind()
_PAIRS = {"kernel_size", "stride", "padding", "dilation", "output_padding", "output_size"}


def known(kind: str) -> Kind:
    """Return the facts about a kind; for one that is not in the table, the defaults."""
    return KINDS.get(kind, _UNKNOWN)


def pair(value: Any, word: str, kind: str = "") -> Any:
    """Return a setting as JSON holds it; one that counts pixels as a list with a number for each axis.

    Args:
        value: As a framework has it.
        word: Neutral name of the setting.
        kind: Neutral kind of the layer, which says how many axes there are: "Conv3d"; else two.
    """
    if word in _PAIRS and isinstance(value, int):
        return [value] * int(kind[-2] if kind[-2:] in ("1d", "3d") else 2)
    return list(value) if isinstance(value, (tuple, list)) else value


def is_weighted(config: Config) -> bool:
    """Return whether a layer of this configuration sums products of weights and inputs."""
    return "in_channels" in config or "in_features" in config


def has_weights(kind: str, config: Config) -> bool:
    """Return whether a layer has weights of its own that change the network's function."""
    return is_weighted(config) or "num_features" in config


def terms(config: Config, before: Sequence[int], after: Sequence[int]) -> int:
    """Return the length of the longest sum in one output element, at least 1.

    An interpolation counts as 12 terms a pixel of its input's longer side n: along each of two axes the position of an
    element is computed with 3 roundings of numbers up to n, and the pixels next to it differ by up to 2 peaks.

    Args:
        config: Neutral configuration.
        before: Shape of the input.
        after: Shape of the output.
    """
    if config.get("mode") in ("linear", "bilinear", "bicubic", "cubic"):
        return 12 * max(before[2:])
    if "in_features" in config:
        return int(config["in_features"])
    if "in_channels" in config:
        return int(config["in_channels"] // config["groups"] * math.prod(config["kernel_size"]))
    if "kernel_size" in config:
        return math.prod(config["kernel_size"])
    return max(1, math.prod(before) // max(1, math.prod(after)))


def check_input(layer: str, kind: str, config: Config, shape: tuple[int, ...]) -> None:
    """Return if a layer can take an input of this shape.

    Needed before Paddle runs: where a window is larger than its padded input, Paddle may return a tensor of negative
    shape, and the process dies when that is read (docs/differences.md).

    Raises:
        ParityError: With the layer and the numbers, in the same words for every framework.
    """
    channels = config.get("in_channels", config.get("num_features"))
    if channels is not None and shape[1:2] != (channels,):
        raise ParityError(f"{layer}: {kind} takes {channels} channels, its input's shape is {shape}.")
    if "in_features" in config and shape[-1:] != (config["in_features"],):
        raise ParityError(
            f"{layer}: {kind} takes {config['in_features']} features, its input's shape is {shape}. "
            "Is the image of the size the network was made for?"
        )
    if "kernel_size" not in config or "Transpose" in kind or not isinstance(config["padding"], list):
        return
    size, padding = shape[2:], config["padding"]
    before, after = (padding[::2], padding[1::2]) if len(padding) == 2 * len(size) else (padding, padding)
    reach = [
        d * (k - 1) + 1 for k, d in zip(config["kernel_size"], config.get("dilation", [1] * len(size)), strict=True)
    ]
    if any(length + a + b < window for length, a, b, window in zip(size, before, after, reach, strict=True)):
        window, area, pad = ("x".join(map(str, numbers)) for numbers in (reach, size, padding))
        raise ParityError(
            f"{layer}: {kind}: a window of {window} does not fit its input of {area} (padding {pad}). "
            "Use a larger image."
        )


# Kinds that are a special case of another: that one's name, and the settings that make it so.
_SPECIAL: dict[str, tuple[str, dict[str, Any]]] = {
    "ReLU6": ("Hardtanh", {"min_val": 0.0, "max_val": 6.0}),
    "ConstantPad2d": ("Pad2d", {"mode": "constant"}),
    "ZeroPad2d": ("Pad2d", {"mode": "constant", "value": 0.0}),
    "ReflectionPad2d": ("Pad2d", {"mode": "reflect"}),
    "ReplicationPad2d": ("Pad2d", {"mode": "replicate"}),
    "CircularPad2d": ("Pad2d", {"mode": "circular"}),
    "UpsamplingBilinear2d": ("Upsample", {"mode": "bilinear", "align_corners": True, "align_mode": 0}),
    "UpsamplingNearest2d": ("Upsample", {"mode": "nearest"}),
    "Hardsigmoid": ("Hardsigmoid", {"slope": 1 / 6, "offset": 0.5}),  # as a layer; Paddle's function takes others
    **dict.fromkeys(("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"), ("BatchNorm", {})),
}


def evaluated(kind: str, config: Config, rank: int) -> tuple[str, dict[str, Any]]:
    """Return a kind and configuration in evaluation mode, in canonical form: equal ones are the same function.

    Settings without effect on any input are left out: those of training, the mode of a padding of 0, the dilation of
    single pixels, align_corners of nearest neighbours.

    Args:
        kind: Neutral kind, one of KINDS.
        config: Neutral configuration.
        rank: Number of axes of the input, to resolve negative ones.
    """
    training = {*known(kind).training, "training"}
    if kind in KINDS and known(kind).like == "Identity":
        return ("Identity", {}) if "mode" not in config else (kind, {"mode": config["mode"], "p": config["p"]})
    settings = {word: value for word, value in config.items() if word not in training}
    kind, implied = _SPECIAL.get(kind, (kind, {}))
    settings = {**implied, **settings}
    for word in {"dim", "start_dim", "end_dim"} & settings.keys():
        if isinstance(settings[word], int):
            settings[word] %= rank
        elif isinstance(settings[word], list):
            settings[word] = sorted(axis % rank for axis in settings[word])
    if "padding" in settings and kind != "Pad2d":
        settings |= _padding(settings)
    if not any(settings.get("padding", ())) and kind != "Pad2d":
        settings = {word: settings[word] for word in settings if word not in ("count_include_pad", "padding_mode")}
    if settings.get("mode") != "constant" and kind == "Pad2d":
        _ = settings.pop("value", None)
    if kind == "Upsample":
        if isinstance(settings.get("scale_factor"), (int, float)):
            settings["scale_factor"] = [settings["scale_factor"]] * (rank - 2)
        mode = settings.get("mode", "")
        unused = {"nearest": ("align_corners", "align_mode"), "bicubic": ("align_mode",)}.get(mode, ())
        unused = (*unused, "align_mode") if settings.get("align_corners") else unused
        settings = {word: value for word, value in settings.items() if word not in unused}
    return kind, settings


def _padding(settings: Config) -> dict[str, Any]:
    """Return padding as one number an axis, and dilation as 1 where the kernel is, if that is the same function."""
    padding, kernel = settings["padding"], settings.get("kernel_size", [])
    padding = padding.lower() if isinstance(padding, str) else padding  # Paddle takes "SAME" too
    dilation = [d if k > 1 else 1 for d, k in zip(settings.get("dilation", [1] * len(kernel)), kernel, strict=True)]
    if padding == "valid":
        padding = [0] * len(kernel)
    elif padding == "same" and set(settings.get("stride", [1])) == {1}:
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        padding = padding if any(number % 2 for number in total) else [number // 2 for number in total]
    elif isinstance(padding, list) and len(padding) == 2 * len(kernel) and padding[::2] == padding[1::2]:
        padding = padding[::2]
    return {"padding": padding, **({"dilation": dilation} if "dilation" in settings else {})}


def differing_settings(
    reference: tuple[str, Config], candidate: tuple[str, Config], rank: int
) -> tuple[list[str], list[str]]:
    """Return the settings in which two layers are different functions, and those that differ in training alone.

    "kind" stands for the kind itself. Kinds that are not in the table, and settings that only one of the two has, are
    not compared.

    Args:
        reference: Neutral kind and configuration.
        candidate: Likewise.
        rank: Number of axes of the input.
    """
    if reference[0] not in KINDS or candidate[0] not in KINDS:
        return [], []
    reference_kind, expected = evaluated(*reference, rank)
    candidate_kind, actual = evaluated(*candidate, rank)
    if "Linear" in (reference_kind, candidate_kind):  # on maps of one pixel a 1x1 convolution is one
        reference_kind, expected = _linear(reference_kind, expected)
        candidate_kind, actual = _linear(candidate_kind, actual)
    if reference_kind != candidate_kind:  # of one kind, and not one function: Paddle's Dropout in its other mode
        return ["kind" if reference[0] != candidate[0] else "mode"], []
    # An axis of one element more or less is no setting: what works on it shows whether it matters.
    words = sorted(expected.keys() & actual.keys() - {"node", "constant", "attributes", "keepdim"})
    training = sorted({*known(reference[0]).training} & reference[1].keys() & candidate[1].keys())
    training = [word for word in training if not _same(reference[1][word], candidate[1][word])]
    if reference_kind == "Identity" and not _masks_alike(reference, candidate, rank):
        training.insert(0, "kind" if reference[0] != candidate[0] else "axis")
    return [word for word in words if not _same(expected[word], actual[word])], training


def _masks_alike(one: tuple[str, Config], other: tuple[str, Config], rank: int) -> bool:
    """Return whether two kinds that are the identity in evaluation drop alike in training, but for the share."""
    if "Identity" in (one[0], other[0]):
        return not one[1].get("p") and not other[1].get("p")
    masks = []
    for kind, config in (one, other):
        axes = [0, 1] if kind in ("Dropout2d", "Dropout3d") else config.get("axis")
        axes = range(rank) if axes is None else [axes] if isinstance(axes, int) else axes
        masks.append((kind == "AlphaDropout", {axis % rank for axis in axes}))
    return masks[0] == masks[1]


def _linear(kind: str, settings: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a 1x1 convolution as the Linear that it is on a map of one pixel; any other layer as it is."""
    single = {"kernel_size": 1, "stride": 1, "padding": 0}
    if not kind.startswith("Conv") or "Transpose" in kind or settings.get("groups", 1) != 1:
        return kind, settings
    if any(set(settings[word]) != {number} for word, number in single.items() if word in settings):
        return kind, settings
    return "Linear", {"in_features": settings["in_channels"], "out_features": settings["out_channels"]}


def _same(one: Any, other: Any) -> bool:
    """Return whether two settings are equal; numbers as float32, the precision in which files hold them."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, (int, float)) and isinstance(other, (int, float)) and float in (type(one), type(other)):
        return one == other or (abs(one) < 1e38 > abs(other) and bool(np.float32(one) == np.float32(other)))
    return one == other
