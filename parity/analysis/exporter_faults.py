"""The faults of the exporters, in one table: what, when, the remedy, and what `parity export` does about it.

`parity lint` and `parity export` read it, and docs/onnx.md shows it. Each row names the rows of docs/differences.md
that measure it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from parity.analysis.conditions import always, equals, same_padding, where
from parity.analysis.export_cases import (
    CIRCULAR_OPSET,
    Case,
    bounds,
    by,
    circular,
    constant_padding,
    never,
    open_size,
    pooled,
    several_axes,
    softplus_set,
    uneven,
)

Exporter = Literal["torch", "paddle"]
Handling = Literal["fixed", "refused", "noted"]

EXPORTERS: dict[Exporter, str] = {"torch": "torch's exporter", "paddle": "paddle2onnx"}


@dataclass(frozen=True)
class Fault:
    """One thing that an exporter gets wrong.

    Attributes:
        name: Its name in docs/onnx.md and in messages.
        exporter: Which one: torch's (`torch.onnx.export(dynamo=True)`), or Paddle's (paddle2onnx 2.1).
        layer: The layer that is wrong, for a reader.
        kinds: Neutral kinds of the layers; empty where no setting shows the fault, only the exported file.
        when: Returns the setting that is at fault, "" where all are, None for a layer that is exported correctly.
        effect: What the exporter does, as the rest of a sentence that starts with the exporter.
        remedy: What to write instead.
        handling: What `parity export` does: "fixed", the file is right; "refused", there is none; "noted", the file
            is right and Paddle is wrong: it is written, with a note.
        measured: Rows of docs/differences.md: operators, or "max, drop" for a row of its table of pools.
        depends: What decides besides the layer's settings; `parity lint` does not know it.
    """

    name: str
    exporter: Exporter
    layer: str
    kinds: tuple[str, ...]
    when: Callable[[Case], str | None]
    effect: str
    remedy: str
    handling: Handling
    measured: tuple[str, ...]
    depends: str = ""

    @property
    def who(self) -> str:
        """Return the name of the exporter in messages."""
        return EXPORTERS[self.exporter]


def met(case: Case, exporter: str | None = None) -> Iterator[tuple[Fault, str]]:
    """Yield the faults that apply to a layer, or may apply where a fact is not known, each with the setting.

    Args:
        case: The layer.
        exporter: The exporter in use; None for both.
    """
    for fault in FAULTS:
        if exporter in (None, fault.exporter) and case.kind in fault.kinds:
            setting = fault.when(case)
            if setting is not None:
                yield fault, setting


def sentence(fault: Fault, layer: str, case: Case, setting: str) -> str:
    """Return the fault of a layer and the remedy, as text; `setting` comes from `met`."""
    parts = (layer, case.kind, setting, f"{fault.who} {fault.effect}")
    return f"{': '.join(part for part in parts if part)}. Remedy: {fault.remedy}"


_ADAPTIVE = "AdaptiveAvgPool2d", "AdaptiveMaxPool2d"
_FROM_TORCH = "export from torch"
_OPEN_SIZE = "whether height and width stay open"

FAULTS = (
    Fault(
        "leaky-relu",
        "paddle",
        "LeakyReLU",
        ("LeakyReLU",),
        by(where("negative_slope", lambda _: True)),
        "writes a random slope",
        f"use maximum(x, slope * x), or {_FROM_TORCH}",
        "fixed",
        ("LeakyReLU(0.3)",),
    ),
    Fault(
        "group-norm",
        "paddle",
        "GroupNorm",
        ("GroupNorm",),
        by(where("eps", lambda _: True)),
        "writes a random eps",
        _FROM_TORCH,
        "fixed",
        ("GroupNorm(2, 4, eps=0.3)",),
    ),
    Fault(
        "pad",
        "paddle",
        "constant padding",
        ("ZeroPad2d", "ConstantPad2d", "Pad2d"),
        by(constant_padding),
        "pads with a random number",
        "use the padding of the convolution or pool behind it",
        "fixed",
        ("pad with 0.7",),
    ),
    Fault(
        "local-response-norm",
        "paddle",
        "LocalResponseNorm",
        ("LocalResponseNorm",),
        by(always),
        "pads the channels, as Paddle does within this layer, with a random number",
        _FROM_TORCH,
        "fixed",
        ("pad with 0.7",),
    ),
    Fault(
        "softplus",
        "paddle",
        "Softplus",
        ("Softplus",),
        by(lambda config: None if softplus_set(config) else ""),
        "reads a random beta and ends the process",
        "write relu(x) + log(1 + exp(-|x|))",
        "fixed",
        ("Softplus()",),
    ),
    Fault(
        "softplus-set",
        "paddle",
        "Softplus, settings other than beta 1 and threshold 20",
        ("Softplus",),
        by(softplus_set),
        "ends the process",
        "write softplus(beta * x) / beta, beta 1 and threshold 20 in the layer",
        "refused",
        ("Softplus(beta=2)",),
    ),
    Fault(
        "upsample",
        "paddle",
        "Upsample by a factor",
        ("Upsample",),
        by(where("scale_factor", lambda factor: factor is not None)),
        "gives up (SystemExit)",
        "give a size",
        "fixed",
        ("Upsample(scale_factor=2)",),
    ),
    Fault(
        "gelu-tanh",
        "paddle",
        "GELU, tanh",
        ("GELU",),
        by(equals("approximate", "tanh")),
        "writes erf for tanh",
        "write the tanh form out",
        "refused",
        ("GELU('tanh')",),
    ),
    Fault(
        "hardtanh",
        "paddle",
        "Hardtanh, bounds other than -1 and 1",
        ("Hardtanh",),
        by(bounds),
        "always clips to -1 and 1",
        "use paddle.clip",
        "refused",
        ("Hardtanh(-0.4, 0.3)",),
    ),
    Fault(
        "unknown-operator",
        "paddle",
        "CELU, Maxout, ChannelShuffle, PixelUnshuffle",
        ("CELU", "Maxout", "ChannelShuffle", "PixelUnshuffle"),
        by(always),
        "does not know it, and ends the process",
        "write it out with simpler operators",
        "refused",
        ("CELU(0.7)", "Maxout(2)", "ChannelShuffle(2)", "PixelUnshuffle(2)"),
    ),
    Fault(
        "same-dilation",
        "paddle",
        "Conv2d, padding 'same' with dilation",
        ("Conv2d",),
        by(same_padding("dilation")),
        "ends the process",
        "write the padding as numbers: dilation * (kernel - 1) / 2",
        "refused",
        ("Conv2d, padding 'same', dilation 2",),
    ),
    Fault(
        "layer-norm",
        "paddle",
        "LayerNorm over several axes",
        ("LayerNorm",),
        by(several_axes),
        "flattens the weight, and ONNX Runtime refuses the file",
        f"flatten before it, or {_FROM_TORCH}",
        "refused",
        ("LayerNorm([3, 4])",),
    ),
    Fault(
        "circular",
        "paddle",
        "circular padding",
        ("Pad2d", "CircularPad2d", "Conv2d"),
        circular,
        f"writes opset {CIRCULAR_OPSET}, whatever lower one was asked for",
        f"use --opset {CIRCULAR_OPSET}",
        "refused",
        ("pad, circular",),
        "the opset",
    ),
    Fault(
        "adaptive-uneven",
        "paddle",
        "adaptive pooling whose windows have several sizes",
        _ADAPTIVE,
        lambda case: pooled(case, uneven),
        "writes windows of one size, wrong where they have several sizes",
        f"use an image size whose map divides, or {_FROM_TORCH}",
        "refused",
        (
            "AdaptiveAvgPool2d(3) of 11 x 11",
            "AdaptiveAvgPool2d(5) of 12 x 12",
            "AdaptiveAvgPool2d(4) of 3 x 3",
            "AdaptiveMaxPool2d(3) of 11 x 11",
            "AdaptiveMaxPool2d(5) of 12 x 12",
            "AdaptiveMaxPool2d(4) of 3 x 3",
        ),
        "the image's size",
    ),
    Fault(
        "adaptive-max",
        "torch",
        "adaptive max pooling whose output does not divide the map",
        ("AdaptiveMaxPool2d",),
        lambda case: pooled(case, lambda size, count: size % count != 0),
        "raises where this does not divide the map",
        "use an image size whose map divides",
        "refused",
        (
            "AdaptiveMaxPool2d(2) of 9 x 9",
            "AdaptiveMaxPool2d(4) of 9 x 9",
            "AdaptiveMaxPool2d(3) of 11 x 11",
            "AdaptiveMaxPool2d(5) of 12 x 12",
            "AdaptiveMaxPool2d(4) of 3 x 3",
        ),
        "the image's size",
    ),
    Fault(
        "adaptive-dynamic",
        "torch",
        "adaptive pooling at a dynamic size",
        _ADAPTIVE,
        open_size,
        "keeps the example's windows, wrong at every other image size",
        "export at one image size",
        "refused",
        ("AdaptiveAvgPool2d(2), H and W dynamic, exported at 4 x 4, run at 6 x 6",),
        _OPEN_SIZE,
    ),
    Fault(
        "adaptive-dynamic-paddle",
        "paddle",
        "adaptive pooling at a dynamic size",
        _ADAPTIVE,
        open_size,
        "ends the process",
        "export at one image size",
        "refused",
        ("AdaptiveAvgPool2d(2), H and W dynamic, exported at 4 x 4, run at 6 x 6",),
        _OPEN_SIZE,
    ),
    Fault(
        "divisor-override",
        "torch",
        "average pooling with divisor_override",
        ("AvgPool2d",),
        by(where("divisor_override", bool)),
        "drops it",
        "scale the output instead",
        "refused",
        ("AvgPool2d(3, divisor_override=7)",),
    ),
    Fault(
        "training-mode",
        "torch",
        "Dropout in training mode",
        ("Dropout",),
        lambda case: "training mode" if case.training else None,
        "keeps it dropping, at random",
        "call eval() before",
        "fixed",
        ("Dropout(0.5), exported in training mode",),
    ),
    Fault(
        "pool-ceil",
        "paddle",
        "pooling with ceil_mode, where Paddle has one window more",
        (),
        never,
        "writes it unchanged, but ONNX Runtime leaves that window out, as torch does",
        "use TorchCeilMaxPool2D or TorchCeilAvgPool2D of paddle_cnn.pooling",
        "refused",
        ("max, drop", "avg, padding counted, drop", "avg, padding left out, drop"),
    ),
    Fault(
        "sum",
        "paddle",
        "x.sum() of everything, as the output",
        (),
        never,
        "writes a result of shape (1,) for ()",
        "sum over named axes",
        "refused",
        ("sum()",),
    ),
    Fault(
        "mean",
        "paddle",
        "x.mean() of everything, as the output",
        (),
        never,
        "ends the process",
        "take the mean over named axes",
        "refused",
        ("mean()",),
    ),
    Fault(
        "log-softmax",
        "paddle",
        "LogSoftmax",
        ("LogSoftmax",),
        by(always),
        "writes ONNX's LogSoftmax; Paddle itself never goes below -64 under the largest logit",
        "compare logits",
        "noted",
        ("LogSoftmax of logits 100 apart",),
    ),
    Fault(
        "relu-nan",
        "paddle",
        "ReLU of NaN",
        (),
        never,
        "writes ONNX's ReLU, which returns NaN; Paddle itself returns 0",
        "check for NaN before",
        "noted",
        ("ReLU() of NaN",),
    ),
)
