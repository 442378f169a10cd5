"""What GPU users have: Paddle's GPU build of another version in a venv of its own, and GPUs themselves."""

import json
import os
import subprocess
import sys

import pytest


@pytest.mark.stack
def test_resnet50_passes_with_paddle_26_in_its_own_venv(tmp_path):
    """`make test-gpu-stack` builds the venv and names its interpreter; the Paddle side serves 2.6 and 3.3 alike."""
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "parity", "compare", "resnet50", "--gradients", "--json", str(report)]
    done = subprocess.run([*command, "--paddle-python", os.environ["PADDLE_PYTHON"]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())
    assert found["candidate"]["version"].startswith("2.6")
    assert found["verdict"] == "rounding"


@pytest.mark.gpu
def test_resnet50_passes_on_a_gpu_with_tf32_off(tmp_path):
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "parity", "compare", "resnet50", "--device", "gpu", "--json", str(report)]
    for name in ("torch", "paddle"):
        if python := os.environ.get(f"{name.upper()}_PYTHON"):
            command += [f"--{name}-python", python]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())
    assert [found[backend]["tf32"] for backend in ("reference", "candidate")] == [False, False]
    assert {found[backend]["device"] for backend in ("reference", "candidate")} == {"cuda", "gpu"}


def test_a_gpu_that_was_asked_for_and_is_not_there_is_an_error_not_a_skip():
    """Of pytest itself. On a machine with GPUs this shows the suite collecting."""
    import paddle
    import torch

    here = torch.cuda.is_available() and paddle.device.is_compiled_with_cuda()
    command = [sys.executable, "-m", "pytest", "--device", "gpu", "--collect-only", "-q", __file__]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == here
    assert here or "--device gpu: torch" in done.stderr + done.stdout


@pytest.mark.stack
def test_onnxruntime_gpu_runs_in_its_own_venv_and_is_never_the_cpu_under_a_gpus_name(tmp_path):
    """On a machine without a GPU: it imports and runs on the CPU, and what it falls back from is exit 2."""
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
        example = (torch.zeros(1, 3, 8, 8),)
        torch.onnx.export(net, example, tmp_path / "net.onnx", dynamo=True, external_data=False, verbose=False)
    model = f"onnx:{tmp_path}/net.onnx"
    command = [sys.executable, "-m", "parity", "compare", model, model, "--onnx-python", os.environ["ONNX_PYTHON"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if torch.cuda.is_available():
        return
    for device in ("cuda", "tensorrt"):
        done = subprocess.run([*command, "--device", device], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert "fell back to CPUExecutionProvider" in done.stderr
