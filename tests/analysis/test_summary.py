"""`parity summary`: what it refuses, and its numbers against the zoo, other counters and measured gradients."""

import json
import math
import subprocess
import sys

import pytest
import torch
import torchvision
from fvcore.nn import FlopCountAnalysis
from program import run
from torch import nn
from torchinfo import summary as torchinfo

import torch_cnn
from parity import ParityError
from parity.analysis.outline import Outline, outline
from parity.analysis.summary import summarise
from parity.backends import paddle_backend, torch_backend
from parity.zoo import NETWORKS

IMAGENET = (1, 3, 224, 224)
# One of each family, small ones first.
ONE_EACH = (
    "lenet5",
    "alexnet_d2l",
    "vgg11_d2l_small",
    "nin",
    "googlenet_d2l",
    "resnet18",
    "densenet_d2l",
    "regnet_y_400mf",
)


def summed(network, shape, backend=torch_backend, depth=None):
    return summarise("network", backend.NAME, outline(backend, network, shape), depth)


def hollow(name):
    return torch_backend.hollow(torch_backend.build(name))


def fields(network, size, channels=1):
    return {row.layer: row.receptive_field for row in summed(network.eval(), (1, channels, size, size)).rows}


# What must fail


@pytest.mark.parametrize(
    "arguments, words",
    (
        (["resnet5"], "unknown network 'resnet5'; did you mean resnet50"),
        (["jax:x"], "unknown model 'jax:x'"),
        (["onnx:x.onnx"], "onnx:x.onnx: no such file"),
        (["onnx:{here}"], "an ONNX file has no layers to call"),
        (["trace:nowhere"], "trace:nowhere: no such file"),
        (["trace:{here}"], "a trace holds no network"),
        (["lenet5", "--input", "1,1,28"], "--input 1,1,28: a shape is N,C,H,W, each at least 1; for example 1,1,28,28"),
        (["lenet5", "--input", "0,1,28,28"], "a shape is N,C,H,W, each at least 1"),
        (["lenet5", "--input", "cat.jpg"], "--input cat.jpg: a shape is N,C,H,W"),
        (["alexnet", "--input", "1,3,32,32"], "features.12: MaxPool2d: a window of 3x3 does not fit its input of 1x1"),
        (
            ["alexnet", "--input", "1,1,224,224"],
            "features.0: Conv2d takes 3 channels, its input's shape is (1, 1, 224, 224)",
        ),
        (["lenet5", "--input", "1,1,32,32"], "classifier.0: Linear takes 256 features, its input's shape is (1, 400)"),
        (["lenet5", "--json", "/nowhere/x.json"], "/nowhere/x.json: cannot write: no such folder"),
        (["lenet5", "--torch-python", "/nowhere"], "--torch-python /nowhere: cannot start it"),
        (["torch:nowhere.py:net"], "torch:nowhere.py:net: FileNotFoundError"),
    ),
)
def test_bad_input_is_one_line_and_exit_2(arguments, words):
    done = run("summary", *(word.format(here=__file__) for word in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr and done.stderr.count("\n") == 1


def test_both_frameworks_refuse_an_image_in_the_same_words():
    said = set()
    for backend in (torch_backend, paddle_backend):
        with pytest.raises(ParityError) as caught:
            outline(backend, backend.build("alexnet"), (1, 3, 32, 32))
        said.add(str(caught.value))
    assert len(said) == 1


def test_a_network_that_calls_no_layer_is_refused():
    class Nothing(nn.Module):
        def forward(self, inputs):
            return inputs * 2

    rows = summed(Nothing(), (1, 1, 4, 4)).rows
    assert [row.kind for row in rows] == ["Nothing"]  # it is one layer, without parts
    with pytest.raises(ParityError, match="calls no layer"):
        summarise("x", "torch", Outline((), (), ()))


def test_arithmetic_that_is_not_known_is_said_so_not_counted_as_none():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3, 3))

        def forward(self, inputs):
            return inputs[..., ::2, ::2]

    result = summed(nn.Sequential(nn.Conv2d(1, 1, 3), Odd(), nn.Conv2d(1, 1, 3)), (1, 1, 19, 19))
    assert [row.macs for row in result.rows] == [17 * 17 * 9, None, 7 * 7 * 9]
    assert result.uncounted == ("1",)
    assert [row.receptive_field for row in result.rows] == [(3, 3), None, None]


def test_a_map_that_code_has_resized_has_no_known_receptive_field():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)

        def forward(self, inputs):
            return self.second(nn.functional.max_pool2d(self.first(inputs), 2))

    assert fields(Pooled(), 18) == {"first": (3, 3), "second": None}


# Counts


@pytest.mark.parametrize("name", NETWORKS)
def test_totals_are_those_of_the_zoo(name):
    network = NETWORKS[name]
    result = summed(hollow(name), network.input)
    assert (result.output, result.parameters, result.macs) == (network.output, network.parameters, network.macs)
    assert not result.uncounted
    assert None not in {row.receptive_field for row in result.rows}


@pytest.mark.parametrize("name", ONE_EACH)
def test_both_sides_give_the_same_summary(name):
    shape = NETWORKS[name].input
    ours, theirs = (
        summed(network, shape, backend)
        for network, backend in ((hollow(name), torch_backend), (paddle_backend.build(name), paddle_backend))
    )
    assert ours.rows == theirs.rows
    assert (ours.parameters, ours.macs, ours.activations) == (theirs.parameters, theirs.macs, theirs.activations)


@pytest.mark.parametrize(
    "name", ("alexnet", "vgg11", "resnet50", "resnext50_32x4d", "densenet121", "regnet_x_400mf", "regnet_y_400mf")
)
def test_torchinfo_and_fvcore_count_the_same(name):
    """Of torchvision's own network: ours, by its outline, and theirs by two counters."""
    network, image = torchvision.models.get_model(name).eval(), torch.zeros(IMAGENET)
    result = summed(network, IMAGENET)
    counted = FlopCountAnalysis(network, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    by_operator = counted.by_operator()
    assert result.macs == by_operator["conv"] + by_operator["linear"] == NETWORKS[name].macs
    other = torchinfo(network, input_data=image, verbose=0, device="cpu")
    assert result.parameters == other.trainable_params == NETWORKS[name].parameters
    theirs = {info.module: info for info in other.summary_list}
    for row in result.rows:
        layer = network.get_submodule(row.layer)
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            # torchinfo counts a bias as one more multiplication.
            biases = math.prod(row.output[:1] + row.output[2:]) * (0 if layer.bias is None else layer.bias.numel())
            assert row.macs == theirs[layer].macs - biases


def test_a_batch_of_ten_costs_ten_times_as_much_with_the_same_parameters():
    one, ten = (summed(hollow("resnet50"), (n, 3, 224, 224)) for n in (1, 10))
    assert (10 * one.macs, 10 * one.activations, one.parameters) == (ten.macs, ten.activations, ten.parameters)


def test_a_layer_called_twice_has_its_parameters_once_and_its_macs_twice():
    layer = nn.Conv2d(1, 1, 3, padding=1)
    result = summed(nn.Sequential(layer, nn.ReLU(), layer), (1, 1, 8, 8))
    assert (result.parameters, result.macs, result.activations) == (10, 2 * 64 * 9, 128)
    assert [row.receptive_field for row in result.rows] == [(3, 3), (3, 3), (5, 5)]


def test_parameters_that_no_leaf_holds_or_that_are_not_called_are_listed():
    class Extra(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(5))
            self.used, self.spare = nn.Conv2d(1, 1, 1), nn.Linear(2, 3)

        def forward(self, inputs):
            return self.used(inputs) * self.scale

    result = summed(Extra(), (1, 1, 5, 5))
    assert [(row.layer, row.output, row.parameters) for row in result.rows] == [
        ("used", (1, 1, 5, 5), 2),
        ("", (1, 1, 5, 5), 5),
        ("spare", (), 9),
    ]
    assert result.parameters == 16


def test_a_transposed_convolution_counts_what_each_input_element_goes_into():
    layer = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2)
    (row,) = summed(layer, (1, 4, 5, 5)).rows
    assert row.kernel == (4, 3, 3, 3)
    assert row.macs == 4 * 5 * 5 * 3 * 9
    assert row.receptive_field is None


def test_activations_are_the_outputs_of_convolutions():
    network, counted = torch_cnn.build("regnet_x_400mf").eval(), []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, __, output: counted.append(output.numel()))
    network(torch.zeros(IMAGENET))
    result = summed(hollow("regnet_x_400mf"), IMAGENET)
    assert result.activations == sum(counted)
    assert result.to_json()["activation_bytes"] == 4 * sum(counted)


# Receptive fields


def support(network, layer, shape):
    """Return the height and width in pixels of what a middle element of a layer's output has a gradient by.

    All weights are made positive so that nothing cancels, and maxima are made means so that nothing is left out.
    """
    kept = []
    for path, each in list(network.named_modules()):
        if isinstance(each, nn.MaxPool2d):
            mean = nn.AvgPool2d(each.kernel_size, each.stride, each.padding, each.ceil_mode)
            parent, _, name = path.rpartition(".")
            setattr(network.get_submodule(parent), name, mean)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1 / parameter[0].numel() if parameter.dim() > 1 else 0.0)
        for each in network.modules():
            if isinstance(each, nn.BatchNorm2d):
                each.weight.fill_(1.0)
    network.get_submodule(layer).register_forward_hook(lambda _, __, output: kept.append(output))
    image = torch.ones(shape, requires_grad=True)
    network(image)
    height, width = kept[0].shape[2:]
    (gradient,) = torch.autograd.grad(kept[0][0, :, height // 2, width // 2].sum(), image)
    touched = gradient.abs().sum((0, 1)) > 0
    spans = [torch.nonzero(touched.any(dim=1 - axis)).flatten() for axis in (0, 1)]
    for span, size in zip(spans, shape[2:], strict=True):
        assert span[0] > 0 and span[-1] < size - 1, "the image is too small to see the whole field"
    return tuple(int(span[-1] - span[0] + 1) for span in spans)


@pytest.mark.parametrize(
    "name, layer, size, known",
    (
        ("lenet5", "features.5", 28, 16),
        ("alexnet", "features.12", 256, 195),
        ("vgg16", "features.30", 224, 212),
        ("nin", "features.5", 224, 131),
        ("googlenet_d2l", "b3.2", 160, 107),
        ("resnet18", "layer3", 224, 211),
        # 483 in the literature is that of the paper's network, with stride 2 on the last block of a stage.
        ("resnet50", "layer4", 448, 427),
        ("resnext50_32x4d", "layer3", 288, 267),
        ("densenet_d2l", "blocks.2", 160, 111),
        ("regnet_x_400mf", "trunk_output.block3", 320, 239),
    ),
)
def test_receptive_field_is_where_gradients_come_from(name, layer, size, known):
    network = NETWORKS[name]
    shape = (1, network.input[1], size, size)
    depth = layer.count(".") + 1
    found = {row.layer: row.receptive_field for row in summed(hollow(name), shape, depth=depth).rows}
    assert found[layer] == support(torch_backend.build(name), layer, shape) == (known, known)


@pytest.mark.parametrize(
    "layer, size, known",
    (
        (nn.Conv2d(1, 1, (3, 5), stride=(1, 2)), 21, (3, 5)),
        (nn.Conv2d(1, 1, 3, dilation=4), 21, (9, 9)),
        (nn.Conv2d(1, 1, 3, dilation=2, padding="same"), 21, (5, 5)),
        (nn.Sequential(nn.Conv2d(1, 1, 2, padding=1), nn.AvgPool2d(3, 2, ceil_mode=True)), 20, (4, 4)),
        (nn.Sequential(nn.Conv2d(1, 1, 3, 2), nn.AdaptiveAvgPool2d(4)), 21, (7, 7)),  # 10 to 4: windows of 3
        (nn.Sequential(nn.Conv2d(1, 1, 3, 2), nn.AdaptiveAvgPool2d(1)), 21, (21, 21)),
    ),
)
def test_receptive_field_of_odd_windows(layer, size, known):
    rows = summed(layer.eval(), (1, 1, size, size)).rows
    assert rows[-1].receptive_field == known


class Off(nn.Module):
    """Two paths whose elements see three pixels each, one of them a pixel further left."""

    def __init__(self):
        super().__init__()
        self.right, self.left = nn.Conv2d(1, 1, 3, stride=3), nn.Conv2d(1, 1, 3, stride=3, padding=1)
        self.last = nn.Conv2d(1, 1, 1)

    def forward(self, inputs):
        return self.last(self.right(inputs) + self.left(inputs))


def test_paths_off_centre_are_united():
    assert fields(Off(), 30) == {"right": (3, 3), "left": (3, 3), "last": (4, 4)}
    assert support(Off(), "last", (1, 1, 30, 30)) == (4, 4)


# The command


def test_json_holds_what_the_table_shows(tmp_path):
    file = tmp_path / "x.json"
    done = run("summary", "densenet_d2l", "--depth", 2, "--markdown", "--json", file)
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(file.read_text())
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()]
    assert len({len(row) for row in table}) == 1
    assert [row[0] for row in table[2:-1]] == [row["layer"] for row in data["rows"]]
    assert [row[5] for row in table[2:-1]] == ["x".join(map(str, row["output"])) for row in data["rows"]]
    assert table[-1][:6] == ["densenet_d2l, input 1x1x96x96", "", "", "", "", "1x10"]
    assert [int(cell.replace(",", "")) for cell in table[-1][6:9]] == [
        data[key] for key in ("parameters", "macs", "activations")
    ]
    for key in ("parameters", "macs", "activations"):
        assert data[key] == sum(row[key] for row in data["rows"])
    assert (data["schema"], data["framework"], data["input"]) == (1, "torch", [1, 1, 96, 96])


def test_stages_sum_up_their_layers_and_show_what_the_whole_makes():
    network, shape = hollow("densenet_d2l"), NETWORKS["densenet_d2l"].input
    layers, stages = summed(network, shape), summed(network, shape, depth=2)
    assert (layers.parameters, layers.macs, layers.activations) == (stages.parameters, stages.macs, stages.activations)
    block = next(row for row in stages.rows if row.layer == "blocks.0")
    inside = [row for row in layers.rows if row.layer.startswith("blocks.0.")]
    assert (block.kind, block.output, block.kernel) == ("DenseBlock", (1, 192, 24, 24), ())
    assert block.macs == sum(row.macs for row in inside) > 0
    assert inside[-1].output == (1, 32, 24, 24)  # the last layer's alone: the block concatenates


def test_kernels_are_written_as_in_the_article():
    rows = {row.layer: row for row in summed(hollow("resnext50_32x4d"), IMAGENET).rows}
    stem, grouped, pool = rows["conv.conv"], rows["layer1.0.conv1.conv"], rows["max_pool"]
    assert (stem.kernel, stem.padding, stem.stride) == ((64, 3, 7, 7), (3, 3), (2, 2))
    assert (grouped.kernel, pool.kernel, rows["fc"].kernel) == ((128, 4, 3, 3), (3, 3), (1000, 2048))


def test_a_network_of_the_users_own_is_summarised_on_either_side(tmp_path):
    ours = "from torch.nn import *\nnet = lambda: Sequential(Conv2d(1, 4, 3), ReLU(), Flatten(), Linear(4, 2))\n"
    (tmp_path / "ours.py").write_text(ours)
    (tmp_path / "theirs.py").write_text(ours.replace("torch", "paddle").replace("2d", "2D"))
    rows = []
    for model in ("torch:ours.py:net", "paddle:theirs.py:net"):
        done = run("summary", model, "--input", "1,1,3,3", "--json", "x.json", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        rows.append(json.loads((tmp_path / "x.json").read_text())["rows"])
    assert rows[0] == rows[1]
    assert [row["parameters"] for row in rows[0]] == [40, 0, 0, 10]


def test_at_most_one_framework_is_imported():
    """The program itself imports none, nor starts the other side's interpreter; torch's side does not import Paddle."""
    code = (
        "import sys\nfrom parity.commands.program import main\n"
        "sys.argv = ['summary', 'lenet5', '--paddle-python', '/nowhere']\n"
        "try:\n    main('summary')\nfinally:\n    print({'torch', 'paddle'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("set()\n"), done.stderr
    code = (
        "import sys\nfrom parity.backends import torch_backend as side\nfrom parity.analysis.outline import outline\n"
        "outline(side, side.hollow(side.build('lenet5')), (1, 1, 28, 28))\n"
        "print({'torch', 'paddle'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "{'torch'}\n"


def test_a_zoo_network_is_not_computed():
    """On the meta device there are shapes and no numbers."""
    network = hollow("vgg16")
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}
    assert summed(network, (64, 3, 224, 224)).macs == 64 * NETWORKS["vgg16"].macs  # some minutes, were it computed
