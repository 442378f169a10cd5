"""What the core promises with numpy, safetensors, rich, typer and pillow alone; `make test-core` has nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from parity import State, Trace
from parity.tracing.trace import Call, Noise, TraceWriter
from parity.weights.blueprint import slots
from parity.weights.hardened import hardened_state

pytestmark = pytest.mark.core

ROOT = Path(__file__).resolve().parent
while not (ROOT / "pyproject.toml").exists():
    ROOT = ROOT.parent
EXTRAS = (
    "torch", "torchvision", "paddle", "onnx", "onnxruntime", "onnxscript", "onnx_ir", "paddle2onnx",
    "matplotlib", "psutil", "torchinfo", "fvcore",
)  # fmt: skip
# The files that may ask for an extra as soon as they are imported. Everything else asks when it is needed. A folder
# stands for all of its files.
DOORS = {
    "parity/onnx_files/canonical.py",
    "parity/commands/baselines/compare.py",
    "parity/commands/baselines/resnet50.py",
    "parity/deploy/export.py",
    "parity/deploy/export_proof.py",
    "parity/deploy/exported.py",
    "parity/onnx_files/model_file.py",
    "parity/onnx_files/float64.py",
    "parity/onnx_files/description.py",
    "parity/onnx_files/halves.py",
    "parity/backends/onnx_backend.py",
    "parity/backends/onnx_recording.py",
    "parity/backends/paddle_float64.py",
    "parity/backends/paddle_eager.py",
    "parity/backends/torch_eager.py",
    "parity/backends/torch_autograd.py",
    "parity/backends/paddle_autograd.py",
    "parity/backends/paddle_backend.py",
    "parity/backends/paddle_export.py",
    "parity/onnx_files/rewrite_rules/",
    "parity/backends/torch_backend.py",
    "parity/backends/torch_export.py",
    "parity/backends/torch_functions.py",
    "parity/backends/paddle_functions.py",
    "parity/backends/paddle_runner.py",
}

_IMPORT_ALL = """
import importlib, json, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {extras!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
failed = {{}}
for file in {files!r}:
    try:
        importlib.import_module(file.removesuffix(".py").replace("/", "."))
    except ModuleNotFoundError as error:
        failed[file] = error.name
print(json.dumps(failed))
"""


def failing(files, extras=EXTRAS):
    """Return the files that cannot be imported where the extras are absent, each with what it misses."""
    code = _IMPORT_ALL.format(files=files, extras=extras)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def parity(*words, **environment):
    command = [sys.executable, "-m", "parity", *map(str, words)]
    environment = {**os.environ, "COLUMNS": "200", **environment}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), str(ROOT)]))
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_file_that_needs_an_extra_is_found():
    assert failing(["parity/errors.py", "parity/weights/state.py"], ("safetensors",)) == {
        "parity/weights/state.py": "safetensors"
    }


def test_every_file_but_the_doors_is_imported_without_an_extra():
    files = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "parity").rglob("*.py"))]
    assert len(files) > 40
    found = failing([file for file in files if not file.endswith("__main__.py")])
    assert {next((door for door in DOORS if file.startswith(door)), file) for file in found} == DOORS


@pytest.mark.parametrize("framework", ["torch", "paddle"])
def test_a_framework_that_is_absent_is_named_in_one_line(framework, tmp_path):
    absent = f"No module named '{framework}'"
    _ = (tmp_path / f"{framework}.py").write_text(f'raise ModuleNotFoundError("{absent}")\n')
    done = parity("compare", f"{framework}:lenet5", f"{framework}:lenet5", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert absent in line


def test_weights_go_through_every_format_and_come_back_the_same(tmp_path):
    state = hardened_state(slots("lenet5"))
    state.save(tmp_path / "a.safetensors")
    for source, target in (("a.safetensors", "b.pth"), ("b.pth", "c.pdparams"), ("c.pdparams", "d.safetensors")):
        done = parity("transfer", tmp_path / source, tmp_path / target, "--model", "lenet5")
        assert (done.returncode, done.stderr) == (0, "")
    assert State.load(tmp_path / "d.safetensors").differences(state) == []


def test_a_damaged_file_of_weights_is_refused(tmp_path):
    hardened_state(slots("lenet5")).save(tmp_path / "a.safetensors")
    content = bytearray((tmp_path / "a.safetensors").read_bytes())
    content[-1] ^= 1
    _ = (tmp_path / "a.safetensors").write_bytes(content)
    done = parity("transfer", tmp_path / "a.safetensors", tmp_path / "b.pth", "--model", "lenet5")
    assert done.returncode == 2
    assert "damaged" in done.stderr
    assert not (tmp_path / "b.pth").exists()


def recorded(path, framework, slope):
    """Write the trace of a network of one layer, y = slope * x, as a run in some framework would have left it."""
    x = np.linspace(-1, 1, 12).reshape(1, 3, 2, 2)
    writer = TraceWriter(path)
    (given, answer), noise = (writer.add(x), writer.add(slope * x)), Noise(relative=1e-8)
    rest = {"config": {}, "inputs": (given,), "outputs": (answer,), "noise": (noise,), "terms": 1, "replayable": True}
    calls = [
        Call("scale", 0, "Scale", leaf=True, gradients={}, gradient_noise={}, **rest),
        Call("", 0, "Net", leaf=False, gradients={}, gradient_noise={}, **rest),
    ]
    manifest = {"framework": framework, "version": "0", "device": "cpu", "threads": 1, "flags": {}, "network": "net"}
    writer.close({**manifest, "input_sha256": "0", "weights_sha256": "0"}, calls)
    return f"trace:{path}"


def test_two_recorded_runs_are_judged_and_the_layer_that_differs_is_named(tmp_path):
    right, same = recorded(tmp_path / "a", "torch", 2.0), recorded(tmp_path / "b", "paddle", 2.0)
    with Trace(tmp_path / "a") as trace:
        assert [call.layer for call in trace.calls] == ["scale", ""]
    done = parity("compare", right, same)
    assert (done.returncode, done.stderr) == (0, "")
    wrong = recorded(tmp_path / "c", "paddle", 2.0 + 1e-6)
    done = parity("compare", right, wrong)
    assert done.returncode == 1
    assert "first divergence: inside scale" in done.stdout


@pytest.mark.parametrize(
    "words", [["list"], ["pooling", "--size", "28", "--kernel", "3"], ["design-space", "--samples", "3"], ["--help"]]
)
def test_verbs_of_arithmetic_need_no_framework(words):
    done = parity(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("package", ["parity", "torch_cnn", "paddle_cnn"])
def test_type_checkers_are_told_that_the_package_has_types(package):
    """PEP 561: the file must lie in the package; the metadata say "Typing :: Typed"."""
    assert (ROOT / package / "py.typed").read_bytes() == b""
