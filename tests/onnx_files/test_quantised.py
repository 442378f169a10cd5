"""QuantizeLinear and DequantizeLinear in float64 are the runtime's: by tensor, axis and block."""

import numpy as np
import pytest
from onnx_nodes import C, X, as_the_runtime, both, floats, one

from parity.onnx_files.quantised import dequantise, quantise

BYTES = np.arange(288, dtype=np.int64).reshape(2, 4, 6, 6).astype(np.uint8)


def test_a_type_that_is_no_integer_of_8_or_16_bits_is_left_to_others():
    with pytest.raises(NotImplementedError):
        _ = quantise(X, floats(0.1), np.zeros(1, np.int32), {})


def test_ties_go_to_even_and_the_ends_of_the_range_hold():
    x = np.array([0.5, 1.5, 2.5, -0.5, 1e9, -1e9, np.inf])
    assert quantise(x, np.array(1.0), np.array(0, np.int8), {}).tolist() == [0, 2, 2, 0, 127, -128, 127]
    assert quantise(x, np.array(1.0), {}).dtype == np.uint8
    assert quantise(x, np.array(1.0), np.array(10, np.uint8), {}).tolist() == [10, 12, 12, 10, 255, 0, 255]


@pytest.mark.parametrize("opset", [10, 13, 19, 21])
def test_one_scale_for_all(opset):
    for zero in ({}, {"z": np.uint8(128)}, {"z": np.int8(-3)}):
        as_the_runtime(one("QuantizeLinear", ["x", "s", *zero], {"s": np.float32(0.02), **zero}, opset))
    constants = {"q": BYTES, "s": np.float32(0.02), "z": np.uint8(128)}
    as_the_runtime(one("DequantizeLinear", ["q", "s", "z"], constants, opset))


@pytest.mark.parametrize("opset", [13, 19, 21])
def test_a_scale_for_each_channel(opset):
    zero = np.arange(4, dtype=np.int8)
    as_the_runtime(one("QuantizeLinear", ["x", "s", "z"], {"s": C / 40, "z": zero}, opset, axis=1))
    constants = {"q": BYTES.astype(np.int8), "s": C / 40, "z": zero}
    as_the_runtime(one("DequantizeLinear", ["q", "s", "z"], constants, opset, axis=1))
    biases = {"q": np.arange(-2, 2, dtype=np.int32), "s": C}
    as_the_runtime(one("DequantizeLinear", ["q", "s"], biases, opset, axis=0))


def test_a_scale_for_each_block():
    scale = np.abs(X[:, :2]) + 0.1
    as_the_runtime(one("DequantizeLinear", ["q", "s"], {"q": BYTES, "s": scale}, 21, axis=1, block_size=2))
    expected = BYTES * np.repeat(scale, 2, axis=1).astype(np.float64)
    np.testing.assert_array_equal(dequantise(BYTES, scale.astype(np.float64), {"axis": 1, "block_size": 2}), expected)


def test_operators_of_integers_are_the_runtimes():
    weight = (np.arange(144) % 200 - 100).astype(np.int8).reshape(4, 4, 3, 3)
    constants = {"q": BYTES, "s": np.float32(0.02), "z": np.uint8(128), "w": weight, "t": np.float32(0.01),
                 "o": np.int8(0), "m": weight[0].reshape(6, 6)}  # fmt: skip
    for op_type, inputs in (
        ("QLinearConv", [*"qszwto", "s", "z"]),
        ("QLinearMatMul", [*"qszmto", "s", "z"]),
        ("ConvInteger", [*"qwzo"]),
        ("MatMulInteger", [*"qmzo"]),
    ):
        made, shown, _ = both(one(op_type, inputs, {name: constants[name] for name in set(inputs)}))
        np.testing.assert_array_equal(made, shown)
    made, shown, _ = both(one("DynamicQuantizeLinear", ["x"], outputs=("y", "s", "z")))
    np.testing.assert_array_equal(made, shown)
