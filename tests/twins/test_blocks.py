"""Every public block is a twin in its own right: one function over its valid configurations, and the same refusals."""

import importlib

import numpy as np
import paddle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pairs import harden

from parity import compare
from parity.numerics.fixed_random import projection

WIDTH = st.integers(1, 6)
SIZES = st.tuples(st.integers(2, 9), st.integers(2, 9))
BOOL = st.booleans()
STRIDE = st.integers(1, 3)


def fixed(**arguments):
    return st.fixed_dictionaries(arguments)


@st.composite
def grouped(draw):
    """Widths that their groups divide."""
    groups = draw(st.integers(1, 3))
    return groups, groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))


@st.composite
def conv_bn_layer(draw):
    groups, before, after = draw(grouped())
    filter_size, stride, act = draw(st.sampled_from([1, 3, 5])), draw(STRIDE), draw(st.sampled_from([None, "relu"]))
    return before, (before, after, filter_size, stride, groups, act)


@st.composite
def residual(draw, block, expansion=1):
    shortcut, filters = draw(BOOL), draw(st.integers(1, 4))
    channels, stride = (filters * expansion, 1) if shortcut else (draw(WIDTH), draw(STRIDE))
    if block == "Residual":
        return channels, (channels, filters, not shortcut, stride)
    wide = (draw(st.sampled_from([1, 2])), draw(st.sampled_from([64, 128]))) if block == "BottleneckBlock" else ()
    return channels, (channels, filters, stride, shortcut, *wide)


@st.composite
def inception(draw):
    channels, c1, c4 = draw(WIDTH), draw(WIDTH), draw(WIDTH)
    return channels, (channels, c1, (draw(WIDTH), draw(WIDTH)), (draw(WIDTH), draw(WIDTH)), c4)


@st.composite
def bottleneck(draw, stage):
    group_width, ratio, channels = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(WIDTH)
    width = group_width * ratio * draw(st.integers(1, 3))
    se_ratio, stride = draw(st.sampled_from([0.0, 1.0])), draw(STRIDE)
    if stage:
        return channels, (
            draw(st.integers(1, 4)),
            channels,
            draw(st.integers(1, 3)),
            width,
            group_width,
            ratio,
            stride,
            se_ratio,
        )
    return channels, (channels, width, stride, group_width, ratio, se_ratio)


def with_channels(*others):
    """The number of input channels, and it again as the block's first argument, before `others`."""
    return st.tuples(WIDTH, *others).map(lambda drawn: (drawn[0], drawn))


BLOCKS = {
    ("resnet", "ConvBNLayer"): conv_bn_layer(),
    ("resnet", "BasicBlock"): residual("BasicBlock"),
    ("resnet", "BottleneckBlock"): residual("BottleneckBlock", 4),
    ("resnet", "Residual"): residual("Residual"),
    ("vgg", "vgg_block"): st.tuples(st.integers(1, 3), WIDTH, WIDTH, BOOL).map(lambda drawn: (drawn[1], drawn)),
    ("nin", "nin_block"): with_channels(WIDTH, st.sampled_from([1, 3, 5]), STRIDE, st.just(2)),
    ("nin", "GlobalAvgPool2d"): WIDTH.map(lambda channels: (channels, ())),
    ("googlenet", "Inception"): inception(),
    ("googlenet", "InceptionBN"): inception(),
    ("densenet", "conv_block"): with_channels(WIDTH),
    ("densenet", "DenseBlock"): st.tuples(st.integers(1, 3), WIDTH, WIDTH).map(lambda drawn: (drawn[1], drawn)),
    ("densenet", "transition_block"): with_channels(WIDTH),
    ("densenet", "DenseLayer"): with_channels(WIDTH, st.integers(1, 4), st.just(0.0), BOOL),
    ("densenet", "PlainDenseLayer"): with_channels(WIDTH, st.just(0.0), BOOL),
    ("densenet", "DenseLayerBlock"): st.tuples(st.integers(1, 3), WIDTH, WIDTH).map(lambda drawn: (drawn[1], drawn)),
    ("densenet", "Transition"): with_channels(WIDTH),
    ("regnet", "SqueezeExcitation"): with_channels(WIDTH),
    ("regnet", "ResBottleneckBlock"): bottleneck(stage=False),
    ("regnet", "AnyStage"): bottleneck(stage=True),
}


def both(family, block, *arguments):
    return [
        getattr(importlib.import_module(f"{package}.{family}"), block)(*arguments)
        for package in ("torch_cnn", "paddle_cnn")
    ]


@pytest.mark.parametrize(("family", "block"), BLOCKS, ids=lambda word: word)
def test_block_is_the_same_function_and_has_the_same_gradients(family, block, device):
    @settings(max_examples=8, deadline=None, derandomize=True, database=None)
    @given(drawn=BLOCKS[family, block], size=SIZES, gradients=BOOL)
    def check(drawn, size, gradients):
        channels, arguments = drawn
        ours, theirs = harden(*both(family, block, *arguments), device)
        result = compare(
            ours, theirs, projection((2, channels, *size)).astype(np.float32), transfer=False, gradients=gradients
        )
        assert result.ok, str(result)

    check()


@pytest.mark.parametrize(
    ("family", "block", "arguments", "words"),
    [
        ("resnet", "BottleneckBlock", (1, 4, 1), "got stride 1, 1 channels in, 16 out"),
        ("resnet", "BasicBlock", (4, 4, 2), "got stride 2, 4 channels in, 4 out"),
        ("resnet", "Residual", (3, 4), "Residual"),
        ("vgg", "vgg_block", (0, 1, 1), "num_convs=0"),
        ("nin", "nin_block", (1, 1, 0, 1, 0), "kernel_size=0"),
        ("googlenet", "Inception", (1, 1, (1, 1, 1), (1, 1), 1), "c2 and c3 are pairs"),
        ("densenet", "densenet_cifar", (101, 12, True), "(depth - 4) = 97 is not a positive multiple of 6"),
        ("regnet", "ResBottleneckBlock", (8, 10, 1, 4), "10 is not divisible by group width 4"),
        ("regnet", "AnyStage", (3, 8, 1, 10, 4), "stage 3: width 10"),
        ("regnet", "AnyNet", ((1, 1), (10, 9), (1, 2), (4, 1)), "not divisible by group width 4; stage 2: width 9"),
    ],
)  # fmt: skip
def test_a_bad_configuration_is_refused_in_the_same_words(family, block, arguments, words):
    said = []
    for package in ("torch_cnn", "paddle_cnn"):
        with pytest.raises(ValueError) as caught:
            getattr(importlib.import_module(f"{package}.{family}"), block)(*arguments)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert words in said[0]


def test_the_articles_dense_block_and_transition():
    for package, zeros in (("torch_cnn", torch.zeros), ("paddle_cnn", paddle.zeros)):
        family = importlib.import_module(f"{package}.densenet")
        y = family.DenseBlock(2, 3, 10)(zeros([4, 3, 8, 8]))
        assert list(y.shape) == [4, 23, 8, 8]
        assert list(family.transition_block(23, 10)(y).shape) == [4, 10, 4, 4]
