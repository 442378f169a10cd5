"""What is exported: pools of a sweep, and the smallest model of each operator."""

import itertools
import random

OPSETS = {"torch": (18, 20, 22), "paddle": (13, 17, 21)}
KINDS = "max", "avg, padding counted", "avg, padding left out"
STRATA = "plain", "overhang", "drop"
EACH = 50


def cells():
    """Return the sample: 50 pools [size, kernel, stride, padding, ceil_mode] of each stratum, drawn from a sweep.

    "drop": Paddle makes one window more than torch. "overhang": a last window reaches past the padding, in both.
    """
    found = {name: [] for name in STRATA}
    for size, k, s, ceil in itertools.product(range(4, 29), range(1, 8), range(1, 7), (False, True)):
        for p in range(k // 2 + 1):
            if size + 2 * p < k:
                continue
            rest = (size + 2 * p - k) % s
            kind = "plain" if not (ceil and rest) else "drop" if s - rest >= k - p else "overhang"
            found[kind].append([size, k, s, p, ceil])
    chosen = random.Random(11)
    return {name: sorted(chosen.sample(all_, EACH)) for name, all_ in found.items()}


# Name -> the smallest model of it, in both frameworks' words, and the shape of its input. `T` and `P` are
# torch.nn and paddle.nn, `TF` and `PF` their functional modules. A word in place of code: it has no such layer.
OPERATORS = {
    "LeakyReLU(0.3)": ("T.LeakyReLU(0.3)", "P.LeakyReLU(0.3)", (4,)),
    "ELU(0.7)": ("T.ELU(0.7)", "P.ELU(0.7)", (4,)),
    "CELU(0.7)": ("T.CELU(0.7)", "P.CELU(0.7)", (4,)),
    "SELU()": ("T.SELU()", "P.SELU()", (4,)),
    "Softplus()": ("T.Softplus()", "P.Softplus()", (4,)),
    "Softplus(beta=2)": ("T.Softplus(2)", "P.Softplus(2)", (4,)),
    "GELU()": ("T.GELU()", "P.GELU()", (4,)),
    "GELU('tanh')": ("T.GELU(approximate='tanh')", "P.GELU(True)", (4,)),
    "Hardtanh(-0.4, 0.3)": ("T.Hardtanh(-0.4, 0.3)", "P.Hardtanh(-0.4, 0.3)", (4,)),
    "Hardswish()": ("T.Hardswish()", "P.Hardswish()", (4,)),
    "Hardsigmoid()": ("T.Hardsigmoid()", "P.Hardsigmoid()", (4,)),
    "SiLU()": ("T.SiLU()", "P.Silu()", (4,)),
    "Mish()": ("T.Mish()", "P.Mish()", (4,)),
    "PReLU()": ("T.PReLU()", "P.PReLU()", (1, 2, 3, 3)),
    "ReLU6()": ("T.ReLU6()", "P.ReLU6()", (4,)),
    "ReLU() of NaN": ("T.ReLU()", "P.ReLU()", (4,)),
    "Softmax(1)": ("T.Softmax(1)", "P.Softmax(1)", (1, 5, 2, 2)),
    "LogSoftmax of logits 100 apart": (
        "F(lambda x: TF.log_softmax(x * 100, 1))",
        "F(lambda x: PF.log_softmax(x * 100, 1))",
        (1, 5),
    ),
    "pad with 0.7": (
        "F(lambda x: TF.pad(x, [1, 1, 1, 1], value=0.7))",
        "F(lambda x: PF.pad(x, [1, 1, 1, 1], value=0.7))",
        (1, 1, 2, 2),
    ),
    "pad, reflect": (
        "F(lambda x: TF.pad(x, [1, 1, 1, 1], 'reflect'))",
        "F(lambda x: PF.pad(x, [1, 1, 1, 1], 'reflect'))",
        (1, 1, 3, 3),
    ),
    "pad, circular": (
        "F(lambda x: TF.pad(x, [1, 1, 1, 1], 'circular'))",
        "F(lambda x: PF.pad(x, [1, 1, 1, 1], 'circular'))",
        (1, 1, 3, 3),
    ),
    "GroupNorm(2, 4, eps=0.3)": ("T.GroupNorm(2, 4, 0.3)", "P.GroupNorm(2, 4, 0.3)", (1, 4, 2, 2)),
    "LayerNorm(4)": ("T.LayerNorm(4)", "P.LayerNorm(4)", (2, 4)),
    "LayerNorm([3, 4])": ("T.LayerNorm([3, 4])", "P.LayerNorm([3, 4])", (2, 3, 4)),
    "InstanceNorm2d(2)": ("T.InstanceNorm2d(2)", "P.InstanceNorm2D(2)", (1, 2, 3, 3)),
    "BatchNorm2d(2), eval": ("T.BatchNorm2d(2, 0.1)", "P.BatchNorm2D(2, epsilon=0.1)", (1, 2, 2, 2)),
    "Conv2d, padding 'same'": ("T.Conv2d(1, 1, 2, padding='same')", "P.Conv2D(1, 1, 2, padding='SAME')", (1, 1, 4, 4)),
    "Conv2d, padding 'same', dilation 2": (
        "T.Conv2d(1, 1, 3, padding='same', dilation=2)",
        "P.Conv2D(1, 1, 3, padding='SAME', dilation=2)",
        (1, 1, 6, 6),
    ),
    "Conv2d, groups, stride, dilation": (
        "T.Conv2d(4, 2, 3, 2, 2, 2, 2)",
        "P.Conv2D(4, 2, 3, 2, 2, 2, 2)",
        (1, 4, 7, 7),
    ),
    "ConvTranspose2d": ("T.ConvTranspose2d(2, 1, 3, 2, 1, 1)", "P.Conv2DTranspose(2, 1, 3, 2, 1, 1)", (1, 2, 3, 3)),
    "Linear(3, 2)": ("T.Linear(3, 2)", "P.Linear(3, 2)", (2, 3)),
    "Flatten()": ("T.Flatten()", "P.Flatten()", (2, 2, 2, 2)),
    "AvgPool2d(3, divisor_override=7)": (
        "T.AvgPool2d(3, divisor_override=7)",
        "P.AvgPool2D(3, divisor_override=7)",
        (1, 1, 3, 3),
    ),
    "MaxPool2d(2, dilation=2)": ("T.MaxPool2d(2, 1, dilation=2)", "no such argument", (1, 1, 4, 4)),
    "MaxPool2d(2) of NaN": ("T.MaxPool2d(2)", "P.MaxPool2D(2)", (1, 1, 2, 2)),
    **{
        f"Adaptive{kind.title()}Pool2d({out}) of {size} x {size}": (
            f"T.Adaptive{kind.title()}Pool2d({out})",
            f"P.Adaptive{kind.title()}Pool2D({out})",
            (1, 1, size, size),
        )
        for kind in ("avg", "max")
        for size, out in ((5, 1), (6, 3), (9, 2), (9, 4), (11, 3), (12, 5), (3, 4))
    },
    "AdaptiveAvgPool2d(2), H and W dynamic, exported at 4 x 4, run at 6 x 6": (
        "T.AdaptiveAvgPool2d(2)",
        "P.AdaptiveAvgPool2D(2)",
        (1, 1, 4, 4),
        (1, 1, 6, 6),
    ),
    "AdaptiveAvgPool2d(1), H and W dynamic, exported at 4 x 4, run at 6 x 6": (
        "T.AdaptiveAvgPool2d(1)",
        "P.AdaptiveAvgPool2D(1)",
        (1, 1, 4, 4),
        (1, 1, 6, 6),
    ),
    "Upsample(scale_factor=2)": ("T.Upsample(scale_factor=2)", "P.Upsample(scale_factor=2)", (1, 1, 2, 2)),
    "Upsample(size=4), bilinear": (
        "T.Upsample([4, 4], mode='bilinear')",
        "P.Upsample([4, 4], mode='bilinear')",
        (1, 1, 2, 3),
    ),
    "Upsample(size=4), bilinear, align_corners": (
        "T.Upsample([4, 4], mode='bilinear', align_corners=True)",
        "P.Upsample([4, 4], mode='bilinear', align_corners=True)",
        (1, 1, 2, 3),
    ),
    "sum()": ("F(lambda x: x.sum())", "F(lambda x: x.sum())", (2, 2)),
    "mean()": ("F(lambda x: x.mean())", "F(lambda x: x.mean())", (2, 2)),
    "mean([2, 3])": ("F(lambda x: x.mean([2, 3]))", "F(lambda x: x.mean([2, 3]))", (1, 2, 2, 2)),
    "PixelShuffle(2)": ("T.PixelShuffle(2)", "P.PixelShuffle(2)", (1, 4, 2, 2)),
    "PixelUnshuffle(2)": ("T.PixelUnshuffle(2)", "P.PixelUnshuffle(2)", (1, 1, 4, 4)),
    "ChannelShuffle(2)": ("T.ChannelShuffle(2)", "P.ChannelShuffle(2)", (1, 4, 2, 2)),
    "Maxout(2)": ("no such layer", "P.Maxout(2)", (1, 4, 2, 2)),
    "Dropout(0.5), exported in training mode": ("T.Dropout(0.5)", "P.Dropout(0.5)", (8, 8)),
}
DEFAULT_OPSET = {"torch": 18, "paddle": 17}


def operator_tasks(backend, names=None):
    """Return the tasks of a framework's operators."""
    return [
        {"name": name, "opset": DEFAULT_OPSET[backend]}
        for name, row in OPERATORS.items()
        if not row[backend == "paddle"].startswith("no ") and (names is None or name in names)
    ]


def pool_tasks(backend, sample=None, opsets=None):
    """Return the tasks of a framework's pools: a kind, an opset, and the cells of one stratum."""
    return [
        {"pools": kind, "opset": opset, "stratum": stratum, "cells": chosen}
        for opset in opsets or OPSETS[backend]
        for kind in KINDS
        for stratum, chosen in (sample or cells()).items()
    ]
