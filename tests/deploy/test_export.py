"""Exported files: wrong ones are never left behind, right ones are the network, and both frameworks write the same."""

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from export_layers import FIXED, LAYERS

from parity.deploy.export import Request, _Job, difference, export_models
from parity.deploy.preparation import prepared
from parity.errors import ParityError
from parity.onnx_files import model_file
from parity.picture import Preparation
from parity.processes.models import parse_export
from parity.processes.pool import Options, Workers
from parity.zoo import NETWORKS

HERE = Path(__file__).parents[1]
QUICK = {"lenet5": (1, 28, 28), "resnet18": (3, 64, 64), "regnet_y_400mf": (3, 64, 64), "densenet_d2l": (1, 32, 32)}


@pytest.fixture(scope="module")
def workers():
    with Workers(Options(device="cpu", timeout=300)) as alive:
        yield alive


@pytest.fixture
def export(workers, tmp_path):
    """A function that exports a model and returns its files."""

    def exported(model, shape, **wanted):
        name, models = parse_export(model, wanted.pop("only", None))
        try:
            return export_models(name, models, Request(tmp_path, shape, **wanted), workers.options, workers)
        except ParityError:
            workers.restart()
            raise

    return exported


def spec(backend, tmp_path, code):
    """Write a file that builds a network of one framework, in words both share, and return its SPEC."""
    words = {
        "torch": "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n",
        "paddle": "import paddle\nfrom paddle import nn\nfrom paddle.nn import functional as F\n",
    }
    path = tmp_path / f"{backend}_net.py"
    path.write_text(words[backend] + code)
    return f"{backend}:{path}:build"


def files(folder):
    return sorted(each.name for each in folder.iterdir() if ".onnx" in each.name)


# What must be refused, or found out.


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
    command = [sys.executable, "-m", "parity", "export", *arguments, "-o", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(HERE.parent)})
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


# What must be right.


@pytest.mark.parametrize("name", QUICK)
def test_both_frameworks_write_the_same_bytes(name, export, tmp_path):
    found = export(name, QUICK[name])
    assert difference(found) == ""
    assert len({file.canonical_sha256 for file in found}) == 1
    for file in found:
        assert file.ok, file.reason
        assert file.noise < file.bound / 10
        assert file.distance is not None
        assert file.distance < file.allowance / 10
        made = model_file.read(file.path)
        told = {entry.key: entry.value for entry in made.metadata_props}
        assert told["parity.framework"] == file.backend
        assert told["parity.verdict"] == file.verdict
        assert (made.graph.input[0].name, made.graph.output[0].name) == ("image", "logits")
        del made.metadata_props[:]  # as docs/onnx.md says
        sha = hashlib.sha256(made.SerializeToString(deterministic=True)).hexdigest()
        assert told["parity.canonical_sha256"] == sha == file.canonical_sha256
        assert not {"BatchNormalization"} & {node.op_type for node in made.graph.node} or "densenet" in name
        session = onnxruntime.InferenceSession(file.path)
        for batch in (1, 5):
            image = np.zeros((batch, *QUICK[name]), np.float32)
            assert session.run(None, {"image": image})[0].shape == (batch, NETWORKS[name].output[1])


def test_a_dynamic_size_is_dynamic_in_both(export):
    found = export("resnet18", (3, 40, 48), dynamic_size=True)
    assert difference(found) == ""
    for file in found:
        dims = file.model.graph.input[0].type.tensor_type.shape.dim
        assert [dim.dim_param or dim.dim_value for dim in dims] == ["N", 3, "H", "W"]
        session = onnxruntime.InferenceSession(file.path)
        assert session.run(None, {"image": np.zeros((2, 3, 71, 90), np.float32)})[0].shape == (2, 1000)


def test_raw_keeps_the_exporters_graph(export):
    for file in export("lenet5", (1, 28, 28), raw=True):
        made = onnx.load(file.path)
        assert len(made.graph.node) == file.nodes[1] > file.nodes[0]
        session = onnxruntime.InferenceSession(file.path)
        assert session.run(["logits"], {"image": np.zeros((2, 1, 28, 28), np.float32)})[0].shape == (2, 10)


def test_lower_precisions_are_made_of_what_was_proved(export, tmp_path):
    np.save(tmp_path / "pictures.npy", np.random.default_rng(0).standard_normal((4, 1, 28, 28)).astype(np.float32))
    wanted = {"precisions": ("fp16", "int8"), "calibrate": tmp_path / "pictures.npy"}
    (file,) = export("torch:lenet5", (1, 28, 28), **wanted)
    assert files(tmp_path) == ["lenet5.torch.fp16.onnx", "lenet5.torch.int8.onnx", "lenet5.torch.onnx"]
    assert [report.precision for report in file.lower.values()] == ["fp16", "int8"]
    told = file.to_dict()["lower"][str(tmp_path / "lenet5.torch.int8.onnx")]
    assert (told["images"], told["calibrated"], told["precision"]) == (2, 2, "int8")  # never judged on the same ones


def test_where_lowering_fails_an_older_lower_file_is_gone(export, monkeypatch, tmp_path):
    def fails(*_, **__):
        raise ParityError("its numbers exceed the format's range")

    monkeypatch.setattr("parity.deploy.export.precision.lower", fails)
    (tmp_path / "lenet5.torch.fp16.onnx").write_text("an older one")
    with pytest.raises(ParityError, match="exceed"):
        export("torch:lenet5", (1, 28, 28), precisions=("fp16",))
    assert files(tmp_path) == ["lenet5.torch.onnx"]  # which was proved


def test_what_fails_in_proving_is_told_as_it_is(export, monkeypatch, tmp_path):
    """Not as the exporter's failure, whatever the worker's log holds."""
    monkeypatch.setattr(Workers, "log", lambda self: "[paddle] [ERROR] of another time")

    def fails(job, names):
        raise ParityError("the disk is full")

    monkeypatch.setattr(_Job, "prove", fails)
    with pytest.raises(ParityError, match=r"^the disk is full$"):
        export("torch:lenet5", (1, 28, 28))
    assert files(tmp_path) == []


@pytest.mark.usefixtures("mis_exported")
def test_a_mis_export_leaves_nothing_of_lower_precision_either(export, tmp_path):
    for name in ("build.torch.onnx", "build.torch.fp16.onnx"):
        (tmp_path / name).write_text("an older one")
    (file,) = export(spec("torch", tmp_path, AVERAGED), (3, 8, 8), precisions=("fp16",))
    assert not file.ok
    assert files(tmp_path) == []


OWN = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
    def forward(self, inputs):
        return self.conv(inputs)
build = Net
"""


def test_a_file_with_other_weights_does_not_go_without_a_word(workers, tmp_path):
    model, out = spec("torch", tmp_path, OWN), tmp_path / "out"
    name, models = parse_export(model, None)
    out.mkdir()

    def export(seed, name=name):
        options = replace(workers.options, seed=seed)
        (file,) = export_models(name, models, Request(out, (3, 8, 8)), options, workers)
        return file

    assert export(0).notes == export(0).notes == ()
    (note,) = export(1).notes
    assert note.startswith("it took the place of a file of this name with other weights; --name")
    assert export(2, "other").notes == ()
    assert files(out) == ["build.torch.onnx", "other.torch.onnx"]


def test_the_file_keeps_how_its_pictures_are_prepared(export, tmp_path):
    made = Preparation((0.5,), (0.25,), "bgr", size=(28, 28))
    (file,) = export("torch:lenet5", (1, 28, 28), preparation=made)
    entries = {entry.key: entry.value for entry in onnx.load(file.path).metadata_props}
    assert entries["parity.picture.channels"] == "bgr"
    assert prepared(file.path, entries).preparation == made


def test_nothing_is_installed_meanwhile(tmp_path):
    """paddle2onnx installs a package by pip unless it is told not to: a pip that notes its calls stands in the way."""
    stub = tmp_path / "stub"
    (stub / "pip").mkdir(parents=True)
    noted = tmp_path / "called"
    code = f"open({str(noted)!r}, 'a').write('called')\n"
    (stub / "pip" / "__init__.py").write_text(code)
    (stub / "pip" / "__main__.py").write_text(code)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in ("pip", "pip3"):
        script = bin_folder / name
        script.write_text(f"#!{sys.executable}\n{code}")
        script.chmod(0o755)
    env = {
        **os.environ,
        "PYTHONPATH": f"{stub}{os.pathsep}{HERE.parent}",
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
    }
    assert subprocess.run([sys.executable, "-m", "pip", "x"], env=env).returncode == 0
    assert noted.exists(), "the stub must be seen where it is called"
    noted.unlink()
    out = tmp_path / "out"
    command = [sys.executable, "-m", "parity", "export", "lenet5", "-o", str(out), "--verify", "--from", "paddle"]
    done = subprocess.run([*command, "--json", str(tmp_path / "x.json")], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert not noted.exists()
    told = json.loads((tmp_path / "x.json").read_text())
    assert told["ok"]
    assert told["canonical_sha256"]["paddle"] in done.stdout
    assert files(out) == ["lenet5.paddle.onnx"]


# One layer each, behind a convolution.


@pytest.mark.parametrize(
    "layer", [layer if layer in FIXED else pytest.param(layer, marks=pytest.mark.zoo) for layer in LAYERS]
)
def test_one_layer_is_exported_right_from_both(layer, export, tmp_path):
    """By default those that paddle2onnx writes with random values, if their attributes were not fixed first."""
    found = []
    for backend, text in zip(("torch", "paddle"), LAYERS[layer], strict=False):
        conv = {"torch": "nn.Conv2d(3, 4, 3, padding=1)", "paddle": "nn.Conv2D(3, 4, 3, padding=1)"}[backend]
        code = f"def build():\n    return nn.Sequential({conv}, {text})\n"
        found += export(spec(backend, tmp_path, code), (3, 8, 8))
    assert all(file.ok for file in found), found
    assert (difference(found) == "") == LAYERS[layer][2], difference(found)


@pytest.mark.zoo
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_of_the_zoo_is_the_same_bytes(name, export):
    found = export(name, NETWORKS[name].input[1:])
    assert all(file.ok for file in found), found
    assert difference(found) == ""
