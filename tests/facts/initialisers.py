"""Initialisers."""

import math

import numpy as np
import paddle
import torch
from differences import plain, row


def moments(weight):
    """Return a weight's standard deviation, and its largest element over that: sqrt(3) if uniform."""
    values = plain(weight).ravel().astype("f8")
    return values.std(), np.abs(values).max() / values.std()


def drawn(make, cases, normal, uniform, other=None):
    """Return the name of the rule for the deviation; `normal` and `uniform`: name -> deviation of a case."""
    seen = []
    for case in cases:
        deviation, reach = moments(make(*case))
        shape = uniform if reach < 1.8 else normal
        names = {name for name, rule in shape.items() if abs(deviation / rule(*case) - 1) < 0.03}
        seen.append(names or {f"deviation {deviation:.4f}, reach {reach:.2f} for {case}"})
    common = set.intersection(*seen)
    return common.pop() if len(common) == 1 else f"no rule known: {seen}"


FRAMES = [(48, 80, 5, 1), (96, 64, 3, 2), (128, 128, 4, 16)]
HE, FAN = "N(0, sqrt(2 / (C_in k k))), C_in not divided by groups", "U(+-1 / sqrt(C_in k k / groups))"


@row(
    "initialisers",
    FAN,
    HE,
    "default of a convolution's weight: Paddle's deviation is 2.4 times torch's without groups, and too small by "
    "sqrt(groups) with them",
    "random weights are the project's own, drawn alike on both sides",
)
def init_conv():
    normal = {
        HE: lambda a, b, k, g: math.sqrt(2 / (a * k * k)),
        "N(0, sqrt(2 / fan_in))": lambda a, b, k, g: math.sqrt(2 * g / (a * k * k)),
    }
    uniform = {FAN: lambda a, b, k, g: math.sqrt(g / (a * k * k) / 3)}
    torch.manual_seed(3)
    paddle.seed(3)
    return (
        drawn(lambda a, b, k, g: torch.nn.Conv2d(a, b, k, groups=g).weight, FRAMES, normal, uniform),
        drawn(lambda a, b, k, g: paddle.nn.Conv2D(a, b, k, groups=g).weight, FRAMES, normal, uniform),
    )


@row(
    "initialisers",
    "U(+-1 / sqrt(C_out k k))",
    "Xavier uniform",
    "default of a transposed convolution's weight",
    "as above",
)
def init_conv_transposed():
    uniform = {
        "U(+-1 / sqrt(C_out k k))": lambda a, b, k: math.sqrt(1 / (b * k * k) / 3),
        "Xavier uniform": lambda a, b, k: math.sqrt(2 / ((a + b) * k * k)),
    }
    torch.manual_seed(3)
    paddle.seed(3)
    cases = [(48, 90, 5), (120, 50, 3)]
    return (
        drawn(lambda *case: torch.nn.ConvTranspose2d(*case).weight, cases, {}, uniform),
        drawn(lambda *case: paddle.nn.Conv2DTranspose(*case).weight, cases, {}, uniform),
    )


@row("initialisers", "U(+-1 / sqrt(in))", "Xavier uniform", "default of a Linear's weight", "as above")
def init_linear():
    uniform = {
        "U(+-1 / sqrt(in))": lambda a, b: math.sqrt(1 / a / 3),
        "Xavier uniform": lambda a, b: math.sqrt(2 / (a + b)),
    }
    torch.manual_seed(3)
    paddle.seed(3)
    cases = [(150, 220), (300, 90)]
    return (
        drawn(lambda *case: torch.nn.Linear(*case).weight, cases, {}, uniform),
        drawn(lambda *case: paddle.nn.Linear(*case).weight, cases, {}, uniform),
    )


@row("initialisers", "U(+-1 / sqrt(fan_in))", "0", "default of the biases of convolution and Linear", "as above")
def init_bias():
    torch.manual_seed(3)

    def said(bias, fan):
        values = plain(bias)
        if not values.any():
            return "0"
        fits = abs(values.std() * math.sqrt(3 * fan) - 1) < 0.05 and np.abs(values).max() <= fan**-0.5
        return "U(+-1 / sqrt(fan_in))" if fits else f"deviation {values.std():.3f}"

    found = []
    for nn, names in ((torch.nn, ("Conv2d", "Linear")), (paddle.nn, ("Conv2D", "Linear"))):
        conv_, linear = getattr(nn, names[0])(6, 5000, 3), getattr(nn, names[1])(70, 5000)
        found.append(" or ".join(sorted({said(conv_.bias, 54), said(linear.bias, 70)})))
    return tuple(found)
