"""Opsets 7 to 22: an operator means what the runtime makes of it, in float64, or in float32 and then it is named."""

import numpy as np
import pytest
from onnx_nodes import C, W, X, as_the_runtime, both, floats, one

from parity.onnx_files import float64
from parity.onnx_files.float64 import Nudge


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [(1, 1, 2, 2), (1, 1, 2, 1.5), (1, 1, 3, 1)])
def test_upsample_of_opsets_7_to_9_places_elements_as_they_did(mode, scales):
    scales = [float(scale) for scale in scales]
    for opset in (7, 8):
        as_the_runtime(one("Upsample", ["x"], opset=opset, scales=scales, mode=mode))
    as_the_runtime(one("Upsample", ["x", "s"], {"s": floats(*scales)}, 9, mode=mode))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [(1, 1, 2, 2), (1, 1, 2, 0.7), (1, 1, 0.5, 1.3)])
def test_resize_of_opset_10_is_not_that_of_opset_11(mode, scales):
    """Onnx's own converter takes it for half_pixel (onnx/onnx#8480)."""
    old = one("Resize", ["x", "s"], {"s": floats(*scales)}, 10, mode=mode)
    as_the_runtime(old)
    later = both(one("Resize", ["x", "r", "s"], {"r": floats(), "s": floats(*scales)}, 11, mode=mode))[0]
    assert mode == "nearest" or not np.allclose(both(old)[0], later)


OLD = [
    *(one("Clip", ["x"], opset=opset, min=-0.5, max=0.5) for opset in (7, 10)),
    *(one("Pad", ["x"], opset=opset, pads=[0, 0, 1, 2, 0, 0, 2, 1], value=0.7) for opset in (7, 10)),
    *(one("Slice", ["x"], opset=opset, starts=[1], ends=[3], axes=[2]) for opset in (7, 9)),
    *(one("Softmax", ["x"], opset=opset, axis=axis) for opset in (7, 12, 13) for axis in (1, 2)),
    *(one("LogSoftmax", ["x"], opset=opset, axis=1) for opset in (7, 12, 13)),
    *(one("Unsqueeze", ["x"], opset=opset, axes=[1]) for opset in (7, 12)),
    *(one("Squeeze", ["u"], {"u": X[None]}, opset, axes=[0]) for opset in (7, 12)),
    *(one("ReduceMean", ["x"], opset=opset, axes=[2, 3], keepdims=0) for opset in (7, 13, 17)),
    *(one("ReduceSum", ["x"], opset=opset, axes=[2]) for opset in (7, 12)),
    *(one("Dropout", ["x"], opset=opset, ratio=0.5) for opset in (7, 10)),
    *(one("LRN", ["x"], opset=opset, size=size, alpha=0.3) for opset in (7, 13) for size in (1, 3, 5)),
    *(one("BatchNormalization", ["x", *"cccc"], {"c": C}, opset) for opset in (7, 8, 9, 14, 15)),
    one("BatchNormalization", ["x", *"dddd"], {"d": np.abs(X[0])}, 7, spatial=0),
    *(one("AveragePool", ["x"], opset=o, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1) for o in (7, 10, 19)),
    *(one("ConvTranspose", ["x", "w"], {"w": W}, o, strides=[2, 2], output_padding=[1, 1]) for o in (7, 11)),
]


@pytest.mark.parametrize(
    "model", OLD, ids=lambda model: f"{model.graph.node[0].op_type}-{model.opset_import[0].version}"
)
def test_an_operator_has_the_meaning_of_its_opset(model):
    as_the_runtime(model)


@pytest.mark.parametrize(
    "model",
    [
        one("Hardmax", ["x"], opset=11, axis=1),  # onnx.reference has the later meaning
        one("MeanVarianceNormalization", ["x"], opset=13),  # its function mixes float64 and float32
        one("ConvTranspose", ["x", "w"], {"w": W}, 11, strides=[2, 2], output_shape=[12, 13]),
    ],
    ids=lambda model: model.graph.node[0].op_type,
)
def test_what_has_no_right_float64_is_float32_and_named(model):
    as_the_runtime(model, [f"'y' ({model.graph.node[0].op_type})"])


def test_a_result_of_onnx_reference_is_held_against_the_runtime(monkeypatch):
    class Wrong:
        def __init__(self, *_, **__):
            pass

        def run(self, *_):
            return [np.full(X.shape, 7.0)]

    monkeypatch.setattr(float64, "ReferenceEvaluator", Wrong)
    monkeypatch.setattr(float64, "PREFERRED", set())
    as_the_runtime(one("Conv", ["x", "w"], {"w": W}), ["'y' (Conv)"])


def test_the_reach_of_float32_is_measured_where_a_node_is_evaluated_in_it():
    model = one("MeanVarianceNormalization", ["x"], opset=13)
    made, moved = both(model)[0], both(model, Nudge(()))[0]
    assert 1e-8 < Nudge.allowance(moved, made) < 1e-4
