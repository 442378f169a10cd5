"""Activations, softmax, argmax."""

import warnings

import numpy as np
import paddle
import paddle.nn.functional as PF
import torch
import torch.nn.functional as TF
from differences import AGREE, agree, draw, plain, row, which
from facts.cases import LINTED, PROVED, P, T, graded

ACTIVATIONS = (
    *("relu", "relu6", "hardswish", "silu", "mish", "elu", "selu", "celu", "leaky_relu", "softplus", "softsign"),
    *("tanhshrink", "hardshrink", "softshrink", "sigmoid", "tanh", "hardtanh", "log_sigmoid", "gelu"),
)


@row("activations", *AGREE, f"{', '.join(ACTIVATIONS)} (erf and tanh), prelu: in float64, defaults too", PROVED)
def activations():
    x = np.concatenate([draw(60) * 5, [0.0, 25, -25]])

    def ours(name):
        if name == "tanh form":
            return TF.gelu(T(x), approximate="tanh")
        if name == "prelu":
            return TF.prelu(T(x)[None, :, None], T(draw(63)))
        return getattr(TF, {"log_sigmoid": "logsigmoid"}.get(name, name))(T(x))

    def theirs(name):
        if name == "tanh form":
            return PF.gelu(P(x), approximate=True)
        if name == "prelu":
            return PF.prelu(P(x)[None, :, None], P(draw(63)))
        return getattr(PF, name)(P(x))

    return agree(ours, theirs, [(name,) for name in [*ACTIVATIONS, "tanh form", "prelu"]])


@row(
    "activations",
    "x / 6 + 1 / 2",
    "0.1666667 x + 1 / 2",
    "hard sigmoid between -3 and 3: 2e-7 of its slope",
    "Paddle's float64 run here computes it exactly",
)
def hardsigmoid():
    rules = {
        "x / 6 + 1 / 2": lambda x: x / 6 + 0.5,
        "0.1666667 x + 1 / 2": lambda x: float(np.float32(0.1666667)) * x + 0.5,
    }
    cases = [(np.array([0.7, -2.3]),), (np.array([2.9]),)]
    found = which(lambda x: TF.hardsigmoid(T(x)), cases, rules, 1e-9)
    return found, which(lambda x: PF.hardsigmoid(P(x)), cases, rules, 1e-9)


@row(
    "activations",
    "as it is set",
    "rounded to float32",
    "a setting within a float64 kernel: ELU's and CELU's alpha, Softshrink's lambda, Hardtanh's bounds; eps of "
    "BatchNorm, InstanceNorm and LayerNorm likewise, GroupNorm's not",
    "while `parity` traces torch in float64, its own are rounded too (tests/judging/test_right_ports.py)",
)
def float32_settings():
    x = np.array([-2.3, -0.2, 0.4, 1.7])

    def exact(name, a):
        if name == "elu":
            return np.where(x > 0, x, a * np.expm1(x))
        if name == "celu":
            return np.where(x > 0, x, a * np.expm1(x / a))
        return np.clip(x, -a, a) if name == "hardtanh" else np.sign(x) * np.maximum(np.abs(x) - a, 0)

    def run(functions, wrap):
        return lambda name, a: getattr(functions, name)(wrap(x), *([-a, a] if name == "hardtanh" else [a]))

    cases = [(name, 0.3) for name in ("elu", "celu", "hardtanh", "softshrink")]
    rules = {"as it is set": exact, "rounded to float32": lambda name, a: exact(name, float(np.float32(a)))}
    return which(run(TF, T), cases, rules, 1e-12), which(run(PF, P), cases, rules, 1e-12)


@row(
    "activations",
    "NaN",
    "0",
    "relu(NaN): a network whose training has diverged may look healthy in Paddle",
    "`parity compare` calls NaN `invalid`",
)
def relu_nan():
    def lines(function, wrap):
        def run(length, place, dtype):
            x = draw(length).astype(dtype)
            x[place] = np.nan
            return function(wrap(x))[place : place + 1]

        return run

    rules = {"NaN": lambda *_: np.array([np.nan]), "0": lambda *_: np.array([0.0])}
    cases = [(n, at, dtype) for n in (1, 5, 19, 70) for at in {0, n // 2, n - 1} for dtype in ("f4", "f8")]
    return which(lines(TF.relu, T), cases, rules), which(lines(PF.relu, P), cases, rules)


@row(
    "activations",
    "the slope",
    "1",
    "gradient of leaky_relu at 0",
    "nothing: an exact 0 is rare, and its gradient a convention",
)
def leaky_relu_gradient():
    rules = {"the slope": lambda a: np.full(3, a), "1": lambda a: np.ones(3)}
    cases = [(0.3,), (0.02,)]
    found = which(lambda a: graded(lambda x: TF.leaky_relu(x, a), np.zeros(3), torch), cases, rules)
    return found, which(lambda a: graded(lambda x: PF.leaky_relu(x, a), np.zeros(3), paddle), cases, rules)


@row(
    "activations",
    "0",
    "1",
    "gradient of clip (torch clamp) at its bounds; relu, relu6, hardtanh: 0 in both",
    "nothing, as above",
)
def clip_gradient():
    rules = {"0": lambda a, b: np.zeros(2), "1": lambda a, b: np.ones(2)}
    cases = [(-0.5, 2.0), (1.0, 7.0)]
    found = which(lambda a, b: graded(lambda x: x.clamp(a, b), np.array([a, b]), torch), cases, rules)
    return found, which(lambda a, b: graded(lambda x: x.clip(a, b), np.array([a, b]), paddle), cases, rules)


@row(
    "activations",
    "one of them",
    "all n of them, 1 / n each",
    "which of equal elements gets the gradient of max over an axis",
    "nothing, as above",
)
def max_gradient():
    def share(run, framework):
        def measure(count):
            return np.sort(plain(graded(run, np.full((1, count), 2.0), framework)).ravel())

        return measure

    rules = {"one of them": lambda n: np.eye(n)[-1], "all n of them, 1 / n each": lambda n: np.full(n, 1 / n)}
    cases = [(2,), (5,)]
    found = which(share(lambda x: x.max(1).values, torch), cases, rules)
    return found, which(share(lambda x: x.max(axis=1), paddle), cases, rules)


@row("softmax", "axis 1 of 4-D, with a warning", "the last axis", "default axis of the layer", LINTED)
def softmax_axis():
    x = draw(2, 3, 4, 5)
    rules = {
        "axis 1 of 4-D, with a warning": lambda: TF.softmax(T(x), 1),
        "the last axis": lambda: TF.softmax(T(x), -1),
    }
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ours = which(lambda: torch.nn.Softmax()(T(x)), [()], rules)
    if not told:
        ours += " now without"
    return ours, which(lambda: paddle.nn.Softmax()(P(x)), [()], rules)


@row(
    "softmax",
    "z - max z",
    "max(z - max z, -64)",
    "logits as softmax, log_softmax and cross entropy use them; a loss of Paddle's never exceeds about 64",
    LINTED,
)
def softmax_clip():
    def clipped(low):
        def run(gap, size):
            z = np.maximum(logits(gap, size) - logits(gap, size).max(), low)
            return z - np.log(np.exp(z).sum())

        return run

    def logits(gap, size):
        z = draw(size)
        z[0] = -gap
        return z

    rules = {"z - max z": clipped(-np.inf), "max(z - max z, -64)": clipped(-64)}
    cases = [(70.0, 5), (90.0, 11), (400.0, 3)]
    found = which(lambda *case: TF.log_softmax(T(logits(*case)), 0), cases, rules)
    return found, which(lambda *case: PF.log_softmax(P(logits(*case)), 0), cases, rules)


HIDES = "hides it, except in the tail of rows of 8 and more"


@row(
    "softmax",
    "NaN",
    HIDES,
    "a NaN among the logits, float32, last axis, CPU: in rows of L >= 8 Paddle shows it behind the last multiple of "
    "8 only, and at 0 "
    "if 8 does not divide L (its vectors hold 8 floats)",
    "`parity compare` calls NaN `invalid`, at the layer where it arises",
)
def softmax_nan():
    def lines(function, wrap):
        def run(length, place):
            z = draw(2, length).astype("f4")
            z[1, place] = np.nan
            return bool(np.isnan(plain(function(wrap(z), -1))).any())

        return run

    def hides(length, place):
        return length < 8 or place >= length // 8 * 8 or (place == 0 and length % 8 > 0)

    rules = {"NaN": lambda *_: True, HIDES: hides}
    cases = [(n, place) for n in (5, 7, 8, 11, 17, 26, 32, 45) for place in range(0, n, 2)]
    return which(lines(TF.softmax, T), cases, rules), which(lines(PF.softmax, P), cases, rules)


@row(
    "argmax",
    "the NaN",
    "the largest number",
    "what argmax finds in a row with a NaN",
    "`parity compare` compares arrays; it computes no argmax",
)
def argmax_nan():
    def lines(size, place):
        x = draw(size)
        x[place] = np.nan
        return x

    rules = {"the NaN": lambda size, place: place, "the largest number": lambda *case: np.nanargmax(lines(*case))}
    cases = [(5, 1), (12, 7), (33, 20)]
    found = which(lambda *case: T(lines(*case)).argmax(), cases, rules)
    return found, which(lambda *case: P(lines(*case)).argmax(), cases, rules)
