"""Paddle layers that do what torch's do: pooling under ceil mode, BatchNorm's running variance; in ONNX too."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
import torch

from paddle_cnn.batch_norm import TorchBatchNorm2D
from paddle_cnn.pooling import TorchCeilAvgPool2D, TorchCeilMaxPool2D
from parity import compare
from parity.numerics.pooling import Pool, differs

ROOT = Path(__file__).parents[2]
PAIRS = {
    "max": (torch.nn.MaxPool2d, TorchCeilMaxPool2D, {}, {}),
    "avg": (torch.nn.AvgPool2d, TorchCeilAvgPool2D, {}, {}),
    "avg exclusive": (torch.nn.AvgPool2d, TorchCeilAvgPool2D, {"count_include_pad": False}, {"exclusive": True}),
}


def pools(kind, *window):
    theirs, ours, spelt, ours_spelt = PAIRS[kind]
    return theirs(*window, ceil_mode=True, **spelt), ours(*window, **ours_spelt)


def both(torch_layer, paddle_layer, array):
    """Return each side's output and input gradient, float64; None where it refuses."""
    x, y = torch.tensor(array, requires_grad=True), paddle.to_tensor(array, stop_gradient=False)
    found = []
    for layer, tensor, refusal in ((torch_layer, x, RuntimeError), (paddle_layer, y, ValueError)):
        try:
            output = layer(tensor)
        except refusal:
            found.append(None)
            continue
        (output * output).sum().backward()
        found.append((output.detach().numpy(), tensor.grad.numpy()))
    return found


@pytest.mark.parametrize("layer", [TorchCeilMaxPool2D, TorchCeilAvgPool2D])
def test_what_torch_refuses_is_refused(layer):
    with pytest.raises(ValueError, match="padding 2 is more than half the kernel 3"):
        layer(3, 1, 2)
    with pytest.raises(ValueError, match="no window of 5 x 5 fits an input of 3 x 9"):
        layer(5, 1)(paddle.zeros([1, 1, 3, 9]))


def test_one_element_a_channel_has_no_variance():
    with pytest.raises(ValueError, match="more than one element"):
        TorchBatchNorm2D(2)(paddle.zeros([1, 2, 1, 1]))
    with pytest.raises(ValueError, match="more than 1 value"):
        torch.nn.BatchNorm2d(2)(torch.zeros(1, 2, 1, 1))


@pytest.mark.parametrize("kind", PAIRS)
def test_pooling_and_its_gradient_are_torchs(kind):
    """Unequal axes, refusals included, and cells at which Paddle's own layer parts from torch's."""
    number, source = random.Random(3).randint, np.random.default_rng(3)
    refused = parted = 0
    for _ in range(300):
        kernel, stride = (number(1, 5), number(1, 5)), (number(1, 5), number(1, 5))
        padding = tuple(number(0, k // 2) for k in kernel)
        shape = number(1, 12), number(1, 12)
        theirs, ours = both(*pools(kind, kernel, stride, padding), source.standard_normal((2, 3, *shape)))
        refused += theirs is None
        assert (theirs is None) == (ours is None)
        if theirs is None:
            continue
        axes = Pool(kernel, stride, padding, ceil_mode=True).axes
        parted += any(differs(size, axis) is not None for size, axis in zip(shape, axes, strict=True))
        for real, right in zip(ours, theirs, strict=True):
            assert real.shape == right.shape
            np.testing.assert_allclose(real, right, rtol=0, atol=1e-6 if "avg" in kind else 0)
    assert refused > 5
    assert parted > 50


def norms():
    theirs = torch.nn.BatchNorm2d(3, momentum=0.2).double()
    ours = TorchBatchNorm2D(3, momentum=0.8).to(dtype="float64")
    scale, shift = np.array([0.5, 1.0, -2.0]), np.array([0.1, 0.0, 3.0])
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(scale))
        theirs.bias.copy_(torch.tensor(shift))
    ours.weight.set_value(scale)
    ours.bias.set_value(shift)
    return theirs, ours


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (4, 3, 2, 1), (2, 3, 7, 5)])
def test_running_statistics_after_several_steps_are_torchs(shape):
    """In training: output, gradients, statistics; then evaluation. Paddle's own variance is held to be wrong here."""
    (theirs, ours), source = norms(), np.random.default_rng(0)
    plain = paddle.nn.BatchNorm2D(3, momentum=0.8).to(dtype="float64")
    for array in source.standard_normal((6, *shape)) * 3 + 1:
        for pair in zip(*both(theirs, ours, array), strict=True):
            np.testing.assert_allclose(*pair, rtol=0, atol=2e-5)  # at two elements, 1e-5 of eps as float32 shows
        plain(paddle.to_tensor(array))
    np.testing.assert_allclose(ours._mean.numpy(), theirs.running_mean.numpy(), rtol=0, atol=1e-7)
    np.testing.assert_allclose(ours._variance.numpy(), theirs.running_var.numpy(), rtol=1e-7)
    assert abs(plain._variance.numpy() / theirs.running_var.numpy() - 1).max() > 1 / (
        2 * shape[0] * shape[2] * shape[3]
    )
    for name in ("weight", "bias"):
        np.testing.assert_allclose(getattr(ours, name).grad.numpy(), getattr(theirs, name).grad.numpy(), atol=1e-5)
    theirs.eval()
    ours.eval()
    kept = ours._variance.numpy().copy()
    array = source.standard_normal(shape) * 3 + 1
    for pair in zip(*both(theirs, ours, array), strict=True):
        np.testing.assert_allclose(*pair, rtol=1e-6, atol=1e-6)
    assert np.array_equal(ours._variance.numpy(), kept)


def test_two_batches_before_one_backward():
    """What backward needs of the first is not touched by the second."""
    theirs, ours = norms()
    arrays = np.random.default_rng(2).standard_normal((2, 4, 3, 2, 2))
    x, y = (make(arrays[0]) for make in (torch.tensor, paddle.to_tensor))
    x.requires_grad, y.stop_gradient = True, False
    for layer, tensor, make in ((theirs, x, torch.tensor), (ours, y, paddle.to_tensor)):
        ((layer(tensor) ** 2).sum() + layer(make(arrays[1])).sum()).backward()
    np.testing.assert_allclose(y.grad.numpy(), x.grad.numpy(), rtol=0, atol=1e-5)


def test_an_empty_batch_moves_nothing():
    ours = TorchBatchNorm2D(3)
    ours(paddle.zeros([0, 3, 2, 2]))
    assert ours._variance.numpy().tolist() == [1.0] * 3


def test_a_network_of_them_is_torchs_layer_by_layer():
    theirs, ours = (
        nn.Sequential(conv(3, 4, 3), norm(4), pool(2, 2, 1, **ceil), nn.ReLU(), average(3, 3, 1, **ceil))
        for nn, conv, norm, pool, average, ceil in (
            (
                torch.nn,
                torch.nn.Conv2d,
                torch.nn.BatchNorm2d,
                torch.nn.MaxPool2d,
                torch.nn.AvgPool2d,
                {"ceil_mode": True},
            ),
            (paddle.nn, paddle.nn.Conv2D, TorchBatchNorm2D, TorchCeilMaxPool2D, TorchCeilAvgPool2D, {}),
        )
    )
    image = np.random.default_rng(1).standard_normal((2, 3, 19, 15)).astype(np.float32)
    result = compare(theirs, ours, image)
    assert result.ok, str(result)
    assert not result.unmatched["reference"]


EXPORT = """
import json, sys
from pathlib import Path
import numpy as np, onnx, onnxruntime, paddle, paddle2onnx
from paddle.static import InputSpec
from paddle_cnn.batch_norm import TorchBatchNorm2D
from paddle_cnn.pooling import TorchCeilAvgPool2D, TorchCeilMaxPool2D

folder = Path(sys.argv[1])
layers = {
    "max": TorchCeilMaxPool2D(2, 2, 1), "avg": TorchCeilAvgPool2D((3, 1), (3, 2), (1, 0)),
    "avg exclusive": TorchCeilAvgPool2D(3, 5, 1, exclusive=True), "norm": TorchBatchNorm2D(3),
}
for seed in range(3):
    _ = layers["norm"](paddle.to_tensor(np.random.default_rng(seed).standard_normal((2, 3, 4, 1)).astype("float32")))
sizes = [(1, 7, 8), (2, 10, 13), (1, 13, 4), (3, 28, 9)]
for name, layer in layers.items():
    layer.eval()
    for shape in [(1, 3, 7, 8), (None, 3, None, None)]:
        path = str(folder / f"{name}{shape[0]}")
        paddle.jit.save(layer, path, input_spec=[InputSpec(list(shape), "float32", "x")])
        paddle2onnx.export(path + ".json", path + ".pdiparams", path + ".onnx", opset_version=17, optimize_tool="None")
        onnx.checker.check_model(path + ".onnx", full_check=True)
        session = onnxruntime.InferenceSession(path + ".onnx")
        for n, h, w in sizes[:1] if shape[0] else sizes:
            x = np.random.default_rng(h).standard_normal((n, 3, h, w)).astype("float32")
            arrays = {"x": x, "onnx": session.run(None, {"x": x})[0], "paddle": layer(paddle.to_tensor(x)).numpy()}
            np.savez(folder / f"{name},{shape[0]},{h}.npz", **arrays)
np.savez(folder / "statistics.npz", mean=layers["norm"]._mean.numpy(), variance=layers["norm"]._variance.numpy())
"""


def test_exported_they_are_torchs_in_onnx_runtime(tmp_path):
    """With fixed and with dynamic sizes. In a process of its own: paddle2onnx ends the one it is in when it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GLOG_minloglevel": "3"}
    done = subprocess.run([sys.executable, "-c", EXPORT, tmp_path], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    statistics = np.load(tmp_path / "statistics.npz")
    norm = torch.nn.BatchNorm2d(3).eval()
    norm.running_mean[:], norm.running_var[:] = (torch.tensor(statistics[name]) for name in ("mean", "variance"))
    layers = {
        "max": pools("max", 2, 2, 1)[0],
        "avg": pools("avg", (3, 1), (3, 2), (1, 0))[0],
        "avg exclusive": pools("avg exclusive", 3, 5, 1)[0],
        "norm": norm,
    }
    files = list(tmp_path.glob("*,*.npz"))
    assert len(files) == len(layers) * 5
    for file in files:
        found = np.load(file)
        right = layers[file.name.split(",")[0]](torch.tensor(found["x"])).detach().numpy()
        assert found["onnx"].shape == found["paddle"].shape == right.shape, file.name
        np.testing.assert_allclose(found["onnx"], right, rtol=0, atol=2e-6, err_msg=file.name)
        np.testing.assert_allclose(found["paddle"], right, rtol=0, atol=2e-6, err_msg=file.name)


OLD = """
import json, random
import numpy as np, paddle
from paddle_cnn.batch_norm import TorchBatchNorm2D
from paddle_cnn.pooling import TorchCeilAvgPool2D, TorchCeilMaxPool2D
from parity.errors import ParityError
from parity.numerics.pooling import Pool, pool

number, source, wrong = random.Random(5).randint, np.random.default_rng(5), []
for _ in range(100):
    kernel, stride = (number(1, 5), number(1, 5)), (number(1, 5), number(1, 5))
    padding = tuple(number(0, k // 2) for k in kernel)
    x = source.standard_normal((1, 2, number(1, 12), number(1, 12))).astype(np.float32)
    for kind, layer, counts in (
        ("max", TorchCeilMaxPool2D(kernel, stride, padding), False),
        ("avg", TorchCeilAvgPool2D(kernel, stride, padding), True),
        ("avg", TorchCeilAvgPool2D(kernel, stride, padding, exclusive=True), False),
    ):
        window = Pool(kernel, stride, padding, ceil_mode=True, include_pad=counts)
        try:
            right = pool(x, window, kind, "torch")
        except ParityError:
            right = None
        try:
            real = layer(paddle.to_tensor(x)).numpy()
        except ValueError:
            real = None
        if (real is None) != (right is None):
            wrong.append(str(window))
        elif real is not None and (real.shape != right.shape or not np.allclose(real, right, rtol=0, atol=2e-6)):
            wrong.append(str(window))
norm, variance = TorchBatchNorm2D(2), np.ones(2)
for _ in range(5):
    x = source.standard_normal((2, 2, 1, 2)).astype(np.float32)
    norm(paddle.to_tensor(x))
    variance = 0.9 * variance + 0.1 * x.astype(np.float64).var((0, 2, 3), ddof=1)
print(json.dumps([paddle.__version__, wrong, float(abs(norm._variance.numpy() - variance).max())]))
"""


@pytest.mark.stack
def test_they_are_torchs_in_paddle_26():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [os.environ["PADDLE_PYTHON"], "-c", OLD]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    version, wrong, gap = json.loads(done.stdout.splitlines()[-1])
    assert version.startswith("2.6")
    assert wrong == []
    assert gap < 1e-6
