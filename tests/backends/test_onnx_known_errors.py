"""Layers whose constants a file keeps as float32: the right file passes, an eps off by a tenth behind them does not."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from parity import Trace
from parity.backends import onnx_backend, torch_backend
from parity.judging.judge import judge
from parity.numerics.fixed_random import projection
from parity.tracing.record import record

IMAGE = projection((2, 8, 10, 10)).astype(np.float32)


def deep(activation, depth, eps):
    torch.manual_seed(0)
    layers = [layer for _ in range(depth) for layer in (nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), activation())]
    return nn.Sequential(*layers, nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8, eps=eps)).eval()


@pytest.mark.parametrize("depth", [1, 12])
@pytest.mark.parametrize("activation", [nn.Hardsigmoid, nn.Hardswish, nn.SELU])
def test_an_eps_off_by_a_tenth_is_found_in_a_file_behind_them(tmp_path, activation, depth):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            deep(activation, depth, 1e-5), (torch.from_numpy(IMAGE),), tmp_path / "net.onnx", dynamo=True,
            opset_version=18, optimize=False, external_data=False, verbose=False,
        )  # fmt: skip
    onnx_backend.record(onnx_backend.load(tmp_path / "net.onnx"), [IMAGE], tmp_path / "file")
    for eps, verdicts in ((1e-5, ("exact", "rounding")), (1.1e-5, ("different",))):
        record(torch_backend, deep(activation, depth, eps), [IMAGE], tmp_path / "torch")
        with Trace(tmp_path / "torch") as reference, Trace(tmp_path / "file") as candidate:
            result = judge("deep", reference, candidate)
        assert result.verdict in verdicts, str(result)
    assert (result.first_divergence.layer, result.first_divergence.where) == (str(3 * depth + 1), "inside")


class Mean(nn.Module):
    """A mean that is a function: the network has no call for it, its file has a node."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(8, 8, 3), nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).mean((2, 3)))


def test_a_mean_that_the_network_computes_by_a_function_is_in_the_bound(tmp_path):
    torch.manual_seed(0)
    network, image = Mean().eval(), np.abs(projection((1, 8, 224, 224))).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (torch.from_numpy(image),), tmp_path / "net.onnx", dynamo=True, opset_version=18,
            external_data=False, verbose=False,
        )  # fmt: skip
    onnx_backend.record(onnx_backend.load(tmp_path / "net.onnx"), [image], tmp_path / "file")
    record(torch_backend, network, [image], tmp_path / "torch")
    with Trace(tmp_path / "torch") as reference, Trace(tmp_path / "file") as candidate:
        result = judge("mean", reference, candidate)
        assert result.ok, str(result)
        last = next(layer for layer in result.layers if layer.layer == "fc")
        assert last.bound > 222 * 222  # a mean adds as many terms as a map has, and all may round one way
