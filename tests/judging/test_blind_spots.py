"""Where a mistake could hide: behind layers whose float64 is kept short, behind special values, in settings."""

import math

import numpy as np
import paddle
import pytest
import torch
from paddle import nn as P
from pairs import IMAGE as SMALL_IMAGE
from pairs import small
from torch import nn as T

from parity import compare
from parity.backends.paddle_float64 import exact_operators
from parity.numerics.fixed_random import projection

IMAGE = projection((2, 8, 10, 10)).astype(np.float32)

# Layers that Paddle computes with a constant, or at a place, of fewer digits than float64 has; and two that it doesn't.
ACTIVATIONS = {
    "Hardsigmoid": (T.Hardsigmoid, P.Hardsigmoid),
    "SELU": (T.SELU, P.SELU),
    "ELU": (lambda: T.ELU(0.7), lambda: P.ELU(0.7)),
    "CELU": (lambda: T.CELU(0.7), lambda: P.CELU(0.7)),
    "Hardtanh": (lambda: T.Hardtanh(-0.7, 0.7), lambda: P.Hardtanh(-0.7, 0.7)),
    "Hardswish": (T.Hardswish, P.Hardswish),
    "Upsample": (lambda: T.Upsample((10, 9), mode="bilinear"), lambda: P.Upsample([10, 9], mode="bilinear")),
    "Upsample, bicubic": (
        lambda: T.Upsample((9, 10), mode="bicubic", align_corners=True),
        lambda: P.Upsample([9, 10], mode="bicubic", align_corners=True),
    ),
    "LocalResponseNorm": (lambda: T.LocalResponseNorm(3, beta=0.6), lambda: P.LocalResponseNorm(3, beta=0.6)),
    "AvgPool2d": (lambda: T.AvgPool2d(3, 1, 1), lambda: P.AvgPool2D(3, 1, 1, exclusive=False)),
}


def deep(framework, activation, depth, eps):
    conv, norm, sequential = (
        (T.Conv2d, T.BatchNorm2d, T.Sequential) if framework == "torch" else (P.Conv2D, P.BatchNorm2D, P.Sequential)
    )
    word = "eps" if framework == "torch" else "epsilon"
    layers = [layer for _ in range(depth) for layer in (conv(8, 8, 3, padding=1), norm(8), activation())]
    network = sequential(*layers, conv(8, 8, 3, padding=1), norm(8, **{word: eps}))
    network.eval()
    return network


@pytest.mark.parametrize("depth", [1, 12])
@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("backends", ["torch-torch", "torch-paddle", "paddle-torch", "paddle-paddle"])
def test_an_eps_off_by_a_tenth_is_found_behind_any_layer_and_the_right_pair_passes(backends, kind, depth):
    made = {"torch": ACTIVATIONS[kind][0], "paddle": ACTIVATIONS[kind][1]}
    first, second = backends.split("-")
    torch.manual_seed(0)
    paddle.seed(0)
    reference = deep(first, made[first], depth, 1e-5)
    assert compare(reference, deep(second, made[second], depth, 1e-5), IMAGE).ok
    result = compare(reference, deep(second, made[second], depth, 1.1e-5), IMAGE, values_only=True)
    last = str(3 * depth + 1)
    assert result.verdict == "different"
    assert (result.first_divergence.layer, result.first_divergence.where) == (last, "inside")
    assert [culprit.layer for culprit in result.culprits] == [last]
    assert "eps differs" in result.culprits[0].explanation


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_gradients_of_right_pairs_pass_too(kind):
    ours, theirs = ACTIVATIONS[kind]
    result = compare(deep("torch", ours, 2, 1e-5), deep("paddle", theirs, 2, 1e-5), IMAGE, gradients=True)
    assert result.ok, str(result)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: P.functional.hardsigmoid(x, slope=0.16667),
        lambda x: P.functional.hardsigmoid(x, slope=0.2),
        lambda x: P.functional.selu(x, scale=1.0507),
        lambda x: P.functional.interpolate(x, [1, 1], mode="bilinear"),
        lambda x: P.functional.interpolate(x, [20, 20], mode="bilinear", align_mode=1),
    ],
)
def test_what_paddle_computes_in_full_float64_is_still_what_was_called(wrong):
    right = {
        0: lambda x: T.functional.hardsigmoid(x),
        1: lambda x: T.functional.selu(x),
        2: lambda x: T.functional.interpolate(x, (1, 1), mode="bilinear"),
        3: lambda x: T.functional.interpolate(x, (20, 20), mode="bilinear"),
    }

    class Theirs(P.Layer):
        def forward(self, x):
            return wrong(x * 4)

    verdicts = []
    for function in right.values():

        class Ours(T.Module):
            def forward(self, x, function=function):
                return function(x * 4)

        verdicts.append(compare(Ours(), Theirs(), IMAGE).layers[-1].verdict)
    assert set(verdicts) <= {"different", "invalid"}


@pytest.mark.parametrize("name", ["hardsigmoid", "bilinear_interp"])
def test_a_kernel_that_means_something_else_is_not_replaced(monkeypatch, name):
    """Another version of Paddle may have another rule: an exact result far from the kernel's own is not taken."""
    kernel = getattr(paddle._C_ops, name)
    call = {
        "hardsigmoid": lambda x: P.functional.hardsigmoid(x),
        "bilinear_interp": lambda x: P.functional.interpolate(x, [20, 20], mode="bilinear"),
    }[name]
    x = paddle.to_tensor(IMAGE.astype(np.float64))
    with exact_operators():
        exact = call(x).numpy()
    monkeypatch.setattr(paddle._C_ops, name, lambda *settings: 1.001 * kernel(*settings))
    other = call(x).numpy()
    with exact_operators():
        assert np.array_equal(call(x).numpy(), other)
    assert not np.array_equal(exact, other)
    monkeypatch.setattr(paddle._C_ops, name, lambda *settings: kernel(*settings) * float("nan"))
    with exact_operators():
        assert np.isnan(call(x).numpy()).all()


class Torch(T.Module):
    """A convolution, and a function behind it."""

    def __init__(self, function, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.function = T.Conv2d(3, 4, 3), function

    def forward(self, x):
        return self.function(self.conv(x))


PICTURE = projection((1, 3, 8, 8)).astype(np.float32)


def held(function, other, picture=PICTURE, **options):
    return compare(Torch(function), Torch(other), picture, **options)


def masked(value, factor):
    return lambda y: torch.where(y > 0.5, torch.full_like(y, value), factor * y)


@pytest.mark.parametrize("value", [-math.inf, math.inf, -3.4e38, -1e9, 1e6, -65504.0])
@pytest.mark.parametrize("factor", [1.000001, 1.5, -9.0])
def test_special_values_do_not_hide_what_the_rest_does(value, factor):
    assert held(masked(value, 1.0), masked(value, 1.0)).ok
    assert held(masked(value, 1.0), masked(value, factor)).verdict == "different"
    assert held(lambda y: y + 1e9 * (y > 0.5), lambda y: factor * y + 1e9 * (y > 0.5)).verdict == "different"


@pytest.mark.parametrize(
    "one, other",
    [
        (lambda y: torch.log(torch.relu(y)), lambda y: 1.5 * torch.log(torch.relu(y))),
        (lambda y: y / torch.relu(y), lambda y: 2 * y / torch.relu(y)),
    ],
)
def test_an_infinity_on_both_sides_excuses_nothing(one, other):
    assert not held(one, other).ok


def test_tensors_without_elements_prove_nothing():
    result = compare(Torch(torch.relu), Torch(torch.relu, seed=1), PICTURE[:0], transfer=False)
    assert result.verdict == "invalid"
    assert "no elements: nothing was compared" in str(result)
    result = held(lambda y: y[:0], lambda y: y[:0])
    assert result.verdict == "invalid"


@pytest.mark.parametrize("one, other", [([10**15, 5], [10**15, 6]), ([2**60], [2**60 + 100]), ([2**53], [2**53 + 1])])
def test_integers_are_equal_or_not(one, other):
    number = lambda values: lambda y: torch.tensor(values)
    assert held(number(one), number(one)).ok
    result = held(number(one), number(other))
    assert result.verdict == "different"
    assert "int64 must be equal" in str(result)


def test_booleans_are_equal_or_not():
    assert held(lambda y: y > 0, lambda y: y > 0).ok
    result = held(lambda y: y > 0, lambda y: y < 0)
    assert result.verdict == "different"
    assert "144 of 144 elements differ" in str(result)


def test_an_argmax_that_differs_says_whether_what_was_before_it_agrees():
    assert held(lambda y: y.argmax(1), lambda y: y.argmax(1)).ok
    result = held(lambda y: y.argmax(1), lambda y: y.argmin(1))
    assert result.verdict == "different"
    assert "all floating tensors before it agree" in str(result)
    result = held(lambda y: y.argmax(1), lambda y: y.argmin(1), transfer=False)
    assert result.verdict == "different"


def test_a_single_number_keeps_its_shape():
    assert held(lambda y: y.sum(), lambda y: y.sum()).ok
    assert held(lambda y: y.sum(), lambda y: 1.001 * y.sum()).verdict == "different"
    result = held(lambda y: y.sum(), lambda y: y.sum()[None])
    assert result.verdict == "invalid"
    assert "shape differs: reference (), candidate (1,)" in str(result)

    class Mean(P.Layer):
        def __init__(self):
            super().__init__()
            self.conv = P.Conv2D(3, 4, 3)

        def forward(self, x):
            return self.conv(x).mean()

    assert compare(Torch(lambda y: y.mean()), Mean(), PICTURE).ok


def test_outputs_are_paired_by_their_keys():
    one, other = lambda y: {"a": y, "b": 2 * y}, lambda y: {"b": 2 * y, "a": y}
    assert held(one, other).ok
    assert held(one, lambda y: {"a": 2 * y, "b": y}).verdict == "different"
    assert held(one, lambda y: [y, 2 * y]).ok
    result = held(one, lambda y: {"a": y, "c": 2 * y})
    assert result.verdict == "invalid"
    assert "outputs of one side alone: b in the reference; c in the candidate" in str(result)
    assert held(lambda y: {"out": {"x": y, "z": [y + 1, y]}}, lambda y: {"out": {"z": [y + 1, y], "x": y}}).ok


@pytest.mark.parametrize(
    "ours, theirs, word",
    [
        (T.ReLU(), P.ReLU6(), "kind"),
        (T.LeakyReLU(0.1), P.LeakyReLU(0.2), "negative_slope"),
        (T.MaxPool2d(2, ceil_mode=True), P.MaxPool2D(2), "ceil_mode"),
        (T.AdaptiveAvgPool2d(5), P.AvgPool2D(2), "kind"),
        (T.Upsample(scale_factor=2), P.Upsample([20, 20], mode="nearest"), "scale_factor"),
        (T.Hardtanh(-3, 3), P.Hardtanh(-4, 4), "max_val"),
    ],
)
def test_a_setting_that_differs_is_found_where_this_input_does_not_show_it(ours, theirs, word):
    picture = np.abs(IMAGE)
    result = compare(T.Sequential(ours).eval(), P.Sequential(theirs), picture)
    assert result.verdict == "different"
    assert f"{word} differs" in result.culprits[0].explanation
    assert result.culprits[0].explanation.endswith("same output on this input")
    assert "its settings differ, its output on this input does not" in str(result)
    assert compare(T.Sequential(ours).eval(), P.Sequential(theirs), picture, values_only=True).ok


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (T.ReLU6(), P.Hardtanh(0, 6)),
        (T.SiLU(), P.Swish()),
        (T.Dropout(0.2), P.Identity()),
        (T.AvgPool2d(2), P.AvgPool2D(2)),  # what is counted where there is no padding
        (T.ZeroPad2d(1), P.Pad2D(1)),
        (T.ReplicationPad2d(1), P.Pad2D(1, mode="replicate", value=3.0)),
        (T.Conv2d(8, 8, 3, padding="same"), P.Conv2D(8, 8, 3, padding=1)),
        (T.Conv2d(8, 8, 1, dilation=2), P.Conv2D(8, 8, 1)),
        (T.Conv2d(8, 8, 3, padding=1), P.Conv2D(8, 8, 3, padding=[1, 1, 1, 1])),
        (T.Softmax(-1), P.Softmax(3)),
        (T.Flatten(1, -1), P.Flatten(1, 3)),
        (T.UpsamplingBilinear2d(scale_factor=2), P.Upsample(scale_factor=2, mode="bilinear", align_corners=True)),
        (T.Upsample(scale_factor=2), P.Upsample(scale_factor=[2, 2], mode="nearest")),
    ],
)
def test_settings_that_say_the_same_otherwise_are_not(ours, theirs):
    result = compare(T.Sequential(ours).eval(), P.Sequential(theirs), IMAGE)
    assert result.ok, str(result)


def test_what_differs_in_training_alone_is_a_note():
    ours = T.Sequential(T.BatchNorm2d(8), T.Dropout(0.5), T.BatchNorm2d(8))
    theirs = P.Sequential(P.BatchNorm2D(8, momentum=0.1), P.Dropout(0.2), P.BatchNorm2D(8, momentum=0.1))
    theirs.eval()
    result = compare(ours.eval(), theirs, IMAGE)
    assert result.ok
    assert result.notes == (
        "in training alone: momentum differs: torch=0.1, paddle=0.9 (0, 2)",
        "in training alone: p differs: torch=0.5, paddle=0.2 (1)",
    )


def test_a_gradient_that_is_zero_is_measured_by_its_terms():
    """The gradient of a bias before a normalisation is zero in exact arithmetic: rounding alone is left of it."""
    result = compare(
        T.Sequential(T.Conv2d(8, 8, 3), T.LayerNorm(8)), P.Sequential(P.Conv2D(8, 8, 3), P.LayerNorm(8)), IMAGE,
        gradients=True,
    )  # fmt: skip
    assert result.ok, str(result)


def test_a_network_that_was_given_in_training_mode_is_noted():
    reference, candidate = small()
    assert compare(reference, candidate, SMALL_IMAGE).notes == ()
    candidate.train()
    result = compare(reference, candidate, SMALL_IMAGE)
    assert result.ok
    assert result.notes == ("given in training mode, compared in evaluation mode: candidate",)
    assert candidate.training
    reference.train()
    assert compare(reference, candidate, SMALL_IMAGE).notes[0].endswith("reference and candidate")
