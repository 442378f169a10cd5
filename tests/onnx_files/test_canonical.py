"""The canonical form of ONNX graphs, and files that are read without being trusted. No framework is needed here."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from graphs import canonical_form, model, numbers

from parity.errors import ParityError
from parity.onnx_files import canonical, model_file

STATE = {
    "conv.weight": numbers(4, 3, 3, 3),
    "conv.bias": numbers(4),
    "norm.weight": numbers(4),
    "norm.bias": numbers(4),
    "norm.running_mean": numbers(4),
    "norm.running_var": numbers(4),
    "fc.weight": numbers(5, 4),
    "fc.bias": numbers(5),
}

NAMES = {name.replace(".", "__"): name for name in STATE}


def canon(made, layers=None):
    return canonical_form(made, NAMES, layers)


NORM = "norm__weight, norm__bias, norm__running_mean, norm__running_var"
AS_TORCH = f"""
    a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], auto_pad = "NOTSET"> (x, conv__weight, conv__bias)
    b = BatchNormalization <epsilon = 0.001, momentum = 0.9> (a, {NORM})
    c = Relu (b)
    axes = Constant <value_ints = [-1, -2]> ()
    d = ReduceMean <keepdims = 1> (c, axes)
    s = Shape <start = 0, end = 1> (x)
    m = Constant <value_ints = [4]> ()
    t = Concat <axis = 0> (s, m)
    e = Reshape <allowzero = 1> (d, t)
    y = Gemm <transB = 1> (e, fc__weight, fc__bias)
"""
AS_PADDLE = f"""
    a = Conv <dilations = [1, 1], strides = [1, 1], pads = [1, 1, 1, 1], group = 1> (x, conv__weight)
    four = Constant <value_ints = [1, -1, 1, 1]> ()
    five = Identity (four)
    bias = Reshape (conv__bias, five)
    sum = Add (a, bias)
    same = Identity (sum)
    b = BatchNormalization <epsilon = 0.001> (same, {NORM})
    c = Relu (b)
    cast = Cast <to = 1> (c)
    d = GlobalAveragePool (cast)
    s = Shape (d)
    zero = Constant <value_ints = [0]> ()
    one = Constant <value_ints = [1]> ()
    n = Slice (s, zero, one, zero)
    rest = Constant <value_ints = [-1]> ()
    t = Concat <axis = 0> (n, rest)
    e = Reshape (d, t)
    f = MatMul (e, fc__weight)
    y = Add (f, fc__bias)
"""


def pair():
    turned = {**STATE, "fc.weight": np.ascontiguousarray(STATE["fc.weight"].T)}
    return model(AS_TORCH, STATE), model(AS_PADDLE, turned)


# Files that must be refused.


@pytest.mark.parametrize("content", [b"", b"not ONNX at all", b"\x08\x08", bytes(100)])
def test_what_is_no_onnx_file_is_refused_in_one_line(content, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ParityError, match=r"model\.onnx: no ONNX file") as caught:
        model_file.read(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ParityError, match="cannot read"):
        model_file.read(tmp_path / "missing.onnx")


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    whole = pair()[0].SerializeToString()
    for length in range(1, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ParityError):
            model_file.read(path)


def test_a_cycle_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(model("a = Add (x, b)\n b = Relu (a)\n y = Flatten (b)", {}), path)
    with pytest.raises(ParityError, match="breaks ONNX's rules"):
        model_file.read(path)


def test_an_opset_nobody_knows_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    made = pair()[0]
    made.opset_import[0].version = 99
    onnx.save(made, path)
    with pytest.raises(ParityError, match="opset 99"):
        model_file.read(path)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "../../etc/passwd", "link", "", "sub/../../secret"])
def test_tensors_outside_the_files_folder_are_refused(location, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(4096))
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "link").symlink_to("../secret")
    made = pair()[0]
    onnx.external_data_helper.set_external_data(made.graph.initializer[0], location)
    made.graph.initializer[0].ClearField("raw_data")
    onnx.save(made, folder / "model.onnx")
    with pytest.raises(ParityError, match="lies outside the file's folder"):
        model_file.read(folder / "model.onnx")


def test_tensors_beside_the_file_are_written_and_read_whole(tmp_path):
    made, path = pair()[0], tmp_path / "model.onnx"
    (tmp_path / "made").mkdir()
    before = made.SerializeToString(deterministic=True)
    model_file.write(made, tmp_path / "made" / "model.onnx", limit=100)
    assert made.SerializeToString(deterministic=True) == before
    model_file.place(tmp_path / "made" / "model.onnx", path, {"who": "me"})
    beside = tmp_path / "model.onnx.data"
    assert {each.name for each in tmp_path.iterdir()} == {"made", "model.onnx", "model.onnx.data"}
    again = model_file.read(path)
    assert [(entry.key, entry.value) for entry in again.metadata_props] == [("who", "me")]
    for a, b in zip(made.graph.initializer, again.graph.initializer, strict=True):
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(a), onnx.numpy_helper.to_array(b))
    sha = model_file.digest(path)
    content = beside.read_bytes()
    beside.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert model_file.digest(path) != sha
    beside.write_bytes(beside.read_bytes()[:-1])
    with pytest.raises(ParityError, match="truncated"):
        model_file.read(path)
    beside.unlink()
    with pytest.raises(ParityError, match="is missing"):
        model_file.read(path)


def test_a_placed_file_is_the_made_one_with_metadata_and_leaves_nothing_of_an_older(tmp_path):
    made, path = pair()[0], tmp_path / "a.onnx"
    (tmp_path / "made").mkdir()
    model_file.write(made, tmp_path / "made" / "a.onnx")
    (tmp_path / "a.onnx.data").write_bytes(b"an older file's")
    model_file.place(tmp_path / "made" / "a.onnx", path, {"who": "me", "what": "\u7f51\u7edc"})
    assert {each.name for each in tmp_path.iterdir()} == {"made", "a.onnx"}
    placed = model_file.read(path)
    assert {entry.key: entry.value for entry in placed.metadata_props} == {"who": "me", "what": "\u7f51\u7edc"}
    del placed.metadata_props[:]
    assert placed.SerializeToString(deterministic=True) == (tmp_path / "made" / "a.onnx").read_bytes()


def test_a_graph_within_a_node_has_no_canonical_form():
    body = "y = If (c) <then_branch = t () => (float[N, 5] p) { p = Relu (x) },"
    body += " else_branch = e () => (float[N, 5] q) { q = Sigmoid (x) }>"
    with pytest.raises(ParityError, match="--raw"):
        canon(model(body, {}, inputs="float[N, 5] x, bool c"))


# The canonical form.


def test_both_exporters_spellings_become_the_same_bytes():
    ours, theirs = (canon(made) for made in pair())
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)
    assert [node.op_type for node in ours.graph.node] == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    assert canonical.difference(ours, theirs, ("torch", "paddle")) == ""


def test_it_computes_what_it_computed():
    image = numbers(3, 3, 6, 6)
    for made in pair():
        results = [
            onnxruntime.InferenceSession(each.SerializeToString()).run(None, {name: image})[0]
            for each, name in ((made, "x"), (canon(made), "image"))
        ]
        np.testing.assert_allclose(*results, rtol=1e-6)


def test_batch_norm_is_folded_in_float64_and_rounded_once():
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in canon(pair()[0]).graph.initializer}
    exact = {name: array.astype(np.float64) for name, array in STATE.items()}
    scale = exact["norm.weight"] / np.sqrt(exact["norm.running_var"] + np.float64(np.float32(0.001)))
    bias = (exact["conv.bias"] - exact["norm.running_mean"]) * scale + exact["norm.bias"]
    weight = exact["conv.weight"] * scale[:, None, None, None]
    assert tensors["conv.weight"].tobytes() == weight.astype(np.float32).tobytes()
    assert tensors["conv.bias"].tobytes() == bias.astype(np.float32).tobytes()
    assert list(tensors) == ["conv.weight", "conv.bias", "fc.weight", "fc.bias"]
    assert tensors["fc.weight"].tobytes() == STATE["fc.weight"].tobytes()


def test_a_convolution_somebody_else_reads_keeps_its_batch_norm():
    body = AS_TORCH.replace("c = Relu (b)", "k = Add (a, b)\n c = Relu (k)")
    assert [node.op_type for node in canon(model(body, STATE)).graph.node][:2] == ["Conv", "BatchNormalization"]


def test_names_are_those_of_the_layers():
    made = pair()[1]
    graph = canonical.simplify(ir.from_proto(made))
    numbered = [node.outputs[0].name for node in canonical.unnamed(graph).graph]
    layers = dict(zip(numbered, ["norm", "act", "pool", "flat"], strict=False))
    named = ir.to_proto(canonical.named(graph, NAMES, layers))
    assert [node.name for node in named.graph.node] == ["conv", "act", "pool", "flat", "fc"]
    assert [node.output[0] for node in named.graph.node] == ["norm", "act", "pool", "flat", "logits"]
    assert [value.name for value in named.graph.input] == ["image"]
    assert [node.name for node in canon(made).graph.node] == ["conv", "Relu", "GlobalAveragePool", "Flatten", "fc"]


def test_the_order_of_the_nodes_is_the_graphs_own():
    body = "a = Relu (x)\n b = Sigmoid (x)\n c = Add (a, b)\n y = Flatten (c)"
    other = "b = Sigmoid (x)\n a = Relu (x)\n c = Add (a, b)\n y = Flatten (c)"
    ours, theirs = (canon(model(each, {}, outputs="float[N, 108] y")) for each in (body, other))
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)


def test_the_first_difference_is_named_with_both_attributes():
    ours, theirs = (canon(made) for made in pair())
    theirs.graph.node[0].attribute[-1].ints[:] = [2, 2]
    words = canonical.difference(ours, theirs, ("torch", "paddle"))
    assert words.startswith("conv: attributes differs: torch={")
    assert "[1, 1]" in words
    assert "[2, 2]" in words
    theirs = canon(pair()[1])
    theirs.graph.initializer[0].raw_data = theirs.graph.initializer[0].raw_data[::-1]
    assert canonical.difference(ours, theirs, ("torch", "paddle")).startswith("conv.weight: its numbers differ")
    del theirs.graph.node[-1]
    assert "fc: Gemm is only in torch" in canonical.difference(ours, theirs, ("torch", "paddle"))
