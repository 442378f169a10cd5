"""float64 agrees and float32 does not: which side is noisier than arithmetic explains, and what is no such thing."""

import numpy as np
import paddle
import pytest
import torch
from pairs import IMAGE, small

from parity import Trace, compare
from parity.backends import paddle_backend, torch_backend
from parity.judging.judge import judge
from parity.tracing.record import record


@pytest.fixture
def pair(device):
    return small(device)


def test_float32_that_is_less_than_float32(pair, monkeypatch):
    """TF32 keeps 10 bits of a product's factors. Float64 still agrees: the function is right, the kernel is not."""
    ours, theirs = pair
    forward = torch.nn.Conv2d._conv_forward

    def tf32(layer, x, weight, bias):
        if x.dtype == torch.float32:
            mantissa = -(1 << 13)
            x = (x.view(torch.int32) & mantissa).view(torch.float32)
        return forward(layer, x, weight, bias)

    monkeypatch.setattr(torch.nn.Conv2d, "_conv_forward", tf32)
    result = compare(ours, theirs, IMAGE)
    assert result.verdict == "precision"
    assert result.first_divergence.layer == "0.conv"
    assert result.culprits[0].layer == "0.conv"
    assert "the reference computes in less than float32" in result.culprits[0].explanation


def test_a_plain_picture_is_no_lack_of_precision(device):
    """Summing equal numbers rounds the same way each time: pooling over a large map is noisy on a right kernel."""
    flat = np.full((1, 3, 222, 222), 0.7568, np.float32)
    pair = torch.nn.AdaptiveAvgPool2d(1), paddle.nn.AdaptiveAvgPool2D(1)
    result = compare(*pair, flat)
    assert result.verdict == "rounding"
    assert max(result.layers[0].noise) > 2191  # what sqrt(n) would have explained


def test_half_precision_is_told_from_float32(pair):
    ours, theirs = pair
    result = compare(ours.bfloat16(), theirs, IMAGE, transfer=False)
    assert not result.ok


def test_a_gpu_result_with_tf32_on_is_never_rounding(tmp_path, pair):
    for backend, net, path, flags in (
        (torch_backend, pair[0], tmp_path / "a", {}),
        (paddle_backend, pair[1], tmp_path / "b", {"tf32": True}),
    ):
        record(backend, net, [IMAGE], path, manifest=flags)
    result = judge("tf32", Trace(tmp_path / "a"), Trace(tmp_path / "b"))
    assert result.verdict == "precision"
    assert result.notes == ("TF32 was on: paddle",)
