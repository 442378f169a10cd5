"""Known traps: what is about a network's layers that means something else in the other framework, or in ONNX.

Works on neutral kinds and configurations, whichever side described them; it runs nothing and knows no framework.
Every trap was measured: its row in docs/differences.md names the test that holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from parity.pooling import Pool, parting

Config = Mapping[str, Any]
Layer = tuple[str, str, Config]  # dotted name, neutral kind, configuration
DOCUMENT = "docs/differences.md"


@dataclass(frozen=True)
class Finding:
    """One trap in one layer.

    Attributes:
        layer: Dotted name; "" for the network itself.
        kind: Of the layer, in neutral words.
        trap: The setting that makes it one, as text.
        reason: What the frameworks or exporters do about it.
        remedy: What to do instead.
        link: Where it is explained and measured.
    """

    layer: str
    kind: str
    trap: str
    reason: str
    remedy: str
    link: str

    def __str__(self) -> str:
        setting = f"{self.trap}: " if self.trap else ""
        return f"{self.layer or '(network)'}: {self.kind}: {setting}{self.reason}; {self.remedy} [{self.link}]"


class Trap(NamedTuple):
    """One rule: `seen` returns the setting that gives a layer of `kinds` away, "" where it is not there but harmless.

    None stands for a layer that is right.
    """

    row: str
    kinds: tuple[str, ...]
    seen: Callable[[Config], str | None]
    reason: str
    remedy: str


_POOLS = "MaxPool2d", "AvgPool2d"
_CONVS = "Conv2d", "ConvTranspose2d"
_ADAPTIVE = "AdaptiveAvgPool2d", "AdaptiveMaxPool2d"
_PADS = "ZeroPad2d", "ConstantPad2d", "Pad2d"


def _ceil(config: Config) -> str | None:
    """Return the input lengths at which Paddle places one window more: none for stride <= kernel - padding."""
    extents = [config[word] for word in ("kernel_size", "stride", "padding")]
    if not config["ceil_mode"] or any(len(extent) != 2 or isinstance(extent, str) for extent in extents):
        return None
    axes = Pool(*map(tuple, extents), ceil_mode=True).axes if config.get("dilation", [1, 1]) == [1, 1] else ()
    words = [
        f"{name} {' or '.join(map(str, lengths))} modulo {axis.stride}"
        for name, axis in zip(("height", "width"), axes, strict=False)
        if (lengths := parting(axis))
    ]
    return f"ceil_mode=True, input {', '.join(words)}" if words else None


def _is(word: str, *values: Any) -> Callable[[Config], str | None]:
    def seen(config: Config) -> str | None:
        found = config.get(word, _ABSENT)
        return f"{word}={found}" if any(found is value or found == value for value in values) else None

    return seen


def _where(word: str, holds: Callable[[Any], bool]) -> Callable[[Config], str | None]:
    return lambda config: f"{word}={config[word]}" if word in config and holds(config[word]) else None


def _always(config: Config) -> str:
    del config
    return ""


_ABSENT = object()


def _same(word: str) -> Callable[[Config], str | None]:
    def seen(config: Config) -> str | None:
        same = str(config["padding"]).lower() == "same"
        return f"padding='same', {word}={config[word]}" if same and max(config[word]) > 1 else None

    return seen


def _four(config: Config) -> str | None:
    padding = config["padding"]
    return f"padding={padding}" if isinstance(padding, list) and len(padding) == 4 else None


def _four_averaged(config: Config) -> str | None:
    uneven = _four(config) and config["padding"][::2] != config["padding"][1::2]
    return f"{_four(config)}, count_include_pad=True" if uneven and config["count_include_pad"] else None


def _counted(config: Config) -> str | None:
    padded = config["padding"] not in ([0, 0], "VALID")
    return f"padding={config['padding']}, count_include_pad={config['count_include_pad']}" if padded else None


def _wide(config: Config) -> str | None:
    padding, kernel = config["padding"], config["kernel_size"]
    wide = len(padding) == 2 and any(p > k // 2 for p, k in zip(padding, kernel, strict=True))
    return f"padding={padding}, kernel_size={kernel}" if wide else None


def _padded_by_pair(config: Config) -> str | None:
    mode, padding = config.get("padding_mode", "zeros"), config["padding"]
    pair = mode != "zeros" and isinstance(padding, list) and len(set(padding)) > 1
    return f"padding_mode={mode!r}, padding={padding}" if pair else None


def _downscaled(config: Config) -> str | None:
    return f"mode {config['mode']}" if config.get("mode") == "downscale_in_infer" and config["p"] else None


def _bounds(config: Config) -> str | None:
    low, high = config["min_val"], config["max_val"]
    return f"min_val={low}, max_val={high}" if (low, high) != (-1, 1) else None


def _aligned(config: Config) -> str | None:
    set_ = config.get("align_mode") == 1 and config["mode"] == "bilinear" and not config["align_corners"]
    return "align_mode=1" if set_ else None


_EVAL_NOTE = "normalise by the batch yourself, or keep running statistics"
_EXPORT = "onnx-wrong"
_BY_TORCH = "export from torch"

TRAPS = (
    Trap(
        "pool-ceil",
        _POOLS,
        _ceil,
        "Paddle makes one row or column more than torch and ONNX Runtime, of windows that see no pixel",
        "use TorchCeilMaxPool2D or TorchCeilAvgPool2D of paddle_cnn.pooling, or feed other sizes",
    ),
    Trap(
        "avg-pool-default",
        ("AvgPool2d",),
        _counted,
        "torch counts the padding by default, Paddle leaves it out",
        "write count_include_pad (torch) and exclusive (Paddle, its opposite) yourself",
    ),
    Trap(
        "avg-pool-divisor",
        ("AvgPool2d",),
        _where("divisor_override", bool),
        "torch divides the sum, Paddle rescales the average, and torch's exporter drops it",
        "pool with exclusive=False and without padding, and multiply by a constant",
    ),
    Trap(
        "avg-pool-four-paddings",
        ("AvgPool2d",),
        _four_averaged,
        "Paddle divides border windows by a wrong size",
        "pad first, or use exclusive=True",
    ),
    Trap(
        "conv-four-paddings",
        (*_CONVS, *_POOLS),
        _four,
        "torch takes one padding for each axis",
        "put F.pad before it in torch: left, right, top, bottom",
    ),
    Trap(
        "conv-same-stride",
        ("Conv2d",),
        _same("stride"),
        "torch refuses it, Paddle pads as TensorFlow does, by the input's size",
        "compute the padding for your input's size and put F.pad before it",
    ),
    Trap(
        "conv-same-dilation",
        ("Conv2d",),
        _same("dilation"),
        "Paddle computes with dilation 1, and its exporter aborts",
        "write the padding as numbers: dilation * (kernel - 1) / 2",
    ),
    Trap(
        "conv-padding-mode-pair",
        ("Conv2d",),
        _padded_by_pair,
        "Paddle takes one number alone with this padding mode",
        "put F.pad before it",
    ),
    Trap(
        "max-pool-dilation",
        ("MaxPool2d",),
        _where("dilation", lambda d: max(d) > 1),
        "Paddle's pooling has no dilation",
        "gather the taps with unfold, or pool shifted slices",
    ),
    Trap(
        "pool-wide-padding",
        _POOLS,
        lambda config: None if isinstance(config["padding"], str) else _wide(config),
        "torch refuses padding above half the kernel, Paddle fills with -3.4e38 or NaN",
        "put F.pad before it",
    ),
    Trap(
        "bn-batch-statistics",
        ("BatchNorm2d",),
        lambda config: _is("use_global_stats", False)(config) or _is("track_running_stats", False)(config),
        "evaluation uses the batch's statistics; Paddle moves its own by them even then, torch keeps none",
        _EVAL_NOTE,
    ),
    Trap(
        "bn-global-statistics",
        ("BatchNorm2d",),
        _is("use_global_stats", True),
        "Paddle freezes the statistics in training too, torch has no such switch",
        "call eval() on the layer in torch",
    ),
    Trap(
        "bn-no-momentum",
        ("BatchNorm2d",),
        _is("momentum", None),
        "torch averages all batches, Paddle raises",
        "give a number",
    ),
    Trap(
        "bn-no-eps",
        ("BatchNorm2d",),
        _where("eps", lambda eps: eps == 0),
        "torch raises in training on a channel, Paddle makes NaN of a constant one",
        "give a small number",
    ),
    Trap(
        "layer-norm-eps",
        ("LayerNorm",),
        _where("eps", lambda eps: eps > 1e-3),
        "Paddle refuses an eps above 1e-3",
        "write the normalisation with mean and var",
    ),
    Trap(
        "instance-norm-affine",
        ("InstanceNorm2d",),
        _where("affine", lambda _: True),
        "Paddle trains a scale and a shift by default, torch does not",
        "write affine (torch), weight_attr and bias_attr (Paddle) yourself",
    ),
    Trap(
        "dropout-mode",
        ("Dropout",),
        _downscaled,
        "evaluation multiplies by 1 - p, which torch has no word for",
        "use upscale_in_train; with trained weights, scale the next layer's weight by 1 - p",
    ),
    Trap(
        "softmax-axis",
        ("Softmax", "LogSoftmax"),
        _is("dim", None),
        "torch takes axis 1 of 4-D input, Paddle the last one",
        "name the axis",
    ),
    Trap(
        "softmax-clip",
        ("LogSoftmax",),
        _always,
        "Paddle never goes below -64 under the largest logit",
        "compare logits, and take ONNX Runtime's for torch's",
    ),
    Trap(
        "softmax-nan",
        ("Softmax", "LogSoftmax"),
        _is("dim", -1),
        "Paddle's float32 rows of 8 and more hide a NaN among the logits",
        "check the logits for NaN",
    ),
    Trap(
        "interpolate-align-mode",
        ("Upsample",),
        _aligned,
        "torch samples at pixel centres, Paddle's align_mode=1 at their corners",
        "use align_mode=0",
    ),
    Trap(
        _EXPORT,
        ("LeakyReLU",),
        _where("negative_slope", lambda _: True),
        "paddle2onnx 2.1.0 writes a random slope",
        f"use maximum(x, slope * x), or {_BY_TORCH}",
    ),
    Trap(_EXPORT, ("GroupNorm",), _where("eps", lambda _: True), "paddle2onnx 2.1.0 writes a random eps", _BY_TORCH),
    Trap(
        _EXPORT,
        _PADS,
        lambda config: None if config.get("mode", "constant") != "constant" else f"value={config.get('value', 0)}",
        "paddle2onnx 2.1.0 pads with a random number",
        "use the padding of the convolution or pool behind it",
    ),
    Trap(_EXPORT, ("LocalResponseNorm",), _always, "paddle2onnx 2.1.0 pads it with a random number", _BY_TORCH),
    Trap(_EXPORT, ("Hardtanh",), _bounds, "paddle2onnx 2.1.0 writes -1 and 1", "use clip"),
    Trap(
        _EXPORT,
        ("GELU",),
        _is("approximate", "tanh"),
        "paddle2onnx 2.1.0 writes the erf form",
        "write the tanh form out",
    ),
    Trap(
        _EXPORT,
        ("Softplus", "CELU", "Maxout", "ChannelShuffle", "PixelUnshuffle"),
        _always,
        "paddle2onnx 2.1.0 ends the process",
        "write it out with simpler operators",
    ),
    Trap(
        _EXPORT,
        ("Upsample",),
        _where("scale_factor", lambda factor: factor is not None),
        "paddle2onnx 2.1.0 gives up (SystemExit)",
        "give a size",
    ),
    Trap(
        _EXPORT,
        _ADAPTIVE,
        _where("output_size", lambda size: any(out not in (1, None) for out in size)),
        "paddle2onnx 2.1.0 is right where this divides the input; where the export leaves height and width open it "
        "ends the process, and torch's bakes the example's in",
        "export at one input size, of which it makes a whole multiple",
    ),
)


def lint(layers: Iterable[Layer]) -> list[Finding]:
    """Return the traps of a network's layers, in the layers' order."""
    return [
        Finding(name, kind, seen, trap.reason, trap.remedy, f"{DOCUMENT}#{trap.row}")
        for name, kind, config in layers
        for trap in TRAPS
        if kind in trap.kinds and (seen := trap.seen(config)) is not None
    ]
