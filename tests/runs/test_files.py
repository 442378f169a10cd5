"""Comparisons with ONNX files: free sizes that do not work, other weights, the layer that costs most in 8 bits."""

import numpy as np
import onnx
import pytest
import torch
from graphs import shapeless

from parity.deploy.precision import lower
from parity.onnx_files.free_sizes import FreeSize, free_sizes, grown, same_pictures
from parity.processes.models import parse_pair
from parity.processes.pool import Options, Workers
from parity.runs.compare import compare_models

NETWORKS = '''
import torch
from torch import nn

class Shuffled(nn.Module):
    """Reshapes by the batch of its input, and by the size."""
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 2, 1)
    def forward(self, image):
        y = self.conv(image)
        n, c, h, w = (int(k) for k in y.shape)
        return self.head(y.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))

class OneBatch(Shuffled):
    def forward(self, image):
        if len(image) != 1:
            raise ValueError("one picture at a time")
        return super().forward(image)

def shuffled():
    torch.manual_seed(0)
    return Shuffled().eval()

def one_batch():
    torch.manual_seed(0)
    return OneBatch().eval()

def depthwise():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU6(), nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.Hardswish(), nn.Conv2d(16, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        net[2].weight[0] *= 1000
        net[4].weight[:, 0] /= 1000
    return net.eval()
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "nets.py").write_text(NETWORKS)
    namespace = {}
    exec(NETWORKS, namespace)
    for name, shape in (("shuffled", (1, 4, 8, 8)), ("depthwise", (1, 3, 16, 16))):
        torch.onnx.export(
            namespace[name](), (torch.zeros(shape),), folder / f"{name}.onnx", dynamo=True, verbose=False,
            external_data=False, opset_version=18, input_names=["image"], output_names=["logits"],
        )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def workers():
    with Workers(Options(threads=1, weights="own")) as workers:
        yield workers


def compared(folder, workers, one, other, shape, weights="own"):
    def spec(each):
        return f"onnx:{folder / each}" if each.endswith(".onnx") else f"torch:{folder}/nets.py:{each}"

    name, models = parse_pair(spec(one), spec(other))
    image = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return compare_models(name, models, lambda: image, Options(threads=1, weights=weights), workers)


def freed(folder, source, target, names):
    """Write a copy of a file that says that sizes of its input and output are free."""
    model = onnx.load(folder / source)
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in names.items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    del model.graph.value_info[:]
    onnx.save(model, folder / target)


def test_a_batch_that_is_said_to_be_free_and_is_not_is_found_with_its_node(folder, workers):
    freed(folder, "shuffled.onnx", "baked.onnx", {0: "batch"})
    result = compared(folder, workers, "shuffled", "baked.onnx", (1, 4, 8, 8))
    assert result.verdict == "different"
    (culprit,) = result.culprits
    assert "baked.onnx says that its batch is free, but at 2 it does not work: node " in culprit.explanation
    assert "(Reshape)" in culprit.explanation
    assert all(layer.verdict == "rounding" or layer.verdict == "exact" for layer in result.layers)


def test_a_size_that_is_said_to_be_free_and_is_not_is_found(folder, workers):
    freed(folder, "shuffled.onnx", "sized.onnx", {2: "height"})
    result = compared(folder, workers, "shuffled", "sized.onnx", (1, 4, 8, 8))
    assert result.verdict == "different"
    assert "its height is free, but at 16 it does not work" in result.culprits[0].explanation


def test_what_the_network_cannot_do_either_is_no_fault_of_the_file(folder, workers):
    freed(folder, "shuffled.onnx", "baked.onnx", {0: "batch"})
    assert compared(folder, workers, "one_batch", "baked.onnx", (1, 4, 8, 8)).ok


def test_a_file_without_free_sizes_is_not_asked_for_more(folder, workers):
    result = compared(folder, workers, "shuffled", "shuffled.onnx", (1, 4, 8, 8))
    assert result.ok
    assert result.candidate["free_sizes"] == []


def test_two_files_that_both_bake_the_batch_are_alike_and_a_note_says_so(folder, workers):
    freed(folder, "shuffled.onnx", "baked.onnx", {0: "batch"})
    result = compared(folder, workers, "baked.onnx", "baked.onnx", (1, 4, 8, 8))
    assert result.ok
    assert any("its batch is free, but at 2" in note for note in result.notes)


def test_a_batch_that_mixes_pictures_is_found_without_an_error_of_the_runtime(folder, workers):
    body = "s = ReduceSum <keepdims = 1> (x, axes)\n t = Div (x, s)\n y = Relu (t)"
    for name, axes in (("mixed", [0, 1]), ("alone", [1])):
        model = shapeless(body, {"axes": np.array(axes)}, inputs="float[N, 3, 4, 4] x")
        onnx.save(onnx.shape_inference.infer_shapes(model), folder / f"{name}.onnx")
    result = compared(folder, workers, "alone.onnx", "mixed.onnx", (1, 3, 4, 4))
    assert result.verdict == "different"
    assert "first behind node 's' (ReduceSum)" in result.culprits[0].explanation


def test_other_weights_are_the_one_thing_said(folder, workers):
    result = compared(folder, workers, "depthwise", "depthwise.onnx", (1, 3, 16, 16), weights="random")
    (culprit,) = result.culprits
    assert (result.verdict, culprit.layer) == ("different", "")
    assert culprit.explanation.startswith("the file's weights are not the ones given (weights: random, seed 0)")
    assert result.first_divergence is None


def test_the_layer_that_costs_most_in_8_bits_is_named(folder, workers):
    np.save(folder / "pictures.npy", np.random.default_rng(0).standard_normal((8, 3, 16, 16)).astype(np.float32))
    _ = lower(folder / "depthwise.onnx", folder / "int8.onnx", "int8", folder / "pictures.npy", rounds=1)
    for reference in ("depthwise.onnx", "depthwise"):
        result = compared(folder, workers, reference, "int8.onnx", (1, 3, 16, 16))
        assert result.verdict == "different"
        assert result.culprits[0].layer == "2", str(result)
        assert "costs most of 3 layers with weights: its output, rounded" in result.culprits[0].explanation
        assert {"0", "2", "4"} <= {layer.layer for layer in result.layers}
    assert compared(folder, workers, "int8.onnx", "int8.onnx", (1, 3, 16, 16)).ok


class Slot:
    def __init__(self, name, *shape):
        self.name, self.shape = name, shape


def test_a_second_value_is_a_multiple_that_a_network_takes():
    fed = {"a": np.zeros((2, 3, 224, 49)), "b": np.zeros((2, 5))}
    slots = [Slot("a", "N", 3, "H", None), Slot("b", "N", 5)]
    assert free_sizes(slots, fed) == [
        FreeSize("N", ((0, 0), (1, 0)), 3, True),
        FreeSize("H", ((0, 2),), 256, False),
        FreeSize("axis 3 of a", ((0, 3),), 50, False),
    ]
    assert grown(np.arange(3), 0, 5).tolist() == [0, 1, 2, 0, 1]


def test_the_same_pictures_must_give_the_same():
    before = np.arange(6.0).reshape(2, 3)
    assert same_pictures(before, np.concatenate([before, before[:1]]))
    assert not same_pictures(before, np.concatenate([before, before[1:]]))
    assert not same_pictures(before, before)
    assert not same_pictures(np.float64(1), np.float64(1))
