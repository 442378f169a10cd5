"""Right ports of single layers, one by one, with settings that are not the defaults: none may be flagged.

And the smallest mistake in each setting, which must be.
"""

import numpy as np
import pytest
from paddle import nn as P
from torch import nn as T

from parity import compare
from parity.numerics.fixed_random import projection

IMAGE = projection((2, 4, 9, 11)).astype(np.float32) * 2
IMAGE[0, 0, 0, 0] = 0.30015  # behind one threshold of the tests below, before the other

# torch's layer and Paddle's, of one setting x; a value whose float32 is another number than its float64; 0 for none.
PORTS = {
    "BatchNorm2d": (lambda x: T.BatchNorm2d(4, eps=x), lambda x: P.BatchNorm2D(4, epsilon=x), 1e-3),
    "GroupNorm": (lambda x: T.GroupNorm(2, 4, eps=x), lambda x: P.GroupNorm(2, 4, epsilon=x), 1e-3),
    "InstanceNorm2d": (
        lambda x: T.InstanceNorm2d(4, eps=x, affine=True), lambda x: P.InstanceNorm2D(4, epsilon=x), 1e-3,
    ),
    "LayerNorm": (lambda x: T.LayerNorm(11, eps=x), lambda x: P.LayerNorm(11, epsilon=x), 9e-4),
    "ELU": (T.ELU, P.ELU, 0.7),
    "CELU": (T.CELU, P.CELU, 0.7),
    "SELU": (lambda _: T.SELU(), lambda _: P.SELU(), 0),
    "LeakyReLU": (T.LeakyReLU, P.LeakyReLU, 0.3),
    "PReLU": (lambda _: T.PReLU(4), lambda _: P.PReLU(4), 0),
    "PReLU of one slope": (lambda x: T.PReLU(1, x), lambda x: P.PReLU(1, x), 0),
    "Softshrink": (T.Softshrink, P.Softshrink, 0.3),
    "Hardshrink": (T.Hardshrink, P.Hardshrink, 0.3),
    "Hardtanh": (lambda x: T.Hardtanh(-x, x), lambda x: P.Hardtanh(-x, x), 0.3),
    "Hardsigmoid": (lambda _: T.Hardsigmoid(), lambda _: P.Hardsigmoid(), 0),
    "Hardswish": (lambda _: T.Hardswish(), lambda _: P.Hardswish(), 0),
    "ReLU6": (lambda _: T.ReLU6(), lambda _: P.ReLU6(), 0),
    "Softplus": (lambda x: T.Softplus(x, 15), lambda x: P.Softplus(x, 15), 0.7),
    "GELU": (lambda _: T.GELU(), lambda _: P.GELU(), 0),
    "GELU, tanh": (lambda _: T.GELU(approximate="tanh"), lambda _: P.GELU(True), 0),
    "SiLU": (lambda _: T.SiLU(), lambda _: P.Silu(), 0),
    "Mish": (lambda _: T.Mish(), lambda _: P.Mish(), 0),
    "LogSigmoid": (lambda _: T.LogSigmoid(), lambda _: P.LogSigmoid(), 0),
    "GLU": (lambda _: T.GLU(1), lambda _: P.GLU(1), 0),
    "Softmax": (lambda _: T.Softmax(1), lambda _: P.Softmax(1), 0),
    "LogSoftmax": (lambda _: T.LogSoftmax(1), lambda _: P.LogSoftmax(1), 0),
    "LRN alpha": (
        lambda x: T.LocalResponseNorm(3, x, 0.6, 1.1), lambda x: P.LocalResponseNorm(3, x, 0.6, 1.1), 0.3,
    ),
    "LRN beta": (lambda x: T.LocalResponseNorm(3, 0.3, x, 1.1), lambda x: P.LocalResponseNorm(3, 0.3, x, 1.1), 0.6),
    "ConstantPad2d": (lambda x: T.ConstantPad2d(1, x), lambda x: P.Pad2D(1, value=x), 0.3),
    "ReflectionPad2d": (lambda _: T.ReflectionPad2d((1, 2, 3, 1)), lambda _: P.Pad2D([1, 2, 3, 1], "reflect"), 0),
    "ConvTranspose2d": (
        lambda _: T.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2),
        lambda _: P.Conv2DTranspose(4, 6, 3, 2, 1, output_padding=1, groups=2),
        0,
    ),
    "PixelShuffle": (lambda _: T.PixelShuffle(2), lambda _: P.PixelShuffle(2), 0),
    "Upsample, nearest": (lambda _: T.Upsample(scale_factor=2), lambda _: P.Upsample(scale_factor=2), 0),
    **{
        f"Upsample, {mode}, {corners}": (
            lambda _, mode=mode, corners=corners: T.Upsample((70, 33), mode=mode, align_corners=corners),
            lambda _, mode=mode, corners=corners: P.Upsample([70, 33], mode=mode, align_corners=corners),
            0,
        )
        for mode in ("bilinear", "bicubic")
        for corners in (True, False)
    },
}  # fmt: skip


@pytest.mark.parametrize("port", PORTS)
def test_a_right_port_is_not_flagged(port):
    ours, theirs, value = PORTS[port]
    result = compare(T.Sequential(ours(value)).eval(), P.Sequential(theirs(value)), IMAGE)
    assert result.ok, str(result)


@pytest.mark.parametrize("port", [port for port in PORTS if PORTS[port][2]])
def test_a_setting_off_by_a_thousandth_is(port):
    ours, theirs, value = PORTS[port]
    result = compare(T.Sequential(ours(value)).eval(), P.Sequential(theirs(value * 1.001)), IMAGE)
    assert result.verdict == "different", str(result)


@pytest.mark.parametrize("size", [9, 64, 512])
def test_an_interpolation_is_not_flagged_at_any_size_and_another_is(size):
    """Paddle reckons in float32 where a pixel lies: the error grows with the image."""
    image = projection((1, 1, size, size))
    target = [int(size * 1.7), int(size * 2.3)]
    ours = T.Sequential(T.Upsample(tuple(target), mode="bilinear"))
    assert compare(ours, P.Sequential(P.Upsample(target, mode="bilinear")), image).ok
    for other in ({"align_corners": True}, {"align_mode": 1}):
        result = compare(ours, P.Sequential(P.Upsample(target, mode="bilinear", **other)), image)
        assert result.verdict == "different"
        assert next(iter(other)) in result.culprits[0].explanation
