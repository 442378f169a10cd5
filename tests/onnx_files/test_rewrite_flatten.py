"""parity/onnx_files/rewrite_rules/flatten.py."""

import numpy as np
import pytest
from graphs import becomes, stays

FLAT = "y = Flatten (x)"


@pytest.mark.parametrize("sizes", [[-1, 54], [0, 3, -1], [6, -1], [-1, 36]])
def test_another_reshape_stays(sizes):
    stays("y = Reshape (x, s)", {"s": np.array(sizes)})


def test_sizes_that_are_computed_and_may_be_any_stay():
    body = """h = Shape <start = 2, end = 3> (x)
        w = Shape <start = 3, end = 4> (x)
        t = Concat <axis = 0> (h, w)
        y = Reshape (x, t)"""
    stays(body, {}, inputs="float[1, 1, H, W] x")


def test_a_squeeze_of_other_axes_or_of_a_larger_map_stays():
    stays("a = GlobalAveragePool (x)\n y = Squeeze (a, s)", {"s": np.array([2])})
    stays("y = Squeeze (x, s)", {"s": np.array([2, 3])}, inputs="float[N, 3, H, W] x")


def test_a_part_of_a_part_of_a_shape_stays():
    body = """p = Shape <start = 1> (x)
        n = Slice (p, o, u, o)
        t = Concat <axis = 0> (n, m)
        y = Expand (c, t)"""
    tensors = {"o": np.array([0]), "u": np.array([1]), "m": np.array([4]), "c": np.ones((1, 1), np.float32)}
    stays(body, tensors, inputs="float[N, C, 6, 6] x")


@pytest.mark.parametrize("sizes", [[0, -1], [-1, 108], [0, 108], [2, 108]])
def test_case_1_a_reshape_that_keeps_the_batch_is_flatten(sizes):
    inputs = f"float[{2 if sizes[0] == 2 else 'N'}, 3, 6, 6] x"
    becomes("y = Reshape (x, s)", FLAT, {"s": np.array(sizes)}, ["Flatten"], inputs=inputs)


@pytest.mark.parametrize("rest", [-1, 108])
def test_case_1_with_a_batch_computed_from_the_input_is_flatten(rest):
    body = "n = Shape <start = 0, end = 1> (x)\n s = Concat <axis = 0> (n, m)\n y = Reshape (x, s)"
    becomes(body, FLAT, {"m": np.array([rest])}, ["Flatten"])


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
def test_case_2_a_squeeze_of_a_single_element_map_is_flatten(axes):
    pooled = "a = GlobalAveragePool (x)\n y = {} (a)"
    other = "a = GlobalAveragePool (x)\n y = Squeeze (a, s)"
    becomes(pooled.format("Flatten"), other, {"s": np.array(axes)}, ["GlobalAveragePool", "Flatten"])


def test_case_3_a_slice_of_a_shape_is_a_shape_with_start_and_end():
    part = "n = Shape <start = 0, end = 2> (x)\n t = Concat <axis = 0> (n, m)\n y = Resize (x, , , t)"
    sliced = part.replace("n = Shape <start = 0, end = 2> (x)", "p = Shape (x)\n n = Slice (p, o, u, o)")
    tensors = {"m": np.array([7, 9]), "o": np.array([0]), "u": np.array([2])}
    becomes(part, sliced, tensors, ["Shape", "Concat", "Resize"])
