"""The table of known traps: settings of a layer that mean something else in the other framework.

Every trap was measured: its row in docs/differences.md names the test that proves it.
"""

from __future__ import annotations

from dataclasses import dataclass

from parity.analysis.conditions import Condition, Config, always, equals, same_padding, where
from parity.numerics.pooling import Pool, parting


@dataclass(frozen=True)
class Trap:
    """One setting that means something else in the other framework.

    Attributes:
        row: Its row in docs/differences.md, where it is measured.
        kinds: Neutral kinds of the layers.
        when: Returns the setting that is the trap, None for a layer without.
        reason: What the frameworks do with it.
        remedy: What to do instead.
    """

    row: str
    kinds: tuple[str, ...]
    when: Condition
    reason: str
    remedy: str


_POOLS = "MaxPool2d", "AvgPool2d"
_CONVS = "Conv2d", "ConvTranspose2d"


def _ceil(config: Config) -> str | None:
    """Return the input lengths at which Paddle places one window more; none for stride <= kernel - padding."""
    extents = [config[word] for word in ("kernel_size", "stride", "padding")]
    if not config["ceil_mode"] or any(len(extent) != 2 or isinstance(extent, str) for extent in extents):
        return None
    axes = Pool(*map(tuple, extents), ceil_mode=True).axes if config.get("dilation", [1, 1]) == [1, 1] else ()
    lengths_by_axis = [
        f"{name} {' or '.join(map(str, lengths))} modulo {axis.stride}"
        for name, axis in zip(("height", "width"), axes, strict=False)
        if (lengths := parting(axis))
    ]
    return f"ceil_mode=True, input {', '.join(lengths_by_axis)}" if lengths_by_axis else None


def _four_paddings(config: Config) -> str | None:
    padding = config["padding"]
    return f"padding={padding}" if isinstance(padding, list) and len(padding) == 4 else None


def _four_averaged(config: Config) -> str | None:
    uneven = _four_paddings(config) and config["padding"][::2] != config["padding"][1::2]
    return f"{_four_paddings(config)}, count_include_pad=True" if uneven and config["count_include_pad"] else None


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


def _aligned(config: Config) -> str | None:
    applies = config.get("align_mode") == 1 and config["mode"] == "bilinear" and not config["align_corners"]
    return "align_mode=1" if applies else None


TRAPS = (
    Trap(
        "pool-ceil",
        _POOLS,
        _ceil,
        "Paddle makes one row or column more than torch and ONNX Runtime, of windows without a pixel",
        "use TorchCeilMaxPool2D or TorchCeilAvgPool2D of paddle_cnn.pooling, or feed other sizes",
    ),
    Trap(
        "avg-pool-default",
        ("AvgPool2d",),
        _counted,
        "torch counts the padding by default, Paddle leaves it out",
        "set count_include_pad (torch) and exclusive (Paddle, its opposite) yourself",
    ),
    Trap(
        "avg-pool-divisor",
        ("AvgPool2d",),
        where("divisor_override", bool),
        "torch divides the sum, Paddle rescales the average",
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
        _four_paddings,
        "torch takes one padding for each axis",
        "put F.pad before it in torch: left, right, top, bottom",
    ),
    Trap(
        "conv-same-stride",
        ("Conv2d",),
        same_padding("stride"),
        "torch refuses it, Paddle pads as TensorFlow does, by the input's size",
        "compute the padding for your input's size and put F.pad before it",
    ),
    Trap(
        "conv-same-dilation",
        ("Conv2d",),
        same_padding("dilation"),
        "Paddle computes with dilation 1",
        "write the padding as numbers: dilation * (kernel - 1) / 2",
    ),
    Trap(
        "conv-padding-mode-pair",
        ("Conv2d",),
        _padded_by_pair,
        "Paddle takes only a single number with this padding mode",
        "put F.pad before it",
    ),
    Trap(
        "max-pool-dilation",
        ("MaxPool2d",),
        where("dilation", lambda d: max(d) > 1),
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
        lambda config: equals("use_global_stats", False)(config) or equals("track_running_stats", False)(config),
        "evaluation uses the batch's statistics; Paddle updates its running ones by them even then, torch has none",
        "normalise by the batch yourself, or keep running statistics",
    ),
    Trap(
        "bn-global-statistics",
        ("BatchNorm2d",),
        equals("use_global_stats", True),
        "Paddle freezes the statistics in training too, torch has no such switch",
        "call eval() on the layer in torch",
    ),
    Trap(
        "bn-no-momentum",
        ("BatchNorm2d",),
        equals("momentum", None),
        "torch averages all batches, Paddle raises",
        "give a number",
    ),
    Trap(
        "bn-no-eps",
        ("BatchNorm2d",),
        where("eps", lambda eps: eps == 0),
        "torch raises in training on a channel, Paddle returns NaN for a constant one",
        "give a small number",
    ),
    Trap(
        "layer-norm-eps",
        ("LayerNorm",),
        where("eps", lambda eps: eps > 1e-3),
        "Paddle refuses an eps above 1e-3",
        "write the normalisation with mean and var",
    ),
    Trap(
        "instance-norm-affine",
        ("InstanceNorm2d",),
        where("affine", lambda _: True),
        "Paddle trains a scale and a shift by default, torch does not",
        "set affine (torch), weight_attr and bias_attr (Paddle) yourself",
    ),
    Trap(
        "dropout-mode",
        ("Dropout",),
        _downscaled,
        "evaluation multiplies by 1 - p, which torch cannot do",
        "use upscale_in_train; with trained weights, scale the next layer's weight by 1 - p",
    ),
    Trap(
        "softmax-axis",
        ("Softmax", "LogSoftmax"),
        equals("dim", None),
        "torch takes axis 1 of 4-D input, Paddle the last one",
        "name the axis",
    ),
    Trap(
        "softmax-clip",
        ("LogSoftmax",),
        always,
        "Paddle never goes below -64 under the largest logit",
        "compare logits, and take ONNX Runtime's for torch's",
    ),
    Trap(
        "softmax-nan",
        ("Softmax", "LogSoftmax"),
        equals("dim", -1),
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
)
