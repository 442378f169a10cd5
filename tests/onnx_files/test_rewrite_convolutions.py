"""parity/onnx_files/rewrite_rules/convolutions.py. That BatchNorm is folded to the bit is in test_canonical.py."""

import numpy as np
import pytest
from graphs import becomes, numbers, stays

WEIGHT = numbers(4, 3, 3, 3)
NORM = {name: numbers(4) for name in ("g", "b", "m", "v")}


@pytest.mark.parametrize("settings", ["training_mode = 1", "training_mode = 1, epsilon = 0.1"])
def test_a_norm_in_training_mode_is_not_folded(settings):
    stays(f"a = Conv (x, w)\n y = BatchNormalization <{settings}> (a, g, b, m, v)", {"w": WEIGHT, **NORM})


def test_a_norm_of_numbers_that_depend_on_the_input_is_not_folded():
    body = "c = Conv (x, w)\n s = ReduceSum <keepdims = 0> (x, axes)\n y = BatchNormalization (c, s, b, m, v)"
    three = {name: array[:3] for name, array in {"w": WEIGHT, **NORM}.items()}
    stays(body, {**three, "axes": np.array([0, 2, 3])})


@pytest.mark.parametrize("shape", [(4,), (1, 1, 1, 4), (1, 4), (4, 1), (1, 1)])
def test_what_is_not_one_number_a_channel_is_no_bias(shape):
    stays("a = Conv (x, w)\n y = Add (a, b)", {"w": WEIGHT, "b": numbers(*shape)})


def test_a_second_bias_stays():
    stays("a = Conv (x, w, c)\n y = Add (a, b)", {"w": WEIGHT, "c": numbers(4), "b": numbers(1, 4, 1, 1)})


def test_case_1_a_norm_goes_into_the_convolution():
    folded = NORM["g"].astype(np.float64) / np.sqrt(NORM["v"].astype(np.float64) + np.float64(np.float32(1e-5)))
    shift = (NORM["b"] - NORM["m"] * folded).astype(np.float32)
    tensors = {"w": WEIGHT, **NORM, "fw": (WEIGHT * folded[:, None, None, None]).astype(np.float32), "fb": shift}
    body = "a = Conv (x, w)\n y = BatchNormalization (a, g, b, m, v)"
    becomes(body, "y = Conv (x, fw, fb)", tensors, ["Conv"])


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1)])
@pytest.mark.parametrize("add", ["Add (a, b)", "Add (b, a)"])
def test_case_2_an_added_bias_goes_into_the_convolution(shape, add):
    bias = numbers(4)
    tensors = {"w": WEIGHT, "flat": bias, "b": bias.reshape(shape)}
    becomes(f"a = Conv (x, w)\n y = {add}", "y = Conv (x, w, flat)", tensors, ["Conv"])


def test_case_2_of_a_transposed_convolution_counts_channels_by_groups():
    bias = numbers(6)
    tensors = {"w": numbers(3, 2, 3, 3), "flat": bias, "b": bias.reshape(1, 6, 1, 1)}
    body = "a = ConvTranspose <group = 3> (x, w)\n y = Add (a, b)"
    becomes(body, "y = ConvTranspose <group = 3> (x, w, flat)", tensors, ["ConvTranspose"])
