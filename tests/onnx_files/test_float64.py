"""The float64 evaluation of ONNX graphs: whatever stops it names file and node; what it makes is torch's float64."""

import weakref

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from graphs import numbers, shapeless
from onnx import helper, numpy_helper
from onnx_nodes import one_node

from parity import ParityError, Trace
from parity.backends import onnx_backend
from parity.onnx_files.float64 import Nudge, evaluate

IMAGE = numbers(2, 3, 6, 6)


def made(model, image=IMAGE, nudge=None):
    values = {}
    for _, outputs in evaluate(model, {"x": image}, nudge, name="net.onnx"):
        values |= outputs
    return values


def refused(model, *words):
    with pytest.raises(ParityError) as caught:
        made(model)
    message = str(caught.value)
    assert message.startswith("net.onnx: node ")
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_a_name_that_nothing_has_is_reported_with_file_and_node():
    refused(shapeless("y = Add (x, nothing)", {}), "'y' (Add)", "'nothing'")


def test_a_tensor_with_too_few_numbers_is_reported_with_file_and_node():
    model = shapeless("a = Relu (x)\n y = Add (a, w)", {"w": numbers(3, 1, 1)})
    model.graph.initializer[0].raw_data = b"1234"
    refused(model, "'y' (Add)")


@pytest.mark.parametrize(
    "body, tensors",
    [
        ("y = Conv (x, w)", {"w": numbers(4, 2, 3, 3)}),
        ("y = Conv (x, w)", {"w": numbers(4, 3, 9, 9)}),
        ("y = Conv (x, w, b)", {"w": numbers(4, 3, 3, 3), "b": numbers(7)}),
        ("y = Conv <strides = [0, 1]> (x, w)", {"w": numbers(4, 3, 3, 3)}),
        ("y = AveragePool <kernel_shape = [2, 2, 2]> (x)", {}),
        ("y = BatchNormalization (x, b, b, b, b)", {"b": numbers(4)}),
        ("y = BatchNormalization (x, b)", {"b": numbers(3)}),
        ("y = Resize (x, , s)", {"s": numbers(3)}),
        ("y = Add (x, w)", {"w": numbers(4, 5)}),
        ("y = NoSuchOperator (x)", {}),
    ],
)
def test_whatever_stops_it_is_reported_with_file_and_node(body, tensors):
    refused(shapeless(body, tensors), f"'y' ({body.split('= ')[1].split(' ')[0]})")


@pytest.mark.parametrize("opset", [7, 8, 9, 12, 13, 14, 15, 18])
def test_batch_norm_of_every_opset_is_torchs(opset):
    tensors = {name: numbers(3) for name in ("g", "b", "m", "v")}
    model = shapeless("y = BatchNormalization <epsilon = 0.5> (x, g, b, m, v)", tensors, opset=opset)
    arrays = [torch.from_numpy(tensors[name].astype(np.float64)) for name in ("m", "v", "g", "b")]
    theirs = torch.nn.functional.batch_norm(torch.from_numpy(IMAGE.astype(np.float64)), *arrays, eps=0.5)
    np.testing.assert_allclose(made(model)["y"], theirs.numpy(), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("outputs", ["y", "y, n, w"])
def test_batch_norm_in_training_mode_is_not_taken_for_the_other(outputs):
    tensors = {name: numbers(3) for name in ("g", "b", "m", "v")}
    body = f"{outputs} = BatchNormalization <training_mode = 1> (x, g, b, m, v)"
    wide = IMAGE.astype(np.float64)
    centred = (wide - wide.mean((0, 2, 3), keepdims=True)) / np.sqrt(wide.var((0, 2, 3), keepdims=True) + 1e-5)
    expected = centred * tensors["g"].reshape(3, 1, 1) + tensors["b"].reshape(3, 1, 1)
    np.testing.assert_allclose(made(shapeless(body, tensors))["y"], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "body", ["y = ReduceSum <keepdims = 0> (x)", "a = ReduceMax <keepdims = 0> (x)\n y = Mul (a, c)"]
)
def test_what_has_no_axes_keeps_having_none(body):
    model = shapeless(body, {"c": np.float32(0.1)})
    for nudge in (None, Nudge(())):
        outputs = made(model, nudge=nudge)
        assert {name: (type(each), each.shape, each.dtype) for name, each in outputs.items()} == {
            name: (np.ndarray, (), np.dtype(np.float64)) for name in outputs
        }
    assert Nudge(()).array("c", np.array(0.1, np.float32)).shape == ()
    assert isinstance(Nudge(()).array("c", np.array(0.1, np.float32)), np.ndarray)


def test_an_input_without_axes_keeps_none():
    model = shapeless("y = Neg (x)", {}, inputs="float x")
    assert made(model, np.float32(3))["y"].shape == ()


@pytest.mark.parametrize(
    "constant", ["value_float = 0.1", "value_floats = [0.1, 0.2]", "value = float[1] {0.1}", "value = float {0.1}"]
)
def test_constants_of_every_spelling_are_float64(constant):
    outputs = made(shapeless(f"c = Constant <{constant}> ()\n y = ReduceSum (c)", {}))
    assert outputs["c"].dtype == outputs["y"].dtype == np.float64


def test_a_branch_that_the_runtime_can_compute_is_not_left_to_the_reference(monkeypatch):
    monkeypatch.setattr("parity.onnx_files.float64.ReferenceEvaluator", None)
    body = """c = Greater (s, z)
        y = If (c) <then_branch = t () => (float[N, 3, 6, 6] p) { p = Relu (x) },
                    else_branch = e () => (float[N, 3, 6, 6] q) { q = Neg (x) }>"""
    model = shapeless(body, {"s": np.float32(1), "z": np.float32(0)})
    np.testing.assert_array_equal(made(model)["y"], IMAGE.astype(np.float64))


@pytest.mark.parametrize("opset", [9, 13, 18])
def test_a_branch_is_not_left_to_operators_that_onnx_reference_has_wrong(opset):
    """Its BatchNormalization up to opset 13 is another function; the convolution keeps the runtime out."""
    body = """c = Greater (s, z)
        y = If (c) <
            then_branch = t () => (float[N, 4, 6, 6] p) {
                a = BatchNormalization <epsilon = 0.5> (x, g, b, m, v)
                p = Conv <pads = [1, 1, 1, 1]> (a, w) },
            else_branch = e () => (float[N, 3, 6, 6] q) { q = Neg (x) }>"""
    tensors = {name: numbers(3) for name in ("g", "b", "m", "v")}
    weight = numbers(4, 3, 3, 3)
    model = shapeless(body, {**tensors, "w": weight, "s": np.float32(1), "z": np.float32(0)}, opset=opset)
    arrays = [torch.from_numpy(tensors[name].astype(np.float64)) for name in ("m", "v", "g", "b")]
    theirs = torch.nn.functional.batch_norm(torch.from_numpy(IMAGE.astype(np.float64)), *arrays, eps=0.5)
    theirs = torch.nn.functional.conv2d(theirs, torch.from_numpy(weight.astype(np.float64)), padding=1)
    np.testing.assert_allclose(made(model)["y"], theirs.numpy(), rtol=1e-12, atol=1e-12)


BRANCHES = """
    c = Greater (s, z)
    y = If (c) <
        then_branch = t () => (float[N, 4, 6, 6] p) { p = Conv <pads = [1, 1, 1, 1]> (x, w) },
        else_branch = e () => (float[N, 3, 3, 3] q) {
            q = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (x) }
    >
"""


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_branches_are_evaluated_in_float64_with_our_kernels(sign):
    weight = numbers(4, 3, 3, 3)
    model = shapeless(BRANCHES, {"w": weight, "s": np.float32(sign), "z": np.float32(0)})
    wide = torch.from_numpy(IMAGE.astype(np.float64))
    if sign > 0:
        theirs = torch.nn.functional.conv2d(wide, torch.from_numpy(weight.astype(np.float64)), padding=1)
    else:
        theirs = torch.nn.functional.max_pool2d(wide, 3, 2, 1)
    ours = made(model)["y"]
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12, atol=1e-12)


def test_a_loop_is_evaluated_in_float64_with_our_kernels():
    body = helper.make_graph(
        [
            helper.make_node("Conv", ["v", "w"], ["o"], pads=[1, 1, 1, 1]),
            helper.make_node("Identity", ["c"], ["d"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", 7, []),
            helper.make_tensor_value_info("c", 9, []),
            helper.make_tensor_value_info("v", 1, [2, 3, 6, 6]),
        ],
        [helper.make_tensor_value_info("d", 9, []), helper.make_tensor_value_info("o", 1, [2, 3, 6, 6])],
    )
    weight = numbers(3, 3, 3, 3) - 1
    graph = helper.make_graph(
        [helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)], "loop",
        [helper.make_tensor_value_info("x", 1, [2, 3, 6, 6])], [helper.make_tensor_value_info("y", 1, [2, 3, 6, 6])],
        [numpy_helper.from_array(np.array(3), "n"), numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    theirs = torch.from_numpy(IMAGE.astype(np.float64))
    for _ in range(3):
        theirs = torch.nn.functional.conv2d(theirs, torch.from_numpy(weight.astype(np.float64)), padding=1)
    np.testing.assert_allclose(made(model)["y"], theirs.numpy(), rtol=1e-12, atol=1e-12)
    shown = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": IMAGE})[0]
    np.testing.assert_allclose(shown, theirs.numpy(), rtol=1e-3, atol=1e-4)


def test_a_node_without_float64_is_evaluated_in_float32_and_the_trace_says_so(tmp_path):
    """ONNX Runtime has BiasGelu for float32 alone, and onnx.reference lacks it."""
    node = helper.make_node("BiasGelu", ["x0", "b"], ["y"], domain="com.microsoft")
    model = onnx.load(one_node(tmp_path / "odd.onnx", node, (2, 4)))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32), "b"))
    onnx.save(model, tmp_path / "odd.onnx")
    file = onnx_backend.load(tmp_path / "odd.onnx")
    onnx_backend.record(file, [np.ones((2, 4), np.float32)], tmp_path / "trace")
    with Trace(tmp_path / "trace") as trace:
        assert trace.manifest["in_float32"] == ["'y' (BiasGelu)"]
        (call, _) = trace.calls
        expected = torch.nn.functional.gelu(torch.full((2, 4), 2.0, dtype=torch.float64)).numpy()
        np.testing.assert_allclose(trace.tensor(call.outputs[0]), expected, rtol=1e-6)


def test_what_neither_has_is_reported_with_the_real_file(tmp_path):
    node = helper.make_node("NoSuchOperator", ["x0"], ["y"], domain="some.domain")
    model = onnx.load(one_node(tmp_path / "odd.onnx", node, (2, 4)))
    with pytest.raises(ParityError, match=r"odd\.onnx: node 'y' \(NoSuchOperator\) cannot be evaluated in float64: "):
        _ = list(evaluate(model, {"x0": np.ones((2, 4))}, name="odd.onnx"))


def test_values_are_freed_after_their_last_use():
    """Of a chain of 40 maps never more than a few are alive."""
    body = "\n".join(f"v{i + 1} = Neg (v{i})" for i in range(40))
    model = shapeless(f"v0 = Neg (x)\n {body}\n y = Relu (v40)", {})
    alive = []
    for _, outputs in evaluate(model, {"x": IMAGE}, name="chain.onnx"):
        alive += [weakref.ref(array) for array in outputs.values()]
        del outputs
        assert sum(each() is not None for each in alive) <= 3
