"""parity/onnx_files/rewrite_rules/pooling.py."""

import numpy as np
import pytest
from graphs import becomes, stays


@pytest.mark.parametrize("axes", [[1, 2], [2], [1, 2, 3], [-1, -3]])
def test_a_mean_over_other_axes_stays(axes):
    stays("y = ReduceMean (x, a)", {"a": np.array(axes)})


@pytest.mark.parametrize(
    "settings",
    [
        "kernel_shape = [6, 6], pads = [1, 1, 1, 1]",
        'kernel_shape = [6, 6], auto_pad = "SAME_UPPER"',
        "kernel_shape = [6, 5]",
        "kernel_shape = [1, 1], strides = [2, 1]",
        "kernel_shape = [1, 1], pads = [0, 0, 0, 0], strides = [2, 2]",
    ],
)
def test_windows_that_are_neither_the_whole_map_nor_single_elements_stay(settings):
    stays(f"y = AveragePool <{settings}> (x)", {})


def test_a_map_of_unknown_size_has_no_whole_window():
    stays("y = AveragePool <kernel_shape = [6, 6]> (x)", {}, inputs="float[N, 3, H, W] x")


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2], [3, -2]])
def test_case_1_the_mean_of_a_map_is_global_average_pooling(axes):
    becomes("y = ReduceMean (x, a)", "y = GlobalAveragePool (x)", {"a": np.array(axes)}, ["GlobalAveragePool"])


def test_case_1_without_kept_axes_is_flattened_and_old_opsets_have_axes_as_an_attribute():
    flat = "a = GlobalAveragePool (x)\n y = Flatten (a)"
    expected = ["GlobalAveragePool", "Flatten"]
    becomes("y = ReduceMean <keepdims = 0> (x, r)", flat, {"r": np.array([2, 3])}, expected)
    becomes("y = ReduceMean <keepdims = 0, axes = [2, 3]> (x)", flat, {}, expected, opset=13)


@pytest.mark.parametrize("settings", ["", ", strides = [6, 6]", ', auto_pad = "VALID"'])
def test_case_2_one_window_of_the_whole_map_is_global_average_pooling(settings):
    body = f"y = AveragePool <kernel_shape = [6, 6]{settings}> (x)"
    becomes(body, "y = GlobalAveragePool (x)", {}, ["GlobalAveragePool"])


@pytest.mark.parametrize("operator", ["AveragePool", "MaxPool"])
def test_case_3_windows_of_single_elements_are_nothing(operator):
    body = f"a = {operator} <kernel_shape = [1, 1], strides = [1, 1]> (x)\n y = Relu (a)"
    becomes(body, "y = Relu (x)", {}, ["Relu"])
