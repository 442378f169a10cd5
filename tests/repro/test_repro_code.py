"""What a script builds is what the network has: every known kind and function, run by the framework alone."""

import dataclasses

import numpy as np
import paddle
import pytest
import torch

from parity.backends import paddle_backend, torch_backend
from parity.backends.origin import origin
from parity.judging.comparison import Culprit
from parity.judging.judge import judge
from parity.numerics.fixed_random import projection
from parity.repro.folder import with_repro
from parity.tracing.record import record
from parity.tracing.trace import Trace
from parity.weights.hardened import hardened_state

IMAGE = projection((2, 4, 9, 8)).astype(np.float32)
ROWS = projection((2, 5, 8)).astype(np.float32)
VOLUME = projection((1, 4, 5, 6, 5)).astype(np.float32)
tnn, pnn = torch.nn, paddle.nn
tf, pf = torch.nn.functional, paddle.nn.functional


def planted(backend, network, inputs, folder, name, verdict="different"):
    """Reproduce a call of a right network as if it were the culprit; return the script's folder."""
    network.eval()
    backend.set_state(network, hardened_state(backend.slots(network)))
    inputs = inputs if isinstance(inputs, list) else [inputs]
    record(backend, network, inputs, folder / "trace")
    with Trace(folder / "trace") as trace:
        right = judge("net", trace, trace)
        assert right.ok
        layers = tuple(
            dataclasses.replace(row, verdict=verdict, distance=1.0, partner=row.layer) if row.layer == name else row
            for row in right.layers
        )
        wrong = dataclasses.replace(right, verdict=verdict, layers=layers, culprits=(Culprit(name, "planted"),))
        find = lambda layer, path: origin(backend, network, layer, path, None)
        result = with_repro(wrong, trace, trace, find, folder / "repro")
    return result.notes[-1]


def run(folder):
    """Run a script here, where its framework is loaded already, and return its source, its exit code and its gap."""
    source = (folder / "repro.py").read_text()
    space = {"__file__": str(folder / "repro.py"), "__name__": "__main__"}
    try:
        with pytest.raises(SystemExit) as ended:
            exec(compile(source, "repro.py", "exec"), space)
    finally:
        torch.set_default_dtype(torch.float32)
        paddle.set_default_dtype("float32")
    return source, int(ended.value.code), space["worst"]


def reproduces(backend, network, inputs, tmp_path, name, limit=1e-8):
    note = planted(backend, network, inputs, tmp_path, name)
    assert note.endswith(f"shows it with {backend.NAME} alone"), note
    source, status, worst = run(tmp_path / "repro")
    assert len(source.splitlines()) <= 30
    assert "parity" not in source.partition("\n")[2]
    assert status == 0
    assert worst <= limit
    return source


TORCH_LAYERS = [
    (lambda: tnn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, bias=False), IMAGE),
    (lambda: tnn.Conv2d(4, 6, (3, 1), padding=(2, 0), padding_mode="circular"), IMAGE),
    (lambda: tnn.Conv2d(4, 6, 3, padding="same"), IMAGE),
    (lambda: tnn.Conv1d(5, 6, 3, padding=1), ROWS),
    (lambda: tnn.Conv3d(4, 2, 3), VOLUME),
    (lambda: tnn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), IMAGE),
    (lambda: tnn.Linear(8, 3), IMAGE),
    (lambda: tnn.Linear(8, 3, bias=False), IMAGE),
    (lambda: tnn.BatchNorm2d(4, eps=1e-3, momentum=0.3), IMAGE),
    (lambda: tnn.BatchNorm2d(4, affine=False), IMAGE),
    (lambda: tnn.BatchNorm2d(4, track_running_stats=False), IMAGE),
    (lambda: tnn.BatchNorm1d(5), ROWS),
    (lambda: tnn.InstanceNorm2d(4, affine=True, eps=1e-3), IMAGE),
    (lambda: tnn.InstanceNorm2d(4), IMAGE),
    (lambda: tnn.GroupNorm(2, 4, eps=1e-3), IMAGE),
    (lambda: tnn.LayerNorm(8, eps=1e-3), IMAGE),
    (lambda: tnn.LayerNorm((9, 8), elementwise_affine=False), IMAGE),
    (lambda: tnn.RMSNorm(8, eps=1e-3), IMAGE),
    (lambda: tnn.LocalResponseNorm(3, alpha=0.1, beta=0.5, k=2.0), IMAGE),
    (lambda: tnn.MaxPool2d(3, stride=2, padding=1, dilation=2, ceil_mode=True), IMAGE),
    (lambda: tnn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), IMAGE),
    (lambda: tnn.AvgPool2d(3, divisor_override=5), IMAGE),
    (lambda: tnn.AdaptiveAvgPool2d((None, 3)), IMAGE),
    (lambda: tnn.AdaptiveMaxPool2d(2), IMAGE),
    (lambda: tnn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), IMAGE),
    (lambda: tnn.Upsample(size=(5, 7)), IMAGE),
    (lambda: tnn.UpsamplingBilinear2d(scale_factor=2), IMAGE),
    (lambda: tnn.Hardsigmoid(), IMAGE),
    (lambda: tnn.Hardtanh(-0.5, 0.25), IMAGE),
    (lambda: tnn.LeakyReLU(0.3), IMAGE),
    (lambda: tnn.ELU(0.5), IMAGE),
    (lambda: tnn.PReLU(4), IMAGE),
    (lambda: tnn.Softplus(2.0, 3.0), IMAGE),
    (lambda: tnn.Softshrink(0.1), IMAGE),
    (lambda: tnn.GELU(approximate="tanh"), IMAGE),
    (lambda: tnn.Softmax(1), IMAGE),
    (lambda: tnn.GLU(1), IMAGE),
    (lambda: tnn.Dropout(0.3), IMAGE),
    (lambda: tnn.ConstantPad2d((1, 2, 0, 1), -0.5), IMAGE),
    (lambda: tnn.ReflectionPad2d(1), IMAGE),
    (lambda: tnn.Flatten(), IMAGE),
    (lambda: tnn.PixelShuffle(2), IMAGE),
    (lambda: tnn.SiLU(), IMAGE),
]
PADDLE_LAYERS = [
    (lambda: pnn.Conv2D(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, bias_attr=False), IMAGE),
    (lambda: pnn.Conv2D(4, 6, 3, padding=1, padding_mode="circular"), IMAGE),
    (lambda: pnn.Conv2D(4, 6, 3, padding="SAME"), IMAGE),
    (lambda: pnn.Conv1D(5, 6, 3, padding=1), ROWS),
    (lambda: pnn.Conv3D(4, 2, 3), VOLUME),
    (lambda: pnn.Conv2DTranspose(4, 6, 3, stride=2, padding=1, output_padding=1), IMAGE),
    (lambda: pnn.Linear(8, 3), IMAGE),
    (lambda: pnn.Linear(8, 3, bias_attr=False), IMAGE),
    (lambda: pnn.BatchNorm2D(4, epsilon=1e-3, momentum=0.7), IMAGE),
    (lambda: pnn.BatchNorm2D(4, weight_attr=False, bias_attr=False), IMAGE),
    (lambda: pnn.BatchNorm2D(4, use_global_stats=False), IMAGE),
    (lambda: pnn.BatchNorm1D(5), ROWS),
    (lambda: pnn.InstanceNorm2D(4, epsilon=1e-3), IMAGE),
    (lambda: pnn.InstanceNorm2D(4, weight_attr=False, bias_attr=False), IMAGE),
    (lambda: pnn.GroupNorm(2, 4, epsilon=1e-3), IMAGE),
    (lambda: pnn.LayerNorm(8, epsilon=1e-3), IMAGE),
    (lambda: pnn.LocalResponseNorm(3, alpha=0.1, beta=0.5, k=2.0), IMAGE),
    (lambda: pnn.MaxPool2D(3, stride=2, padding=1, ceil_mode=True), IMAGE),
    (lambda: pnn.AvgPool2D(3, stride=2, padding=1, exclusive=False), IMAGE),
    (lambda: pnn.AvgPool2D(3, divisor_override=5), IMAGE),
    (lambda: pnn.AdaptiveAvgPool2D((None, 3)), IMAGE),
    (lambda: pnn.AdaptiveMaxPool2D(2), IMAGE),
    (lambda: pnn.Upsample(scale_factor=2, mode="bilinear", align_mode=1), IMAGE),
    (lambda: pnn.Upsample(size=[5, 7]), IMAGE),
    (lambda: pnn.UpsamplingBilinear2D(scale_factor=2), IMAGE),
    (lambda: pnn.Hardtanh(-0.5, 0.25), IMAGE),
    (lambda: pnn.LeakyReLU(0.3), IMAGE),
    (lambda: pnn.ELU(0.5), IMAGE),
    (lambda: pnn.PReLU(4), IMAGE),
    (lambda: pnn.Softplus(2.0, 3.0), IMAGE),
    (lambda: pnn.Softshrink(0.1), IMAGE),
    (lambda: pnn.GELU(approximate=True), IMAGE),
    (lambda: pnn.Softmax(1), IMAGE),
    (lambda: pnn.GLU(1), IMAGE),
    (lambda: pnn.Dropout(0.3, mode="downscale_in_infer"), IMAGE),
    (lambda: pnn.Pad2D([1, 2, 0, 1], "constant", -0.5), IMAGE),
    (lambda: pnn.Flatten(), IMAGE),
    (lambda: pnn.PixelShuffle(2), IMAGE),
    (lambda: pnn.Swish(), IMAGE),
    (lambda: pnn.Silu(), IMAGE),
]


@pytest.mark.parametrize("made, inputs", TORCH_LAYERS)
def test_a_layer_of_torch_is_built_as_it_is(made, inputs, tmp_path):
    source = reproduces(torch_backend, tnn.Sequential(made()), inputs, tmp_path, "0")
    assert f"layer = torch.nn.{type(made()).__name__}(" in source


@pytest.mark.parametrize("made, inputs", PADDLE_LAYERS)
def test_a_layer_of_paddle_is_built_as_it_is(made, inputs, tmp_path):
    source = reproduces(paddle_backend, pnn.Sequential(made()), inputs, tmp_path, "0", limit=1e-5)
    assert f"layer = paddle.nn.{type(made()).__name__}(" in source


def functional(base, call):
    class Net(base):
        def __init__(self):
            super().__init__()
            self.call = call

        def forward(self, *x):
            return self.call(*x)

    return Net()


TORCH_FUNCTIONS = {
    "add": lambda x, y: torch.add(x, y, alpha=3),
    "sub": lambda x, y: x - y,
    "rsub": lambda x: 2.5 - x,
    "mul": lambda x: x * 0.5,
    "div": lambda x, y: x / y,
    "rdiv": lambda x: 2 / x,
    "pow": lambda x: x**2,
    "maximum": torch.maximum,
    "cat": lambda x, y: torch.cat([x, y], 1),
    "stack": lambda x, y: torch.stack([x, y], dim=1),
    "mean": lambda x: x.mean((2, 3), keepdim=True),
    "sum": lambda x: x.sum(),
    "flatten": lambda x: torch.flatten(x, 1),
    "clamp": lambda x: x.clamp(min=-0.1),
    "relu": torch.relu,
    "hardsigmoid": tf.hardsigmoid,
    "leaky_relu": lambda x: tf.leaky_relu(x, 0.3),
    "gelu": lambda x: tf.gelu(x, approximate="tanh"),
    "softmax": lambda x: tf.softmax(x, dim=1),
    "avg_pool2d": lambda x: tf.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "max_pool2d": lambda x: tf.max_pool2d(x, 3, ceil_mode=True),
    "adaptive_avg_pool2d": lambda x: tf.adaptive_avg_pool2d(x, 2),
    "interpolate": lambda x: tf.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
    "pad": lambda x: tf.pad(x, (1, 2, 0, 1), value=0.5),
    "pixel_shuffle": lambda x: tf.pixel_shuffle(x, 2),
    "normalize": lambda x: tf.normalize(x, dim=1),
    "hardtanh": lambda x: tf.hardtanh(x, -0.1, 0.1),
    "softplus": lambda x: tf.softplus(x, 2),
}
PADDLE_FUNCTIONS = {
    "add": lambda x, y: paddle.add(x, y),
    "sub": lambda x, y: x - y,
    "rsub": lambda x: 2.5 - x,
    "mul": lambda x: x * 0.5,
    "div": lambda x, y: x / y,
    "rdiv": lambda x: 2 / x,
    "pow": lambda x: x**2,
    "maximum": paddle.maximum,
    "cat": lambda x, y: paddle.concat([x, y], axis=1),
    "stack": lambda x, y: paddle.stack([x, y], axis=1),
    "mean": lambda x: x.mean((2, 3), keepdim=True),
    "sum": lambda x: x.sum(),
    "flatten": lambda x: paddle.flatten(x, 1),
    "clamp": lambda x: x.clip(min=-0.1),
    "relu": pf.relu,
    "hardsigmoid": lambda x: pf.hardsigmoid(x, slope=0.2),
    "leaky_relu": lambda x: pf.leaky_relu(x, 0.3),
    "gelu": lambda x: pf.gelu(x, approximate=True),
    "softmax": lambda x: pf.softmax(x, axis=1),
    "avg_pool2d": lambda x: pf.avg_pool2d(x, 3, 2, 1, exclusive=False),
    "max_pool2d": lambda x: pf.max_pool2d(x, 3, ceil_mode=True),
    "adaptive_avg_pool2d": lambda x: pf.adaptive_avg_pool2d(x, 2),
    "interpolate": lambda x: pf.interpolate(x, scale_factor=2, mode="bilinear", align_mode=1),
    "pad": lambda x: pf.pad(x, [1, 2, 0, 1], value=0.5),
    "pixel_shuffle": lambda x: pf.pixel_shuffle(x, 2),
    "normalize": lambda x: pf.normalize(x, axis=1),
    "hardtanh": lambda x: pf.hardtanh(x, -0.1, 0.1),
    "softplus": lambda x: pf.softplus(x, 2),
}
TWO = {"add", "sub", "div", "maximum", "cat", "stack"}


@pytest.mark.parametrize("name", TORCH_FUNCTIONS)
def test_a_function_of_torch_is_called_as_it_was(name, tmp_path):
    inputs = [IMAGE, IMAGE[::-1].copy()] if name in TWO else [IMAGE]
    _ = reproduces(torch_backend, functional(tnn.Module, TORCH_FUNCTIONS[name]), inputs, tmp_path, f"{name}()")


@pytest.mark.parametrize("name", PADDLE_FUNCTIONS)
def test_a_function_of_paddle_is_called_as_it_was(name, tmp_path):
    inputs = [IMAGE, IMAGE[::-1].copy()] if name in TWO else [IMAGE]
    network = functional(pnn.Layer, PADDLE_FUNCTIONS[name])
    _ = reproduces(paddle_backend, network, inputs, tmp_path, f"{name}()", limit=1e-5)


@pytest.mark.parametrize("backend, made", [(torch_backend, TORCH_LAYERS[0]), (paddle_backend, PADDLE_LAYERS[0])])
def test_a_layer_that_is_imprecise_is_run_in_float32_against_its_bound(backend, made, tmp_path):
    nn = tnn if backend is torch_backend else pnn
    note = planted(backend, nn.Sequential(made[0]()), made[1], tmp_path, "0", "precision")
    assert "shows it" in note
    source, status, worst = run(tmp_path / "repro")
    assert "astype('float32')" in source
    assert status == 0
    assert 1e-9 < worst < 1e-5


def test_a_layer_in_training_mode_is_run_so(tmp_path):
    network = tnn.Sequential(tnn.BatchNorm2d(4))
    record_mode = network.eval
    network.eval = lambda: record_mode() and network[0].train() and network
    _ = planted(torch_backend, network, IMAGE, tmp_path, "0")
    source, status, _ = run(tmp_path / "repro")
    assert "_ = layer.train()" in source
    assert status == 0
