"""Reasons that are proved: a mistake is planted in one network of a right pair, and an experiment reproduces it.

What must fail comes first: a mistake that is not in the table, or nearly one that is, is never called proved.
"""

import numpy as np
import paddle
import pytest
import torch
from planted import IMAGE, compared, filled, planted
from torch import nn

from parity.judging.experiments import Experiments

# --- what must never be called proved


@pytest.mark.parametrize(
    "added",
    [
        lambda self, x, shortcut: x + shortcut.cumsum(2),
        lambda self, x, shortcut: torch.where(x > 0.2, x, x + shortcut),
        lambda self, x, shortcut: (x + shortcut).cumsum(3),
        lambda self, x, shortcut: torch.from_numpy((x + shortcut + 0.01 * x * shortcut).numpy()),
    ],
)
def test_a_mistake_that_is_not_in_the_table_is_not_proved(added):
    found = compared(planted(added=added))
    assert found
    assert not any("proved" in words for words in found.values())


def bent(layer, function):
    """Give a layer a forward that no run looks into: numpy's, with a little of its square."""
    forward = lambda self, x: torch.from_numpy((y := function(self, x.numpy())) + 1e-3 * y**2)
    layer.__class__ = type(type(layer).__name__, (type(layer),), {"forward": forward})


def test_a_weight_that_differs_is_not_proved_if_it_is_not_all_of_it():
    right, wrong = planted()
    with torch.no_grad():
        wrong.gate.weight[1, 2] += 0.1
    bent(wrong.gate, lambda gate, x: np.einsum("oi,bihw->bohw", gate.weight[..., 0, 0].numpy(), x))
    found = compared((right, wrong))
    assert found["gate"].startswith("weight differs in 1 of 16 elements")
    assert "proved" not in found["gate"]


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
def test_a_variance_is_not_said_to_be_another_function_of_itself_by_chance(eps):
    """All ones are their own square, root and reciprocal; a huge variance does not show an eps."""
    right, wrong = planted()
    for network in (right, wrong):
        network.bn2.running_var.fill_(1e6)
    wrong.bn2.running_var[0] = 1e6 * (1 + 2**-22)
    assert compared((right, wrong))["bn2"].startswith("running_var differs in 1 of 4 elements")


def test_a_setting_that_is_not_all_of_it_is_not_proved():
    right, wrong = planted()
    wrong.bn2.eps = 1e-3
    side = lambda array: array.numpy().reshape(-1, 1, 1)
    bent(wrong.bn2, lambda bn, x: (x - side(bn.running_mean)) / np.sqrt(side(bn.running_var) + bn.eps))
    found = compared((right, wrong))["bn2"]
    assert found.startswith("eps differs: reference=1e-05, candidate=0.001")
    assert "proved" not in found


@pytest.mark.parametrize(("said", "proved"), [(1e-3, True), (1e-3 - 9.9e-5, False), (1.1e-3, False)])
def test_a_near_miss_is_not_proved(said, proved, tmp_path, monkeypatch):
    right, wrong = planted()
    wrong.bn2.eps = 1e-3
    held = Experiments.shown

    def shown(self, call, partner, settings, weights):
        return held(self, call, partner, {"eps": said}, weights)

    monkeypatch.setattr(Experiments, "shown", shown)
    assert ("proved" in compared((right, wrong))["bn2"]) is proved


# --- settings


@pytest.mark.parametrize(
    ("layer", "setting", "value", "words"),
    [
        ("bn2", "eps", 1e-3, "eps differs: reference=1e-05, candidate=0.001 (proved: with eps=0.001 reference repro"),
        ("pool", "count_include_pad", False, "(proved: with count_include_pad=False"),
        ("pool", "divisor_override", 7, "(proved: with divisor_override=7"),
        ("pool", "ceil_mode", True, "(proved: with ceil_mode=True"),
        ("conv1", "stride", (2, 2), "(proved: with stride=[2, 2]"),
        ("conv1", "dilation", (2, 2), "(proved: with dilation=[2, 2]"),
    ],
)
def test_a_setting(layer, setting, value, words):
    right, wrong = planted()
    setattr(getattr(wrong, layer), setting, value)
    assert words in compared((right, wrong))[layer]


def test_a_stride_moved_to_the_neighbour():
    pair = [filled(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, stride=2, padding=1))) for _ in range(2)]
    pair[1][0].stride, pair[1][1].stride = (2, 2), (1, 1)
    found = compared(pair)
    assert found["0"].startswith("stride differs: reference=[1, 1], candidate=[2, 2] (proved: with stride=[2, 2]")
    assert found["1"].startswith("stride differs: reference=[2, 2], candidate=[1, 1] (proved: with stride=[1, 1]")


def test_two_settings_and_a_weight_at_once():
    right, wrong = planted()
    wrong.bn1.eps, wrong.bn1.training = 1e-2, True
    with torch.no_grad():
        wrong.bn1.weight.copy_(right.bn1.bias)
    found = compared((right, wrong))["bn1"]
    assert "(proved: with eps=0.01 and training=True and this weight" in found


CORNERS = [
    (nn.Upsample(scale_factor=2, mode="bilinear"), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)),
    (nn.Upsample(scale_factor=2, mode="bilinear"), nn.Upsample(scale_factor=2)),
    (nn.Upsample(scale_factor=2, mode="bicubic"), nn.Upsample(scale_factor=2, mode="bilinear")),
    (nn.ReLU(), nn.ReLU6()),
    (nn.GELU(), nn.GELU("tanh")),
    (nn.LeakyReLU(0.1), nn.LeakyReLU(0.01)),
    (nn.Hardswish(), nn.SiLU()),
    (nn.MaxPool2d(3, 2), nn.MaxPool2d(3, 2, ceil_mode=True)),
    (nn.AvgPool2d(2), nn.MaxPool2d(2)),
    (nn.AdaptiveAvgPool2d(5), nn.AdaptiveMaxPool2d(5)),
    (nn.GroupNorm(3, 3), nn.GroupNorm(1, 3)),
    (nn.InstanceNorm2d(3), nn.InstanceNorm2d(3, eps=1e-2)),
    (nn.LayerNorm(12), nn.LayerNorm(12, eps=1e-2)),
    (nn.Softmax(1), nn.Softmax(3)),
    (nn.PixelShuffle(1), nn.ChannelShuffle(3)),
    (nn.ZeroPad2d(1), nn.ReflectionPad2d(1)),
    (nn.ConvTranspose2d(3, 3, 3, 2, 1, 1), nn.ConvTranspose2d(3, 3, 3, 2, 1, 1, dilation=2)),
]


@pytest.mark.parametrize("pair", CORNERS, ids=lambda pair: type(pair[1]).__name__)
def test_a_setting_or_kind_of_each_layer(pair):
    """The image is scaled, so that ReLU6 shows."""
    found = compared([filled(nn.Sequential(nn.Identity(), layer)) for layer in pair], IMAGE * 8)
    if type(pair[0]) is nn.PixelShuffle:
        return  # of one, it does nothing, and so does a shuffle in as many groups as channels
    assert "(proved: with " in found["1"], found


def test_align_corners_of_paddle():
    ours = filled(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Upsample(scale_factor=2, mode="bilinear")))
    theirs = paddle.nn.Sequential(
        paddle.nn.Conv2D(3, 4, 1), paddle.nn.Upsample(scale_factor=2, mode="bilinear", align_mode=1)
    )
    theirs.eval()
    found = compared((ours, theirs), transfer=True)["1"]
    assert found.startswith("align_mode differs: torch=0, paddle=1 (proved: with align_mode=1 torch reproduces paddle")
    found = compared((theirs, ours), transfer=True)["1"]
    assert found.startswith("align_mode differs: paddle=1, torch=0 (proved: with align_mode=0 paddle reproduces torch")


def test_dropout_of_paddle_that_scales_at_inference():
    ours = filled(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(0.25)))
    theirs = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 1), paddle.nn.Dropout(0.25, mode="downscale_in_infer"))
    theirs.eval()
    assert "(proved: with mode=downscale_in_infer" in compared((ours, theirs), transfer=True)["1"]


# --- weights


def swapped(one, other):
    one.data, other.data = other.data.clone(), one.data.clone()


WEIGHTS = [
    ("fc", lambda net: net.fc.weight.data.copy_(net.fc.weight.data.T.clone()), "weight is transposed"),
    ("conv2", lambda net: net.conv2.weight.data.copy_(net.conv2.weight.data.flip(2, 3)), "has its kernels flipped"),
    ("conv2", lambda net: net.conv2.weight.data.copy_(net.conv2.weight.data.flip(3)), "flipped along width"),
    ("conv2", lambda net: net.conv2.weight.data.copy_(net.conv2.weight.data.mT.clone()), "height and width swapped"),
    (
        "conv2",
        lambda net: net.conv2.weight.data.copy_(net.conv2.weight.data.swapaxes(0, 1).clone()),
        "inputs and outputs swapped",
    ),
    ("conv1", lambda net: net.conv1.weight.data.copy_(net.conv1.weight.data.flip(1)), "BGR for RGB"),
    ("conv2", lambda net: net.conv2.weight.data.copy_(net.conv2.weight.data[[2, 0, 1, 3]]), "permuted along axis 0"),
    ("conv2", lambda net: net.conv2.weight.data.copy_(net.conv2.weight.data.bfloat16()), "is rounded to bfloat16"),
    ("conv2", lambda net: net.conv2.weight.data.copy_(net.conv2.weight.data.half()), "is rounded to float16"),
    ("conv2", lambda net: net.conv2.bias.data.mul_(2), "bias is doubled"),
    ("conv2", lambda net: setattr(net.conv2, "bias", None), "bias is absent"),
    ("bn2", lambda net: swapped(net.bn2.weight, net.bn2.bias), "weight holds the reference's bn2.bias"),
    ("bn2", lambda net: swapped(net.bn2.running_mean, net.bn2.running_var), "holds the reference's bn2.running_var"),
    ("bn2", lambda net: net.bn2.reset_running_stats(), "running_mean was not copied: all of it is 0"),
    ("bn1", lambda net: swapped(net.bn1.weight, net.bn2.weight), "weight holds the reference's bn2.weight"),
    ("bn2", lambda net: net.bn2.running_var.sqrt_(), "running_var holds its square root: the standard deviation"),
    ("bn2", lambda net: net.bn2.running_var.pow_(-1), "running_var holds its reciprocal"),
    ("bn2", lambda net: net.bn2.running_var.rsqrt_(), "running_var holds the reciprocal of its root"),
    ("bn2", lambda net: net.bn2.running_var.add_(1e-3), "running_var has 0.001 added already: an eps"),
    ("bn2", lambda net: net.bn2.running_var.log_(), "running_var holds its logarithm"),
    ("conv2", lambda net: net.conv2.weight.data.mul_(0.1), "weight is scaled by 0.1"),
    ("conv2", lambda net: net.conv2.bias.data.add_(0.25), "bias has 0.25 added to it"),
    (
        "conv2",
        lambda net: net.conv2.weight.data.mul_(net.bn2.weight.view(-1, 1, 1, 1)),
        "weight is scaled, each output channel by a factor of its own",
    ),
    ("conv2", lambda net: net.conv2.weight.data[1, 2].add_(0.1), "weight differs in 9 of 144 elements"),
    ("conv2", lambda net: net.conv2.weight.data.normal_(), "weight differs in 144 of 144 elements"),
]


@pytest.mark.parametrize(("layer", "change", "words"), WEIGHTS, ids=[words for _, _, words in WEIGHTS])
def test_weights(layer, change, words):
    right, wrong = planted()
    for network in (right, wrong):
        with torch.no_grad():
            network.bn1.weight += 1
            network.bn2.bias -= 1
    with torch.no_grad():
        change(wrong)
    found = compared((right, wrong))[layer]
    assert words in found
    assert "(proved: with " in found
