"""What the source articles claim, measured. `make docs` writes docs/source-claims.md from these tests.

Each test returns in words what it has measured; the numbers in them are the measured ones.
"""

import math
from functools import cache
from pathlib import Path

import numpy as np
import paddle
import torch
from torch import nn

from parity import ParityError
from parity.analysis.outline import outline
from parity.analysis.summary import summarise
from parity.backends import paddle_backend, torch_backend
from parity.zoo import NETWORKS

PAGE = Path(__file__).parents[2] / "docs" / "source-claims.md"
CLAIMS = []


def claim(words):
    """Make a test of a function that measures, and a row of the page of what it returns."""

    def register(measure):
        measured = cache(measure)
        CLAIMS.append((words, measured, measure.__name__))

        def test():
            assert measured()

        test.__name__ = measure.__name__
        return test

    return register


def rows_of(name, shape=None, depth=None):
    """Return the rows of a network's summary by layer, and the summary."""
    network = torch_backend.hollow(torch_backend.build(name))
    result = summarise(name, "torch", outline(torch_backend, network, shape or NETWORKS[name].input), depth)
    return {row.layer: row for row in result.rows}, result


def kinds(name, kind):
    return [row for row in rows_of(name)[0].values() if row.kind == kind]


def by(shape):
    return "x".join(map(str, shape))


def giga(count):
    return f"{count / 1e9:.1f} G"


@claim("Paddle's convolution rounds down, its pooling rounds up")
def test_pooling_rounds_down_unless_told_otherwise():
    image = np.zeros((1, 1, 112, 112), np.float32)
    sizes = {}
    for ceil_mode in (False, True):
        options = {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": ceil_mode}
        theirs = paddle.nn.MaxPool2D(**options)(paddle.to_tensor(image)).shape[-1]
        ours = nn.MaxPool2d(**options)(torch.from_numpy(image)).shape[-1]
        assert theirs == ours
        sizes[ceil_mode] = theirs
    default = paddle.nn.MaxPool2D(3, 2, 1)(paddle.to_tensor(image)).shape[-1]
    convolved = paddle.nn.Conv2D(1, 1, 3, 2, 1)(paddle.to_tensor(image)).shape[-1]
    assert (default, convolved, sizes) == (56, 56, {False: 56, True: 57})
    return (
        f"Both round down: 3x3, stride 2, padding 1 on 112 gives {convolved} by convolution and {default} by pooling. "
        f"`ceil_mode=True`, which is not the default, gives {sizes[True]}."
    )


@claim("ResNet-50 has 15 residual blocks")
def test_resnet50_has_sixteen_blocks():
    network = torch_backend.build("resnet50")
    stages = [
        sum(type(each).__name__ == "BottleneckBlock" for each in stage)
        for stage in (network.layer1, network.layer2, network.layer3, network.layer4)
    ]
    assert (stages, sum(stages)) == ([3, 4, 6, 3], 16)
    return f"{' + '.join(map(str, stages))} = {sum(stages)}: a listing that runs from 0 to 15 has 16."


@claim("the bias of ResNet-50's first convolution has shape [3]")
def test_the_first_convolution_has_no_bias():
    found = set()
    for backend in (torch_backend, paddle_backend):
        slots = backend.slots(backend.build("resnet50"))
        found.add(("conv.conv.bias" in slots, slots["conv.conv.weight"].shape, slots["conv.batch_norm.bias"].shape))
    ((biased, weight, norm),) = found
    assert (biased, weight, norm) == (False, (64, 3, 7, 7), (64,))
    return f"It has none, on either side; its weight is {by(weight)}, the bias of the BatchNorm behind it {by(norm)}."


@claim("a batch of ten through ResNet-50 takes 104.6 G multiplications")
def test_a_batch_of_ten_through_resnet50():
    macs = rows_of("resnet50", (10, 3, 224, 224))[1].macs
    assert macs == 10 * 4_089_184_256
    return f"{giga(macs)}: {macs // 10:,} an image."


@claim("a batch of ten through VGG-16 takes 306.9 G operations")
def test_a_batch_of_ten_through_vgg16():
    macs = rows_of("vgg16", (10, 3, 224, 224))[1].macs
    assert 2 * macs == 309_405_286_400
    return f"{giga(2 * macs)}, multiplications and additions counted: 2 x {macs // 10:,} an image."


@claim(
    "DenseNet's outputs on a 96x96 image: 64x24x24, 192x24x24, 96x12x12, 224x12x12, 112x6x6, 240x6x6, 120x3x3, "
    "248x3x3, 10"
)
def test_densenet_outputs():
    rows, result = rows_of("densenet_d2l", depth=2)
    outputs = [by(row.output[1:]) for row in (rows["max_pool"], *(rows[f"blocks.{i}"] for i in range(7)), result)]
    listed = ", ".join(outputs)
    assert listed == "64x24x24, 192x24x24, 96x12x12, 224x12x12, 112x6x6, 240x6x6, 120x3x3, 248x3x3, 10"
    return f"So it is: {listed}."


@claim("AlexNet's maps after its second pooling are 11x11")
def test_alexnet_maps_after_the_second_pooling():
    _, second, _ = kinds("alexnet_d2l", "MaxPool2d")
    assert second.output == (1, 256, 12, 12) == (1, 256, *[math.floor((26 - 3) / 2) + 1] * 2)
    return f"{by(second.output[2:])}: floor((26 - 3) / 2) + 1."


@claim("the five blocks of VGG-11 hold eleven convolutions")
def test_vgg11_has_eight_convolutions():
    found = {name: (len(kinds(name, "Conv2d")), len(kinds(name, "Linear"))) for name in ("vgg11", "vgg11_d2l")}
    ((convolutions, linear),) = set(found.values())
    assert (convolutions, linear) == (8, 3)
    return f"{convolutions}; with the {linear} linear layers, {convolutions + linear}."


@claim("AlexNet, printed with unpadded convolutions of stride 2 and then 1, runs on 224x224")
def test_alexnet_as_printed_cannot_run():
    """The second number after the channels is a stride: 5x5 at stride 2 and 3x3 at stride 1, none of them padded."""
    said = {}
    for backend, layers, of in ((torch_backend, torch.nn, "2d"), (paddle_backend, paddle.nn, "2D")):
        convolution, pooling = getattr(layers, f"Conv{of}"), getattr(layers, f"MaxPool{of}")
        for up in (False, True):
            printed = layers.Sequential(
                *(convolution(1, 8, 11, 4), pooling(3, 2, ceil_mode=up)),
                *(convolution(8, 8, 5, 2), pooling(3, 2, ceil_mode=up)),
                *(convolution(8, 8, 3, 1), convolution(8, 8, 3, 1), convolution(8, 8, 3, 1)),
            )
            try:
                outline(backend, printed, (1, 1, 224, 224))
            except ParityError as error:
                said.setdefault(up, set()).add(str(error))
    assert [len(words) for words in said.values()] == [1, 1]  # the same words on both sides
    (down,), (up,) = said[False], said[True]
    assert down.startswith("6: Conv2d: a window of 3x3 does not fit its input of 1x1 (padding 0x0)")
    assert up.startswith("6: Conv2d: a window of 3x3 does not fit its input of 2x2 (padding 0x0)")
    return (
        "It cannot: the third 3x3 convolution in a row meets a map of 1x1, or of 2x2 if pooling rounds up as the "
        f"article has it. Both sides say so: `{up}`"
    )


@claim("the batch's variance is divided by m - 1 (text) or by m (code)")
def test_batch_variance_is_divided_by_m():
    values = np.random.default_rng(0).normal(size=(4, 1, 2, 2))
    m, variance = values.size, values.var()
    expected = (values - values.mean()) / np.sqrt(variance + 1e-5)
    running = {}
    for name, layer, tensor in (
        ("torch", nn.BatchNorm2d(1, momentum=0.1).double(), torch.from_numpy(values)),
        ("Paddle", paddle.nn.BatchNorm2D(1, momentum=0.9).to(dtype="float64"), paddle.to_tensor(values)),
    ):
        layer.train()
        normalised = layer(tensor).detach().numpy()
        assert np.abs(normalised - expected).max() < 1e-6  # dividing by m - 1 would be 3 % off
        moved = float((layer.running_var if name == "torch" else layer._variance).detach().numpy()[0])
        running[name] = {m / (m - 1): "m - 1", 1.0: "m"}[
            min((m / (m - 1), 1.0), key=lambda ratio: abs(0.9 + 0.1 * variance * ratio - moved))
        ]
        assert min(abs(0.9 + 0.1 * variance * ratio - moved) for ratio in (m / (m - 1), 1.0)) < 1e-6
    assert running == {"torch": "m - 1", "Paddle": "m"}
    return (
        "Both frameworks normalise by the variance divided by m. The running variance differs: torch divides it by "
        f"{running['torch']}, Paddle by {running['Paddle']}."
    )


def page():
    """Return docs/source-claims.md."""
    rows = [f"| {words} | {measured()} | `{name}` |" for words, measured, name in CLAIMS]
    return "\n".join(
        [
            "# What the source articles claim, and what is so",
            "",
            "Written by `make docs` from `tests/analysis/test_source_claims.py`; a test holds this page to it.",
            "",
            "| claim | measured | by |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == page(), "run `make docs`"


if __name__ == "__main__":
    _ = PAGE.write_text(page())
