"""What must be refused, or found out, when a network is exported: nothing wrong is left behind."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from program import run
from specs import files, spec

from parity.deploy.export import _Job
from parity.errors import ParityError
from parity.zoo import NETWORKS

HERE = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["resnet19"], "did you mean resnet18"),
        (["trace:x"], "no such file"),
        (["torch:resnet18", "--from", "paddle"], "only a network of paddle can be exported"),
        (["lenet5", "--opset", "22"], "--opset 22: the exporter of paddle writes 7 to 21; --from torch can"),
        (["lenet5", "--opset", "13"], "--opset 13: the exporter of torch writes 16 to"),
        (["lenet5", "--shape", "1,28"], "C,H,W"),
        (["lenet5", "--json", "/no/such/folder/x.json"], "no such folder"),
        (["lenet5", "--precision", "int4"], "unknown precision 'int4'; known: fp16, int8"),
        (["lenet5", "--precision", "int8"], "give --calibrate"),
        (["lenet5", "--precision", "int8", "--calibrate", "/no/such/folder"], "/no/such/folder: no such"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(arguments, words, tmp_path):
    done = run("export", *arguments, "-o", tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert files(tmp_path) == []


AVERAGED = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 5)
    def forward(self, inputs):
        y = F.avg_pool2d(self.conv(inputs), 2)
        return self.fc(y.mean((2, 3)))
build = Net
"""


@pytest.fixture
def mis_exported(monkeypatch):
    """Let the exporter write a MaxPool for an AveragePool, and say nothing."""

    def tampered(job, names, prove=_Job.prove):
        made = onnx.load(job.temporary / "raw.onnx")
        (pool,) = [node for node in made.graph.node if node.op_type == "AveragePool"]
        pool.op_type = "MaxPool"
        for attribute in [each for each in pool.attribute if each.name == "count_include_pad"]:
            pool.attribute.remove(attribute)
        onnx.save(made, job.temporary / "raw.onnx")
        return prove(job, names)

    monkeypatch.setattr(_Job, "prove", tampered)


@pytest.mark.usefixtures("mis_exported")
def test_a_mis_export_leaves_no_file_and_its_operator_is_named(export, tmp_path):
    (tmp_path / "build.torch.onnx").write_text("an older one")
    (file,) = export(spec("torch", tmp_path, AVERAGED), (3, 8, 8))
    assert not file.ok
    assert "MaxPool" in file.reason
    assert "the exporter's file is not the network" in file.reason
    assert files(tmp_path) == []


@pytest.mark.parametrize("backend", ["torch", "paddle"])
def test_an_exporter_that_gets_one_eps_off_by_a_tenth_is_found_out(backend, export, monkeypatch, tmp_path):
    """float32 cannot see it; the exporter's graph in float64 does."""

    def tampered(job, names, prove=_Job.prove):
        made = onnx.load(job.temporary / "raw.onnx")
        second = [node for node in made.graph.node if node.op_type == "BatchNormalization"][1]
        (eps,) = [attribute for attribute in second.attribute if attribute.name == "epsilon"]
        eps.f *= 1.1
        onnx.save(made, job.temporary / "raw.onnx")
        return prove(job, names)

    monkeypatch.setattr(_Job, "prove", tampered)
    (file,) = export(f"{backend}:resnet18", (3, 64, 64))
    assert file.noise < file.bound
    assert "the exporter's file means another function" in file.reason
    assert re.search(r"not proved: \S+ \(BatchNormalization\)", file.reason)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "backend, layer, words",
    [
        (
            "torch",
            "nn.AvgPool2d(2, divisor_override=3)",
            "1: AvgPool2d: divisor_override=3: torch's exporter drops it. Remedy",
        ),
        ("paddle", "nn.GELU(approximate=True)", "1: GELU: approximate=tanh: paddle2onnx writes erf for tanh. Remedy"),
        (
            "paddle",
            "nn.Hardtanh(-0.5, 2.0)",
            "1: Hardtanh: min_val=-0.5, max_val=2.0: paddle2onnx always clips to -1 and 1. Remedy",
        ),
        ("paddle", "nn.Softplus(2, 15)", "1: Softplus: beta=2, threshold=15: paddle2onnx ends the process"),
        ("paddle", "nn.AdaptiveAvgPool2D(4)", "wrong where they have several sizes. Remedy"),
        ("paddle", "nn.Pad2D(1, mode='circular')", "use --opset 19"),
    ],
)
def test_what_an_exporter_gets_wrong_is_refused_with_the_layer_and_the_reason(backend, layer, words, export, tmp_path):
    conv = "nn.Conv2d(3, 4, 3)" if backend == "torch" else "nn.Conv2D(3, 4, 3)"
    with pytest.raises(ParityError, match=re.escape(words)) as caught:
        export(spec(backend, tmp_path, f"def build():\n    return nn.Sequential({conv}, {layer})\n"), (3, 8, 8))
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == []


FUNCTION = """
class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(3, 4, 3)
    def forward(self, inputs):
        return {}
build = Net
"""


@pytest.mark.parametrize(
    "code, words",
    [
        ("self.conv(inputs).sum()", "breaks ONNX's rules"),
        ("self.conv(inputs).mean()", "breaks ONNX's rules"),
        ("F.celu(self.conv(inputs))", r"celu\(\): CELU: paddle2onnx does not know it"),
        ("paddle.kron(self.conv(inputs), inputs)", "Paddle's exporter cannot take it: "),  # it ends its process
    ],
)
def test_what_no_layer_tells_is_found_out_in_paddles_file(code, words, export, tmp_path):
    with pytest.raises(ParityError, match=words) as caught:
        export(spec("paddle", tmp_path, FUNCTION.format(code)), (3, 8, 8))
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == []


def test_a_window_that_onnx_runtime_leaves_out_is_found_out_in_paddles_file(export, tmp_path):
    code = "def build():\n    return nn.Sequential(nn.Conv2D(3, 4, 3, padding=1), nn.MaxPool2D(2, 3, ceil_mode=True))\n"
    (file,) = export(spec("paddle", tmp_path, code), (3, 9, 9))
    assert "MaxPool" in file.reason
    assert files(tmp_path) == []


def test_what_paddle_alone_computes_otherwise_is_noted(export, tmp_path):
    code = "def build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.LogSoftmax(1))\n"
    (file,) = export(spec("paddle", tmp_path, code), (3, 2, 2))
    assert file.ok
    assert file.notes == file.to_dict()["notes"]
    assert [note.split(": ")[:2] for note in file.notes] == [["2", "LogSoftmax"]]


@pytest.mark.parametrize(
    "name, words",
    [("lenet5", "--dynamic-size: .*Linear takes 256 features"), ("alexnet", "AdaptiveAvgPool2d: --dynamic-size, ")],
)
def test_a_dynamic_size_is_refused_where_the_network_has_one(name, words, export, tmp_path):
    with pytest.raises(ParityError, match=words):
        export(f"torch:{name}", NETWORKS[name].input[1:] if name == "lenet5" else (3, 65, 65), dynamic_size=True)
    assert files(tmp_path) == []


SCALED = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 5)
    def forward(self, inputs):
        y = F.leaky_relu(self.conv(inputs * 0.1), 0.07) / 0.229
        return self.fc(y.mean((2, 3)))
build = Net
"""


@pytest.mark.parametrize("backend", ["torch", "paddle"])
def test_a_constant_off_by_three_millionths_is_found_out_and_its_rounding_is_not(
    backend, export, monkeypatch, tmp_path
):
    """A file keeps 0.1 as a float32, 1.5e-8 off."""
    code = SCALED if backend == "torch" else SCALED.replace("Module", "Layer").replace("Conv2d", "Conv2D")
    (file,) = export(spec(backend, tmp_path, code), (3, 16, 16))
    assert file.ok, file.reason

    def tampered(job, names, prove=_Job.prove):
        made = onnx.load(job.temporary / "raw.onnx")
        held = [*made.graph.initializer]
        held += [node.attribute[0].t for node in made.graph.node if node.op_type == "Constant"]
        changed = 0
        for tensor in held:
            if tensor.data_type != onnx.TensorProto.FLOAT:
                continue
            array = onnx.numpy_helper.to_array(tensor)
            if array.size == 1 and abs(array.item() - 0.1) < 1e-6:
                tensor.CopyFrom(onnx.numpy_helper.from_array(array * np.float32(1.000003), tensor.name))
                changed += 1
        assert changed
        onnx.save(made, job.temporary / "raw.onnx")
        return prove(job, names)

    monkeypatch.setattr(_Job, "prove", tampered)
    (file,) = export(spec(backend, tmp_path, code), (3, 16, 16))
    assert "means another function" in file.reason
    assert files(tmp_path) == []


@pytest.mark.usefixtures("mis_exported")
def test_a_mis_export_leaves_nothing_of_lower_precision_either(export, tmp_path):
    for name in ("build.torch.onnx", "build.torch.fp16.onnx"):
        (tmp_path / name).write_text("an older one")
    (file,) = export(spec("torch", tmp_path, AVERAGED), (3, 8, 8), precisions=("fp16",))
    assert not file.ok
    assert files(tmp_path) == []
