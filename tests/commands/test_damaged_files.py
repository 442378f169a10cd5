"""Files that are damaged or made to do harm, whatever their reader trips over: one line with the file's name."""

import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from program import run, start

from parity import ParityError
from parity.backends import onnx_backend
from parity.onnx_files.model_file import CALLED, read
from parity.picture import load_picture
from parity.weights import blueprint
from parity.weights.checkpoint import read_weights
from parity.weights.hardened import hardened_state
from parity.weights.pth import check_pth, write_pth


def refused(path, call, *arguments):
    with pytest.raises(ParityError) as error:
        call(*arguments)
    line = str(error.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert len(line) < 700
    return line.removeprefix(f"{path}: ")


# Weight files


def pth(path):
    write_pth({"weight": np.ones((3, 3), np.float32)}, path)
    return path


@pytest.mark.parametrize(
    ("header", "changes", "words"),
    [
        (b"PK\3\4", {7: 0x08, 30: 0xFF}, "codec can't decode"),  # a name that is marked as UTF-8 and is none
        (b"PK\1\2", {8: 0x20}, "compressed patched data"),
        (b"PK\1\2", {8: 0x01}, "encrypted"),
        (b"PK\1\2", {10: 0x63}, "compression method is not supported"),
    ],
)
def test_a_damaged_zip_header(tmp_path, header, changes, words):
    path = pth(tmp_path / "a.pth")
    check_pth(path)
    content = bytearray(path.read_bytes())
    for place, value in changes.items():
        content[content.index(header) + place] = value
    path.write_bytes(content)
    line = refused(path, check_pth, path)
    assert line.startswith("damaged: ")
    assert words in line


@pytest.mark.parametrize("kind", (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
def test_an_entry_that_nobody_reads_is_checked_too(tmp_path, kind):
    path = pth(tmp_path / "a.pth")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/notes", bytes(range(256)) * 4, kind)
    check_pth(path)
    content = bytearray(path.read_bytes())
    content[content.index(b"archive/notes") + 100] ^= 1
    path.write_bytes(content)
    assert refused(path, check_pth, path).startswith("damaged: ")


def test_a_pth_has_the_checksums_that_zipfile_computes(tmp_path):
    """Of a tensor so large that a thread computes it piece by piece, of one that is turned, and of an empty one."""
    large = np.random.default_rng(0).random((3000, 1000), np.float32)
    write_pth({"large": large, "turned": large.T, "none": large[:0]}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        assert archive.testzip() is None
        assert archive.read("archive/data/1") == large.T.tobytes()


def test_transfer_tells_a_damaged_zip_header_in_one_line(tmp_path):
    path = tmp_path / "a.pth"
    write_pth(hardened_state(blueprint.slots("lenet5")), path)
    content = bytearray(path.read_bytes())
    content[7], content[30] = 0x08, 0xFF
    path.write_bytes(content)
    done = run("transfer", path, tmp_path / "b.pdparams", "--model", "lenet5")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"parity: {path}: damaged: ")
    assert not (tmp_path / "b.pdparams").exists()


def test_every_error_of_zipfile_names_the_file(tmp_path, monkeypatch):
    path = pth(tmp_path / "a.pth")
    for error in (UnicodeDecodeError("utf-8", b"", 0, 1, "x"), NotImplementedError(), EOFError(), OSError(22, "bad")):

        def fails(*_, error=error):
            raise error

        monkeypatch.setattr(zipfile.ZipFile, "open", fails)
        assert refused(path, check_pth, path).startswith("damaged: ")
        assert refused(path, read_weights, path).startswith("damaged: ")


def test_why_a_file_of_weights_is_refused_is_said(tmp_path):
    empty = tmp_path / "empty.pth"
    empty.touch()
    assert refused(empty, read_weights, empty) == "the file is empty. Get it again."
    path = pth(tmp_path / "a.pth")
    path.write_bytes(path.read_bytes()[:-30])
    assert refused(path, read_weights, path) == (
        "damaged, or no file of weights: File is not a zip file. Get the file again."
    )


# Pictures


def test_a_png_whose_colours_are_cut(tmp_path):
    path = tmp_path / "cut.png"
    Image.new("P", (8, 8)).save(path)
    content = path.read_bytes()
    start = content.index(b"PLTE") - 4
    path.write_bytes(content[:start] + b"\0\0\0\1" + content[start + 4 :])
    assert "give a JPEG or PNG" in refused(path, load_picture, str(path), 3, 8, 8)


@pytest.mark.parametrize("error", [IndexError("index out of range"), MemoryError(), KeyError(1), RuntimeError()])
def test_every_error_of_pillow_names_the_file(tmp_path, monkeypatch, error):
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path)

    def fails(*_):
        raise error

    monkeypatch.setattr(Image.Image, "convert", fails)
    memory = "too large for this machine's memory" in refused(path, load_picture, str(path), 3, 8, 8)
    assert memory == isinstance(error, MemoryError)


# ONNX


def model(nodes, weights=(), functions=(), opset=17):
    image = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])]
    output = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)]
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("d", 1)]
    graph = helper.make_graph(nodes, "g", image, output, list(weights))
    return helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=9)


def saved(path, made):
    path.write_bytes(made.SerializeToString())
    return path


def function(number, *bodies):
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("d", 1)]
    names = ["a", *(f"m{i}" for i in range(len(bodies) - 1)), "b"]
    nodes = [
        helper.make_node(body, [names[i]], [names[i + 1]], domain="" if body == "Relu" else "d")
        for i, body in enumerate(bodies)
    ]
    return helper.make_function("d", f"f{number}", ["a"], ["b"], nodes, opsets)


def calling(*functions):
    return model([helper.make_node("f0", ["x"], ["y"], domain="d")], functions=functions)


def doubling(depth):
    return calling(*(function(i, *[f"f{i + 1}"] * 2) for i in range(depth)), function(depth, "Relu"))


@pytest.mark.parametrize("depth", [16, 26, 3000])
def test_functions_that_call_each_other_twice_are_refused_before_anything_expands_them(tmp_path, depth):
    path = saved(tmp_path / "d.onnx", doubling(depth))
    line = refused(path, read, path)
    assert line == f"its functions expand to more than {CALLED:,} nodes: refused"


def test_a_function_that_doubles_inside_a_branch_is_counted(tmp_path):
    made = doubling(26)
    call = made.functions[0].node[0]
    out = [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)]
    inner = helper.make_graph([helper.make_node("f1", ["a"], ["o"], domain="d")], "inner", [], out)
    branch = helper.make_node("If", ["a"], list(call.output), then_branch=inner, else_branch=inner)
    made.functions[0].node[0].CopyFrom(branch)
    path = saved(tmp_path / "d.onnx", made)
    assert "expand to more than" in refused(path, read, path)


@pytest.mark.parametrize("bodies", [[["f0"]], [["f1"], ["f2"], ["f0", "Relu"]]])
def test_functions_that_call_themselves_are_refused(tmp_path, bodies):
    path = saved(tmp_path / "r.onnx", calling(*(function(i, *body) for i, body in enumerate(bodies))))
    assert refused(path, read, path).endswith("calls itself: refused")


def test_functions_that_are_used_as_functions_are_read(tmp_path):
    file = onnx_backend.load(saved(tmp_path / "d.onnx", doubling(6)))
    assert [node.op_type for node in file.model.graph.node] == ["Relu"] * 64
    unused = calling(function(0, "Relu"), *doubling(26).functions[1:])
    assert len(read(saved(tmp_path / "unused.onnx", unused)).functions) == 27


def convolution(change):
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "weight")
    change(weight)
    return model([helper.make_node("Conv", ["x", "weight"], ["y"])], [weight])


def outside(location):
    def change(tensor):
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", location

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensor: setattr(tensor, "raw_data", b"123"), "damaged: tensor 'weight': "),
        (lambda tensor: setattr(tensor, "raw_data", tensor.raw_data[4:]), "damaged: tensor 'weight': "),
        (outside("a\0b"), "is no name of a file"),
        (outside("a" * 5000), "is no name of a file"),
    ],
)
def test_a_tensor_whose_bytes_or_place_are_wrong(tmp_path, change, words):
    path = saved(tmp_path / "t.onnx", convolution(change))
    assert words in refused(path, read, path, False)


def test_a_right_tensor_is_read(tmp_path):
    assert read(saved(tmp_path / "t.onnx", convolution(lambda _: None))).graph.initializer[0].name == "weight"


def test_an_attribute_of_no_function(tmp_path):
    made = convolution(lambda _: None)
    made.graph.node[0].attribute.append(onnx.AttributeProto(name="strides", type=7, ref_attr_name="gone"))
    path = saved(tmp_path / "t.onnx", made)
    assert "outside any function" in refused(path, read, path, False)


def test_a_file_that_hangs_the_runtime_ends_at_the_time_limit(tmp_path):
    """`predict` has no ONNX package to look into a file with: time is its limit."""
    path = saved(tmp_path / "d.onnx", doubling(26))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    done = start("predict", path, tmp_path / "a.png", "--timeout", 1)
    assert done.returncode == 2
    assert done.stderr == f"parity: {path}: no answer within 1 s. Allow more with --timeout.\n"
