"""Half precision: what exceeds its range is named and stays in float32, and every file written is valid ONNX."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from parity import ParityError
from parity.deploy import precision
from parity.deploy.classify import Classifier
from parity.deploy.precision import lower
from parity.onnx_files.halves import rounded

PICTURES = np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32)


def normed(path, scale):
    """Write a file that divides by the root of a sum of squares, which is large where `scale` is."""
    weight = np.random.default_rng(1).standard_normal((5, 3, 3, 3)).astype(np.float32) * scale
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["y"], "conv"),
        helper.make_node("Mul", ["y", "y"], ["square"], "square"),
        helper.make_node("ReduceSum", ["square", "axes"], ["sum"], "sum", keepdims=1),
        helper.make_node("Sqrt", ["sum"], ["root"], "root"),
        helper.make_node("Div", ["y", "root"], ["z"], "divide"),
        helper.make_node("GlobalAveragePool", ["z"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["logits"], "flatten"),
    ]
    held = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([1, 2, 3]), "axes")]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("image", ["n", 3, 8, 8]), ("logits", ["n", 5]))
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)


@pytest.fixture
def images(tmp_path):
    np.save(tmp_path / "images.npy", PICTURES)
    return tmp_path / "images.npy"


def as_halves(path):
    """The first output where half precision is computed in half precision, which ONNX Runtime's CPU does not."""
    with np.errstate(all="ignore"):
        return ReferenceEvaluator(str(path)).run(None, {"image": PICTURES})[0]


def test_what_exceeds_half_precision_is_named_and_stays_in_float32(tmp_path, images, monkeypatch):
    normed(tmp_path / "full.onnx", 60)
    report = lower(tmp_path / "full.onnx", tmp_path / "half.onnx", "fp16", images, rounds=1)
    assert report.float32_nodes == ("square", "sum", "root")
    assert "Kept in float32, beyond half precision's range: square, sum, root." in str(report)
    expected = as_halves(tmp_path / "full.onnx")
    assert np.allclose(as_halves(tmp_path / "half.onnx"), expected, rtol=0.02, atol=2e-4)
    monkeypatch.setattr(precision, "_beyond_half", lambda *_: ())  # as it was: nothing in the file's run shows it
    _ = lower(tmp_path / "full.onnx", tmp_path / "wrong.onnx", "fp16", images, rounds=1)
    assert not np.allclose(as_halves(tmp_path / "wrong.onnx"), expected, rtol=0.02, atol=2e-4)


def test_the_report_of_a_file_that_overflows_shows_it_though_the_runtime_does_not(tmp_path, images, monkeypatch):
    """Beyond 65504 a half is infinite: the sum's root is too, and everything divided by it is 0."""
    normed(tmp_path / "full.onnx", 60)
    monkeypatch.setattr(precision, "_beyond_half", lambda *_: ())
    report = lower(tmp_path / "full.onnx", tmp_path / "half.onnx", "fp16", images, rounds=1)
    assert report.worst > 0.5, report
    monkeypatch.setattr(precision, "_in_halves", lambda path, threads: Classifier.open(path, "cpu", threads))
    assert lower(tmp_path / "full.onnx", tmp_path / "half.onnx", "fp16", images, rounds=1).worst < 0.01


def test_what_half_precision_loses_is_in_the_report(tmp_path, images):
    """1 + 1/4096 is 1 as a half; the difference is all that the file gives."""
    body = [
        helper.make_node("GlobalAveragePool", ["image"], ["p"], "pool"),
        helper.make_node("Mul", ["p", "tiny"], ["t"], "small"),
        helper.make_node("Add", ["t", "one"], ["a"], "large"),
        helper.make_node("Sub", ["a", "one"], ["d"], "back"),
        helper.make_node("Flatten", ["d"], ["logits"], "flatten"),
    ]
    held = [numpy_helper.from_array(np.float32(value), name) for name, value in (("tiny", 1e-4), ("one", 1))]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("image", ["n", 3, 8, 8]), ("logits", ["n", 3]))
    ]
    graph = helper.make_graph(body, "g", values[:1], values[1:], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), tmp_path / "l.onnx")
    report = lower(tmp_path / "l.onnx", tmp_path / "half.onnx", "fp16", images, rounds=1)
    assert report.worst > 0.5
    made = ReferenceEvaluator(str(tmp_path / "half.onnx")).run(None, {"image": PICTURES})[0]
    halves = onnxruntime.InferenceSession(rounded(onnx.load(tmp_path / "half.onnx")).SerializeToString())
    np.testing.assert_array_equal(halves.run(None, {"image": PICTURES})[0], made)


def test_what_fits_half_precision_is_in_half_precision(tmp_path, images):
    normed(tmp_path / "full.onnx", 1)
    report = lower(tmp_path / "full.onnx", tmp_path / "half.onnx", "fp16", images, rounds=1)
    assert report.float32_nodes == ()
    assert "float32, beyond" not in str(report)


@pytest.mark.parametrize("scale", [1, 60])
@pytest.mark.parametrize("name", ["fp16", "int8"])
def test_every_file_that_is_written_is_valid(tmp_path, images, name, scale):
    normed(tmp_path / "full.onnx", scale)
    _ = lower(tmp_path / "full.onnx", tmp_path / "low.onnx", name, images, rounds=1)
    onnx.checker.check_model(str(tmp_path / "low.onnx"))


def test_an_invalid_file_gets_no_name(tmp_path, images, monkeypatch):
    normed(tmp_path / "full.onnx", 1)

    def unsorted(source, target, *_):
        model = onnx.load(source)
        model.graph.node.append(model.graph.node.pop(0))
        onnx.save(model, target)
        return ()

    monkeypatch.setattr(precision, "_fp16", unsorted)
    with pytest.raises(ParityError, match=r"full\.onnx: the fp16 file: breaks ONNX's rules"):
        lower(tmp_path / "full.onnx", tmp_path / "half.onnx", "fp16", images, rounds=1)
    assert not (tmp_path / "half.onnx").exists()


def test_a_missing_onnx_is_said_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "find_spec", lambda name: None if name == "onnx" else name)
    with pytest.raises(ParityError, match="onnx is not installed: pip install onnx onnxruntime"):
        lower(tmp_path / "full.onnx", tmp_path / "half.onnx", "fp16")
