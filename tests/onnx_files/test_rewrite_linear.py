"""parity/onnx_files/rewrite_rules/linear.py."""

import numpy as np
import pytest
from graphs import becomes, numbers, stays

MATRIX = {"inputs": "float[N, 6] x"}
WEIGHT = numbers(5, 6)
TENSORS = {"w": WEIGHT, "t": np.ascontiguousarray(WEIGHT.T), "b": numbers(5)}
SHAPE = (2, 6)


def test_a_stack_of_matrices_is_no_gemm():
    stays("y = MatMul (x, w)", {"w": numbers(6, 4)})


def test_a_product_of_two_matrices_that_depend_on_the_input_is_no_gemm():
    stays("a = Relu (x)\n t = Transpose (a)\n y = MatMul (x, t)", {}, **MATRIX)


@pytest.mark.parametrize("shape", [(1, 5), (1,), ()])
def test_what_is_no_row_is_no_bias(shape):
    stays("a = Gemm <transB = 1> (x, w)\n y = Add (a, b)", {"w": WEIGHT, "b": numbers(*shape)}, **MATRIX)


def test_a_bias_that_beta_would_scale_stays():
    stays("a = Gemm <transB = 1, beta = 0.5> (x, w)\n y = Add (a, b)", TENSORS, **MATRIX)


def test_case_1_a_product_with_a_constant_matrix_is_gemm():
    becomes("y = MatMul (x, t)", "y = Gemm <transB = 1> (x, w)", TENSORS, ["Gemm"], SHAPE, **MATRIX)


@pytest.mark.parametrize("add", ["Add (a, b)", "Add (b, a)"])
def test_case_2_an_added_row_goes_into_gemm(add):
    body = f"a = Gemm <transB = 1> (x, w)\n y = {add}"
    becomes(body, "y = Gemm <transB = 1> (x, w, b)", TENSORS, ["Gemm"], SHAPE, **MATRIX)


@pytest.mark.parametrize("settings", ["", "alpha = 0.5, beta = 2.0"])
def test_case_3_a_weight_is_written_as_in_a_state(settings):
    ours = f"y = Gemm <{', '.join(filter(None, ['transB = 1', settings]))}> (x, w, b)"
    becomes(f"y = Gemm <{settings}> (x, t, b)" if settings else "y = Gemm (x, t, b)", ours, TENSORS, ["Gemm"], SHAPE,
            **MATRIX)  # fmt: skip
