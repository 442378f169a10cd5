"""ONNX files of one node, and what the runtime makes of them."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from parity.onnx_files import runtime
from parity.onnx_files.float64 import evaluate

GENERATOR = np.random.default_rng(0)
X = GENERATOR.standard_normal((2, 4, 6, 6)).astype(np.float32)
C = GENERATOR.uniform(0.5, 1.5, 4).astype(np.float32)
W = GENERATOR.standard_normal((4, 4, 3, 3)).astype(np.float32)


def one_node(path, node, *inputs, opset=18):
    values = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape) for i, shape in enumerate(inputs)]
    graph = helper.make_graph(
        [node], "one", values, [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(inputs[0]))]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def floats(*values):
    return np.array(values, np.float32)


def one(op_type, inputs, constants=None, opset=18, outputs=("y",), **attributes):
    """Return a model of one node that reads x, 2 x 4 x 6 x 6, and constants."""
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(
        [helper.make_node(op_type, inputs, list(outputs), **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)] if "x" in inputs else [],
        [onnx.ValueInfoProto(name="y")],
        held,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def both(model, nudge=None):
    """Return what we make of y, what the runtime makes of it, and the nodes that were evaluated in float32."""
    fed = {"x": X} if model.graph.input else {}
    (shown,) = runtime.open_session(model.SerializeToString(), "m", level="disable").run(["y"], fed)
    single = set()
    ((_, made),) = evaluate(model, fed, nudge, name="m", single=single)
    return made["y"], shown, single


def as_the_runtime(model, single=()):
    made, shown, found = both(model)
    assert made.shape == shown.shape
    assert (made.dtype == np.float64) == (shown.dtype == np.float32)
    np.testing.assert_allclose(made, shown, rtol=1e-4, atol=1e-5)
    assert found == set(single)
