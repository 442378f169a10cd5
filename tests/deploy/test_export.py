"""Exported files that are right: they are the network, and both frameworks write the same bytes."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from export_layers import FIXED, LAYERS
from specs import files, spec

from parity.deploy.export import Request, _Job, difference, export_models
from parity.deploy.preparation import prepared
from parity.errors import ParityError
from parity.onnx_files import model_file
from parity.picture import Preparation
from parity.processes.models import parse_export
from parity.processes.pool import Workers
from parity.zoo import NETWORKS

HERE = Path(__file__).parents[1]
QUICK = {"lenet5": (1, 28, 28), "regnet_y_400mf": (3, 64, 64), "densenet_d2l": (1, 32, 32)}


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
