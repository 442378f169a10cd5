"""`--repro`: the folder is whole or as it was, and its script shows the difference with one framework and numpy."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import paddle
import pytest
import torch
from program import SMALL, TORCH
from program import run as program

from parity import ParityError, compare
from parity.repro.folder import check_repro, with_repro

SHAPE = (1, 3, 8, 8)
ALONE = """
import runpy, sys
for name in ("parity", "torch_cnn", "paddle_cnn", {other!r}):
    sys.modules[name] = None
sys.argv = [{script!r}]
runpy.run_path({script!r}, run_name="__main__")
"""


def alone(folder, other):
    """Run the script with nothing of ours, nor of the other framework; return its exit code and its output."""
    code = ALONE.format(other=other, script=str(folder / "repro.py"))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd="/", env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def lines(folder):
    return (folder / "repro.py").read_text().splitlines()


def torch_net(eps=1e-5):
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4, eps=eps), torch.nn.ReLU()).eval()


def paddle_net(eps=1e-5):
    made = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4, epsilon=eps), paddle.nn.ReLU())
    made.eval()
    return made


@pytest.mark.parametrize("kind", ["other", "mixed", "inner", "forged", "file", "link", "orphan"])
def test_what_is_not_ours_is_refused_before_the_work_and_stays(kind, tmp_path):
    folder = tmp_path / "repro"
    if kind == "file":
        folder.write_text("mine")
    elif kind == "link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    elif kind == "orphan":
        folder = tmp_path / "no" / "such" / "repro"
    else:
        folder.mkdir()
        names = {
            "other": ["mine.txt"],
            "mixed": ["repro.py", "mine.txt"],
            "inner": ["input0.npy"],
            "forged": ["repro.py"],
        }
        for name in names[kind]:
            (folder / name).write_text("mine" if kind != "mixed" else "# Written by `parity compare --repro`: x")
    before = sorted(tmp_path.rglob("*"))
    calls = []
    with pytest.raises(ParityError, match=r"^--repro "):
        compare(lambda: calls.append(1), torch_net, SHAPE, repro=folder)
    assert not calls
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_of_ours_is_replaced_whole(tmp_path):
    folder = tmp_path / "repro"
    _ = compare(torch_net(), torch_net(1e-3), SHAPE, repro=folder)
    assert sorted(path.name for path in folder.iterdir()) == ["expected0.npy", "input0.npy", "repro.py", "weights.npz"]
    check_repro(folder)
    _ = torch.manual_seed(0)  # some weights give nothing above 6
    other = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU6()).eval()
    right = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
    result = compare(right, other, 20 * np.ones(SHAPE, np.float32) * np.arange(8), repro=str(folder))
    assert result.culprits[0].layer == "1"
    assert sorted(path.name for path in folder.iterdir()) == ["expected0.npy", "input0.npy", "repro.py"]
    assert [path.name for path in tmp_path.iterdir()] == ["repro"]


def test_a_folder_that_cannot_be_written_stays_as_it_was(tmp_path, monkeypatch):
    folder = tmp_path / "repro"
    _ = compare(torch_net(), torch_net(1e-3), SHAPE, repro=folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*given, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(ParityError, match=r"^--repro .*: cannot write: No space left on device$"):
        compare(torch_net(), torch_net(1e-2), SHAPE, repro=folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["repro"]


def test_a_pass_writes_nothing(tmp_path):
    result = compare(torch_net(), torch_net(), SHAPE, repro=tmp_path / "repro")
    assert result.ok
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("made, other", [(torch_net, "paddle"), (paddle_net, "torch")], ids=["torch", "paddle"])
def test_the_script_shows_the_difference_with_one_framework_alone(made, other, tmp_path):
    framework = made.__name__.partition("_")[0]
    reference = torch_net() if made is paddle_net else paddle_net()
    result = compare(reference, made(1e-3), SHAPE, repro=tmp_path / "repro")
    assert result.notes[-1] == f"{tmp_path}/repro/repro.py shows it with {framework} alone"
    status, shown, errors = alone(tmp_path / "repro", other)
    assert (status, errors) == (1, "") if framework == "torch" else status == 1
    assert "output 0: largest difference 0.001" in shown
    assert len(lines(tmp_path / "repro")) <= 30
    assert "eps differs" in lines(tmp_path / "repro")[0]


def test_the_script_passes_where_the_layer_is_mended(tmp_path):
    _ = compare(torch_net(), torch_net(1e-3), SHAPE, repro=tmp_path / "repro")
    script = tmp_path / "repro" / "repro.py"
    _ = script.write_text(script.read_text().replace("eps=0.001", "eps=1e-05"))
    assert alone(tmp_path / "repro", "paddle")[0] == 0


def test_a_function_is_reproduced(tmp_path):
    class Net(torch.nn.Module):
        def __init__(self, slope):
            super().__init__()
            self.slope = slope

        def forward(self, x):
            return torch.nn.functional.leaky_relu(x, self.slope)

    result = compare(Net(0.1), Net(0.2), np.linspace(-1, 1, 192, dtype=np.float32).reshape(SHAPE), repro=tmp_path / "r")
    assert result.culprits[0].layer == "leaky_relu()"
    status, _, errors = alone(tmp_path / "r", "paddle")
    assert (status, errors) == (1, "")
    assert "torch.nn.functional.leaky_relu(*x, negative_slope=0.2)" in "\n".join(lines(tmp_path / "r"))
    assert not (tmp_path / "r" / "weights.npz").exists()


OWN = """
from {framework} import nn

class Scale(nn.{base}):
    def __init__(self, by):
        super().__init__()
        self.inner = nn.{conv}(3, 3, 1)
        self.by = by

    def forward(self, x):
        return {{"out": self.inner(x) * self.by}}

class Net(nn.{base}):
    def __init__(self, by=2):
        super().__init__()
        self.scale = Scale(by)

    def forward(self, x):
        return self.scale(x)["out"]
"""


def own(folder, framework):
    words = {"torch": ("Module", "Conv2d"), "paddle": ("Layer", "Conv2D")}[framework]
    (folder / "made.py").write_text(OWN.format(framework=framework, base=words[0], conv=words[1]))
    return f"{framework}:{folder}/made.py:Net"


@pytest.mark.parametrize("framework, other", [("torch", "paddle"), ("paddle", "torch")])
def test_a_layer_of_the_users_own_is_taken_out_of_the_network_that_the_spec_builds(framework, other, tmp_path):
    """The culprit is the forward code of a layer, whose class no table knows."""
    spec = own(tmp_path, framework)
    path = tmp_path / "made.py"
    text = path.read_text()
    (tmp_path / "right.py").write_text(text.replace("self.by}", "self.by + 1.0}"))
    done = program(
        "compare", f"{framework}:{tmp_path}/right.py:Net", f"{spec}(by=2)", "--input", "1,3,8,8",
        "--repro", tmp_path / "repro",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert f"note: {tmp_path}/repro/repro.py shows it with {framework} alone" in done.stdout
    script = "\n".join(lines(tmp_path / "repro"))
    assert "importlib.import_module('made').Net(by=2)" in script
    assert len(script.splitlines()) <= 30
    status, shown, _ = alone(tmp_path / "repro", other)
    assert status == 1
    assert "largest difference" in shown
    _ = path.write_text(text.replace("self.by}", "self.by + 1.0}"))  # mended
    assert alone(tmp_path / "repro", other)[0] == 0


def test_a_live_layer_of_the_users_own_is_named_with_its_file(tmp_path, monkeypatch):
    _ = own(tmp_path, "torch")
    (tmp_path / "made.py").rename(tmp_path / "made_live.py")
    monkeypatch.syspath_prepend(tmp_path)
    import made_live as made  # pyright: ignore[reportMissingImports]

    class Off(made.Scale):
        def forward(self, x):
            return {"out": super().forward(x)["out"] + 1.0}

    reference = made.Net()
    reference.scale = Off(2)
    result = compare(reference, made.Net(), SHAPE, repro=tmp_path / "repro")
    assert result.notes[-1].endswith("shows it with torch alone") or "nothing written" in result.notes[-1]
    script = "\n".join(lines(tmp_path / "repro"))
    assert f"# {tmp_path}/made_live.py:Scale is a class of your own: give it the arguments" in script
    status, _, errors = alone(tmp_path / "repro", "paddle")
    assert status == 1
    assert "missing 1 required positional argument: 'by'" in errors  # it says what it cannot know
    _ = (tmp_path / "repro" / "repro.py").write_text(script.replace(".Scale()", ".Scale(2)") + "\n")
    status, shown, errors = alone(tmp_path / "repro", "paddle")
    assert (status, errors) == (1, "")
    assert "largest difference" in shown


def test_what_cannot_be_reproduced_says_why(tmp_path):
    class Net(torch.nn.Module):
        def __init__(self, stride):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(4, 3, 1, 1))
            self.stride = stride

        def forward(self, x):
            return torch.nn.functional.conv2d(x, self.weight, padding=self.stride)[..., :8, :8]

    result = compare(Net(0), Net(1), SHAPE, repro=tmp_path / "repro")
    assert not result.ok
    assert "--repro: nothing written: " in result.notes[-1]
    assert list(tmp_path.iterdir()) == []


def test_names_and_reasons_stay_in_the_comment(tmp_path):
    def net(mode):
        made = torch.nn.Sequential()
        made.add_module("x\nimport os; os_exit(3) #\"'''\x1b", torch.nn.Conv2d(3, 4, 3, padding=1, padding_mode=mode))
        return made.eval()

    _ = compare(net("zeros"), net("circular"), SHAPE, repro=tmp_path / "repro")
    status, _, errors = alone(tmp_path / "repro", "paddle")
    assert (status, errors) == (1, "")
    assert len(lines(tmp_path / "repro")) <= 30


def test_a_recorded_trace_has_no_weights_to_write(tmp_path):
    saved = program("compare", f"{TORCH}:net", f"{TORCH}:net(1e-3)", *SMALL, "--save-trace", tmp_path / "runs")
    assert saved.returncode == 1, saved.stderr
    trace = f"trace:{tmp_path}/runs/net.candidate.trace.safetensors"
    done = program("compare", f"{TORCH}:net", trace, *SMALL, "--repro", tmp_path / "r")
    assert done.returncode == 1, done.stderr
    assert "note: --repro: nothing written: the candidate is a recorded trace, which holds no weights" in done.stdout
    assert not (tmp_path / "r").exists()


def test_an_onnx_file_is_no_framework_to_report_to(tmp_path):
    result = replace(compare(torch_net(), torch_net(1e-3), SHAPE), candidate={"framework": "onnx"})
    told = with_repro(result, None, None, None, tmp_path / "r")
    assert told.notes[-1] == (
        "--repro: nothing written: the candidate is no network of torch or Paddle; give such a network second"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_option_is_for_one_network(tmp_path):
    done = program("compare", "--all", "--repro", tmp_path / "r")
    assert done.returncode == 2
    assert "--all --repro" in done.stderr
