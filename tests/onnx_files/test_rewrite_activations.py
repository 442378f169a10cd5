"""parity/onnx_files/rewrite_rules/activations.py."""

import numpy as np
from graphs import becomes, numbers, stays

HALF = {"h": np.float32(0.5)}


def test_softplus_and_tanh_of_another_value_are_no_mish():
    stays("a = Softplus (x)\n b = Tanh (a)\n c = Relu (x)\n y = Mul (b, c)", {})


def test_an_opset_without_mish_keeps_it_written_out():
    stays("a = Softplus (x)\n b = Tanh (a)\n y = Mul (b, x)", {}, opset=17)


def test_what_is_not_exact_in_another_order_stays():
    stays("a = Sigmoid (x)\n b = Mul (h, a)\n y = Mul (x, b)", {"h": np.float32(0.7)})


def test_case_1_a_slope_has_no_batch_axis():
    slope = numbers(3, 1, 1)
    becomes("y = PRelu (x, s)", "y = PRelu (x, t)", {"s": slope, "t": slope[np.newaxis]}, ["PRelu"])


def test_case_2_mish_written_out_is_mish():
    for product in ("Mul (b, x)", "Mul (x, b)"):
        becomes("y = Mish (x)", f"a = Softplus (x)\n b = Tanh (a)\n y = {product}", {}, ["Mish"])


def test_case_3_a_half_is_multiplied_last():
    last = "a = Sigmoid (x)\n b = Mul (x, a)\n y = Mul (b, h)"
    first = "a = Sigmoid (x)\n b = Mul (h, a)\n y = Mul (x, b)"
    becomes(last, first, HALF, ["Sigmoid", "Mul", "Mul"])
