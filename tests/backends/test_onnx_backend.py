"""ONNX files as one side of a comparison: what must be refused, what must be found, then what is right."""

import warnings

import numpy as np
import onnx
import onnxruntime
import paddle
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_nodes import one_node
from pairs import IMAGE, small
from program import run

from parity import ParityError, Trace
from parity.backends import onnx_backend, paddle_backend, torch_backend
from parity.judging.judge import judge
from parity.onnx_files import runtime
from parity.onnx_files.float64 import Nudge, evaluate
from parity.tracing.record import record

IMAGE_OF_FILE = IMAGE[:, :, :32, :30]


@pytest.fixture(scope="module")
def pair():
    return small()


@pytest.fixture(scope="module")
def exported(pair, tmp_path_factory):
    """The small pair's files: torch's exporter with and without its optimiser, and Paddle's."""
    import paddle2onnx

    folder = tmp_path_factory.mktemp("onnx")
    image = torch.from_numpy(IMAGE_OF_FILE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, optimize in (("folded", True), ("torch", False)):
            torch.onnx.export(
                pair[0], (image,), folder / f"{name}.onnx", dynamo=True, opset_version=18, optimize=optimize,
                external_data=False, verbose=False,
            )  # fmt: skip
    spec = [paddle.static.InputSpec([-1, 3, 32, 30], "float32", "image")]
    paddle.jit.save(pair[1], str(folder / "net"), input_spec=spec)
    parts = [str(folder / f"net.{end}") for end in ("json", "pdiparams")]
    paddle2onnx.export(*parts, str(folder / "paddle.onnx"), opset_version=18, optimize_tool="None")
    return folder


@pytest.fixture(scope="module")
def reference(pair, tmp_path_factory):
    path = tmp_path_factory.mktemp("trace") / "torch"
    record(torch_backend, pair[0], [IMAGE_OF_FILE], path)
    return path


def traced(file, path, image=IMAGE_OF_FILE):
    onnx_backend.record(onnx_backend.load(file), [image], path)
    return Trace(path)


def judged(reference, file, tmp_path):
    return judge("small", Trace(reference), traced(file, tmp_path / "file"))


def changed(source, path, change):
    model = onnx.load(source)
    change(model.graph)
    onnx.save(model, path)
    return path


def external(path, location):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": "16"}.items():
        tensor.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])], [tensor],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def refused(match, call, *args):
    with pytest.raises(ParityError, match=match) as error:
        call(*args)
    assert "\n" not in str(error.value)


def test_what_is_no_onnx_file_is_refused(tmp_path, exported):
    path = tmp_path / "x.onnx"
    refused("no such file", onnx_backend.load, path)
    whole = (exported / "paddle.onnx").read_bytes()
    for content in (b"", b"no onnx at all", whole[:100], whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(content)
        refused("no ONNX file|no valid ONNX file", onnx_backend.load, path)
        refused("refuses it", runtime.open_session, path, str(path))


def test_data_outside_the_files_folder_is_not_read(tmp_path):
    (tmp_path / "in").mkdir()
    np.zeros(4, np.float32).tofile(tmp_path / "secret")
    (tmp_path / "in/link").symlink_to("../secret")
    for location in ("../secret", "../../../../../../etc/passwd", str(tmp_path / "secret"), "link"):
        path = external(tmp_path / "in/m.onnx", location)
        refused("outside the file's folder", onnx_backend.load, path)
        refused("refuses it", runtime.open_session, path, "m.onnx")  # what `predict` relies on: it has no onnx
    refused("is missing", onnx_backend.load, external(tmp_path / "in/m.onnx", "nothing"))
    np.arange(4, dtype=np.float32).tofile(tmp_path / "in/data")
    file = onnx_backend.load(external(tmp_path / "in/m.onnx", "data"))
    assert np.array_equal(onnx_backend.get_state(file)["w"], np.arange(4))


def test_a_cycle_and_an_opset_the_runtime_lacks_are_refused(tmp_path):
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", 1, [4])], [value("b", 1, [4])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "cycle.onnx")
    refused("breaks ONNX's rules", onnx_backend.load, tmp_path / "cycle.onnx")
    one_node(tmp_path / "new.onnx", helper.make_node("Relu", ["x0"], ["y"]), [4], opset=99)
    refused("[Oo]pset|version", onnx_backend.load, tmp_path / "new.onnx")
    refused("refuses it: .*opset", runtime.open_session, tmp_path / "new.onnx", "new.onnx")


def test_an_input_of_the_wrong_rank_size_or_type_is_refused(tmp_path, exported):
    for image, word in (
        (IMAGE_OF_FILE[0], r"takes shape \?x3x32x30, was given"),
        (IMAGE_OF_FILE[:, :2], "takes shape"),
        (IMAGE_OF_FILE.astype(np.int64), "takes float32, was given int64"),
    ):
        refused(word, traced, exported / "paddle.onnx", tmp_path / "t", image)
        assert not (tmp_path / "t").exists()


def test_a_gpu_that_is_not_there_is_never_the_cpu_under_its_name(exported, monkeypatch):
    for device in ("cuda", "tensorrt", "gpu"):
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            refused("a build without", runtime.settle, device)
    # onnxruntime-gpu has the provider, and falls back on a machine without a GPU, saying so on stdout alone.
    built = list(runtime._PROVIDERS.values())
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built)
    for device in ("cuda", "tensorrt"):
        refused("fell back to CPU", runtime.open_session, exported / "paddle.onnx", "paddle.onnx", device)
    assert runtime.runs_on(runtime.open_session(exported / "paddle.onnx", "paddle.onnx", "auto")) == "cpu"


def test_gradients_of_a_file_are_refused(exported, tmp_path):
    file = onnx_backend.load(exported / "paddle.onnx")
    with pytest.raises(ParityError, match="no gradients"):
        onnx_backend.record(file, [IMAGE_OF_FILE], tmp_path / "t", gradients=True)


def batch_norm(graph, number=2):
    return [node for node in graph.node if node.op_type == "BatchNormalization"][number]


@pytest.mark.parametrize("source", ["torch", "paddle"])
def test_one_eps_off_by_a_tenth_is_found_at_its_node(source, reference, exported, tmp_path):
    def change(graph):
        next(a for a in batch_norm(graph).attribute if a.name == "epsilon").f = 1.1e-5

    result = judged(reference, changed(exported / f"{source}.onnx", tmp_path / "m.onnx", change), tmp_path)
    assert result.verdict == "different"
    assert (result.first_divergence.layer, result.first_divergence.where) == ("2.conv1.batch_norm", "inside")


def test_what_rounding_its_constants_to_float32_makes_is_allowed_and_no_more(tmp_path):
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 5)

        def forward(self, image):
            y = torch.nn.functional.leaky_relu(self.conv(image * 0.1), 0.07) / 0.229
            return self.fc(y.mean((2, 3)))

    torch.manual_seed(0)
    network, image = Scaled().eval(), IMAGE_OF_FILE[:1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.from_numpy(image),), tmp_path / "m.onnx", dynamo=True, verbose=False)
    record(torch_backend, network, [image], tmp_path / "torch")
    model, changed = onnx.load(tmp_path / "m.onnx"), 0
    with Trace(tmp_path / "torch") as ours, traced(tmp_path / "m.onnx", tmp_path / "right", image) as theirs:
        result = judge("scaled", ours, theirs)
        assert result.ok, str(result)
        assert max(layer.distance for layer in result.layers) > 1e-9  # which float64 alone would not explain
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.size == 1 and array.dtype == np.float32 and abs(array.item() - 0.1) < 1e-6:
            tensor.CopyFrom(onnx.numpy_helper.from_array(array * np.float32(1.0001), tensor.name))
            changed += 1
    assert changed == 1
    onnx.save(model, tmp_path / "wrong.onnx")
    with Trace(tmp_path / "torch") as ours, traced(tmp_path / "wrong.onnx", tmp_path / "wrong", image) as theirs:
        result = judge("scaled", ours, theirs)
        assert result.verdict == "different", [(each.layer, each.distance, each.allowance) for each in result.layers]


def test_constants_that_cannot_be_moved_excuse_nothing():
    made = np.ones((2, 3))
    assert Nudge.allowance(made + 1e-7, made) == pytest.approx(4e-7)
    assert Nudge.allowance(np.ones((2, 4)), made) == 0
    assert Nudge.allowance(made * np.inf, made) == 0
    assert Nudge.allowance(made * np.nan, made * np.nan) == 0


def test_a_transposed_square_weight_is_found_at_its_node(reference, exported, tmp_path):
    def change(graph):
        tensor = next(tensor for tensor in graph.initializer if tensor.name == "6.weight")
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).T.copy(), tensor.name))

    result = judged(reference, changed(exported / "folded.onnx", tmp_path / "m.onnx", change), tmp_path)
    assert (result.verdict, result.first_divergence.layer) == ("different", "6")


def test_a_missing_operator_is_found_between_its_neighbours(reference, exported, tmp_path):
    def change(graph):
        relu = [node for node in graph.node if node.op_type == "Relu"][2]
        for node in graph.node:
            node.input[:] = [relu.input[0] if name == relu.output[0] else name for name in node.input]
        graph.node.remove(relu)

    for source in ("folded", "paddle"):
        result = judged(reference, changed(exported / f"{source}.onnx", tmp_path / "m.onnx", change), tmp_path)
        assert result.verdict == "different"
        assert result.first_divergence is not None


def test_half_precision_in_the_file_is_not_the_function(reference, exported, tmp_path):
    def change(graph):
        for tensor in graph.initializer:
            if tensor.data_type == TensorProto.FLOAT:
                half = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))

    assert judged(reference, changed(exported / "folded.onnx", tmp_path / "m", change), tmp_path).verdict == "different"


def test_what_is_wrong_at_the_outputs_alone_is_wrong(reference, exported, tmp_path):
    def change(graph):
        graph.node.append(helper.make_node("Neg", [graph.output[0].name], ["negative"]))
        graph.output[0].name = "negative"

    result = judged(reference, changed(exported / "folded.onnx", tmp_path / "m.onnx", change), tmp_path)
    assert (result.verdict, result.layers[-1].verdict, result.layers[-2].verdict) == (
        "different",
        "different",
        "rounding",
    )


@pytest.mark.parametrize("source, distance", [("torch", 1e-12), ("paddle", 1e-12), ("folded", 3e-6)])
@pytest.mark.parametrize("backend", [torch_backend, paddle_backend], ids=["torch", "paddle"])
def test_the_exporters_files_are_the_network(source, distance, backend, pair, exported, tmp_path):
    record(backend, pair[backend is paddle_backend], [IMAGE_OF_FILE], tmp_path / "network")
    result = judged(tmp_path / "network", exported / f"{source}.onnx", tmp_path)
    assert result.verdict == "rounding", str(result)
    assert max(layer.distance for layer in result.layers) < distance
    # Of the network's own layers none but Flatten's kin may be left alone, folded or not.
    assert len([layer for layer in result.layers if layer.leaf]) >= 20
    assert result.unmatched["reference"] == ()


def test_two_files_are_compared_and_a_file_is_itself(exported, tmp_path):
    ours = traced(exported / "torch.onnx", tmp_path / "a")
    assert judge("files", ours, traced(exported / "torch.onnx", tmp_path / "b")).verdict == "exact"
    assert judge("files", ours, traced(exported / "paddle.onnx", tmp_path / "c")).verdict == "rounding"
    assert judge("files", ours, traced(exported / "folded.onnx", tmp_path / "d")).verdict == "rounding"


def test_the_manifest_tells_provider_and_optimisation(exported, tmp_path):
    manifest = traced(exported / "paddle.onnx", tmp_path / "t").manifest
    assert (manifest["framework"], manifest["device"], manifest["optimisation"]) == ("onnx", "cpu", "all")
    assert manifest["opset"] == {"ai.onnx": 18}


POOLS = [
    {"kernel_shape": [k, k], "strides": [s, s], "pads": [p] * 4, "ceil_mode": c}
    for k, s, p, c in ((2, 2, 0, 0), (3, 2, 1, 1), (3, 3, 1, 1), (2, 2, 1, 1), (5, 2, 2, 0), (3, 1, 0, 1))
]


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("include", [0, 1])
def test_float64_average_pool_is_the_runtimes(pool, include, tmp_path):
    node = helper.make_node("AveragePool", ["x0"], ["y"], count_include_pad=include, **pool)
    same_as_runtime(one_node(tmp_path / "m", node, [2, 3, 13, 11], opset=19), IMAGE[:, :, :13, :11])


@pytest.mark.parametrize(
    "settings, shape",
    [
        ({}, (4, 4, 3, 3)),
        ({"strides": [2, 1], "pads": [1, 0, 2, 1]}, (6, 4, 3, 2)),
        ({"dilations": [2, 3], "group": 2, "pads": [2, 2, 2, 2]}, (6, 2, 3, 3)),
        ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (4, 4, 3, 3)),
        ({"auto_pad": "SAME_LOWER", "strides": [3, 2]}, (4, 4, 4, 5)),
        ({"group": 4}, (4, 1, 1, 1)),
    ],
)
def test_float64_convolution_is_the_runtimes(settings, shape, tmp_path):
    rng = np.random.default_rng(0)
    node = helper.make_node("Conv", ["x0", "x1", "x2"], ["y"], **settings)
    inputs = [rng.standard_normal(size).astype(np.float32) for size in ((2, 4, 13, 11), shape, shape[:1])]
    same_as_runtime(one_node(tmp_path / "m", node, *[array.shape for array in inputs]), *inputs)


@pytest.mark.parametrize(
    "op", ["Relu", "Sigmoid", "Erf", "LRN", "GlobalMaxPool", "GlobalAveragePool", "HardSigmoid", "Softmax", "Identity"]
)
def test_float64_of_other_operators_is_the_runtimes(op, tmp_path):
    node = helper.make_node(op, ["x0"], ["y"], **({"size": 3} if op == "LRN" else {}))
    same_as_runtime(one_node(tmp_path / "m", node, IMAGE.shape), IMAGE)


RESIZES = [
    *({"mode": "nearest", "nearest_mode": way} for way in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")),
    *({"mode": mode} for mode in ("linear", "cubic")),
    {"mode": "cubic", "cubic_coeff_a": -0.5},
]
PLACES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("settings", RESIZES)
def test_float64_of_resize_is_the_runtimes(settings, place, tmp_path):
    """To smaller and larger, by sizes and by scales; to one element where that is no tie between two."""
    least = 2 if place == "half_pixel" else 1
    image = IMAGE[:, :, :13, :12]
    node = {"outputs": ["y"], "coordinate_transformation_mode": place, **settings}
    for role, value in (("sizes", [*image.shape[:2], 21, 5]), ("sizes", [*image.shape[:2], least, 48]),
                        ("scales", [1, 1, 1.5, 0.5]), ("scales", [1, 1, 3, 2])):  # fmt: skip
        inputs = ["x0", "", "", "s"] if role == "sizes" else ["x0", "", "s"]
        model = onnx.load(one_node(tmp_path / "m", helper.make_node("Resize", inputs, **node), image.shape))
        held = np.array(value, np.int64 if role == "sizes" else np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(held, "s"))
        onnx.save(model, tmp_path / "m")
        same_as_runtime(tmp_path / "m", image)


def same_as_runtime(path, *inputs):
    model = onnx.load(path)
    fed = {f"x{i}": array for i, array in enumerate(inputs)}
    ((_, made),) = evaluate(model, fed, name=str(path))
    (shown,) = runtime.run(runtime.open_session(path, "m"), fed, "m")
    assert made["y"].dtype == np.float64
    assert made["y"].shape == shown.shape
    np.testing.assert_allclose(shown, made["y"], rtol=1e-4, atol=1e-5)


def test_the_program_compares_a_file_and_refuses_a_bad_one(exported, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"nothing")

    def parity(*words):
        return run("compare", *words, "--threads", 1)

    done = parity(f"onnx:{exported}/torch.onnx", f"onnx:{exported}/folded.onnx", "--json", tmp_path / "r.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert "torch.onnx: rounding" in done.stdout
    done = parity(f"onnx:{exported}/torch.onnx", f"onnx:{tmp_path}/bad.onnx", "--json", tmp_path / "bad.json")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "bad.json").exists()


@pytest.mark.parametrize("source", ["torch", "folded", "paddle"])
def test_partners_are_found_without_names_and_in_another_order(source, reference, exported, tmp_path):
    """A block's shortcut may come before its branch or behind it; names are worth more, but need not be there."""

    def change(graph):
        made = {value.name for value in (*graph.input, *graph.initializer)}
        left, order = list(graph.node), []
        while left:  # the last that can go goes first
            node = next(node for node in reversed(left) if all(not name or name in made for name in node.input))
            left.remove(node)
            made |= set(node.output)
            order.append(node)
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in order]
        del graph.node[:]
        for i, node in enumerate(copies):
            node.name = f"n{i}"
            del node.metadata_props[:]
        graph.node.extend(copies)

    result = judged(reference, changed(exported / f"{source}.onnx", tmp_path / "m.onnx", change), tmp_path)
    assert result.verdict == "rounding", str(result)
    assert result.unmatched["reference"] == ()


def test_a_files_trace_can_be_kept_and_compared_later(reference, exported, tmp_path):
    traced(exported / "paddle.onnx", tmp_path / "file").__exit__(None, None, None)
    assert judge("later", Trace(tmp_path / "file"), Trace(reference)).verdict == "rounding"
