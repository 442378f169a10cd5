"""parity/onnx_files/rewrite_rules/attributes.py."""

import numpy as np
import pytest
from graphs import becomes, canonical_form, numbers, shapeless

PADS = {"p": np.array([0, 0, 1, 2, 0, 0, 3, 4])}
SCALES = {"s": np.array([1, 1, 2, 3], np.float32), "r": np.empty(0, np.float32)}


@pytest.mark.parametrize(
    "body, other",
    [
        ("y = Concat <axis = 1> (x, x)", "y = Concat <axis = 2> (x, x)"),
        ('y = Resize <mode = "nearest", nearest_mode = "ceil"> (x, , s)', 'y = Resize <mode = "nearest"> (x, , s)'),
        ("y = Pad (x, p, v)", "y = Pad (x, p)"),
        ("y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)", "y = MaxPool <kernel_shape = [2, 2]> (x)"),
        (
            "y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1> (x)",
            "y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x)",
        ),
    ],
)
def test_what_steers_something_stays(body, other):
    tensors = {**PADS, **SCALES, "v": np.float32(7)}
    forms = [canonical_form(shapeless(each, tensors)).graph for each in (body, other)]
    assert forms[0] != forms[1]


CASES = {
    "1: momentum": (
        "y = BatchNormalization (x, g, b, m, v)", "y = BatchNormalization <momentum = 0.5> (x, g, b, m, v)",
        {name: numbers(3) for name in ("g", "b", "m", "v")},
    ),
    "2: axis": ("y = Concat <axis = 2> (x, x)", "y = Concat <axis = -2> (x, x)", {}),
    "3: region and nearest_mode": (
        'y = Resize <mode = "linear"> (x, , s)', 'y = Resize <mode = "linear", nearest_mode = "ceil"> (x, r, s)',
        SCALES,
    ),
    "4: unseen value": (
        'y = Pad <mode = "reflect"> (x, p)', 'y = Pad <mode = "reflect"> (x, p, v)', {**PADS, "v": np.float32(7)},
    ),
    "5: defaults": (
        "y = Conv (x, w)",
        "y = Conv <kernel_shape = [3, 3], strides = [1, 1], dilations = [1, 1], pads = [0, 0, 0, 0]> (x, w)",
        {"w": numbers(4, 3, 3, 3)},
    ),
    "6: count_include_pad": (
        "y = AveragePool <kernel_shape = [3, 3]> (x)",
        "y = AveragePool <kernel_shape = [3, 3], pads = [0, 0, 0, 0], count_include_pad = 1> (x)", {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_settings_are_spelled_one_way(case):
    ours, theirs, tensors = CASES[case]
    becomes(ours, theirs, tensors, [ours.split("= ")[1].split(" ")[0]])


def test_case_6_dilations_of_one_are_left_out():
    body = "y = AveragePool <kernel_shape = [3, 3]{}> (x)"
    becomes(body.format(""), body.format(", dilations = [1, 1]"), {}, ["AveragePool"], opset=19)
