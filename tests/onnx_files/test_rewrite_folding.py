"""parity/onnx_files/rewrite_rules/folding.py."""

import numpy as np
from graphs import becomes, numbers, stays


def test_what_depends_on_the_input_is_not_folded():
    stays("a = Relu (x)\n y = Add (a, a)", {})
    body = "b, c = Split <axis = 1> (x, n)\n y = Add (b, b)"
    stays(body, {"n": np.array([1, 2])})


def test_case_1_constants_of_any_size_are_folded():
    large = numbers(1, 300, 60, 60)
    tensors = {"a": large, "b": large, "c": large + large}
    becomes("s = Add (a, b)\n y = Add (x, s)", "y = Add (x, c)", tensors, ["Add"], (1, 300, 60, 60),
            inputs="float[N, 300, 60, 60] x")  # fmt: skip


def test_case_2_a_split_of_a_constant_is_folded():
    tensors = {"p": np.array([0, 0, 1, 2, 0, 0, 3, 4]), "n": np.array([3, 5])}
    body = "b, c = Split (p, n)\n q = Concat <axis = 0> (b, c)\n y = Pad (x, q)"
    becomes("y = Pad (x, p)", body, tensors, ["Pad"])
