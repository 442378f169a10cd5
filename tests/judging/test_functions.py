"""What people write as a function is recorded with its settings, and judged like a layer."""

import numpy as np
import paddle
import paddle.nn.functional as PF
import pytest
import torch
import torch.nn.functional as TF

from parity import compare
from parity.functions import neutral_name

IMAGE = np.random.default_rng(0).standard_normal((2, 3, 12, 12)).astype(np.float32)


class TorchNet(torch.nn.Module):
    """A convolution, and a function behind it."""

    def __init__(self, function):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.function = function

    def forward(self, x):
        return self.function(self.conv(x))


class PaddleNet(paddle.nn.Layer):
    """The same."""

    def __init__(self, function):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 4, 3)
        self.function = function

    def forward(self, x):
        return self.function(self.conv(x))


def result_of(ours, theirs, image=IMAGE):
    return compare(TorchNet(ours).eval(), PaddleNet(theirs).eval(), image)


def culprits(result):
    return {culprit.layer: culprit.explanation for culprit in result.culprits}


DIFFERENT = [
    (lambda x: TF.hardsigmoid(x), lambda x: PF.hardsigmoid(x, 0.2), "hardsigmoid()", "slope"),
    (lambda x: TF.avg_pool2d(x, 3, 2, 1), lambda x: PF.avg_pool2d(x, 3, 2, 1), "avg_pool2d()", "count_include_pad"),
    (lambda x: TF.max_pool2d(x, 2), lambda x: PF.max_pool2d(x, 2, 1), "max_pool2d()", "stride"),
    (
        lambda x: TF.interpolate(x, scale_factor=2, mode="bilinear"),
        lambda x: PF.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
        "interpolate()",
        "align_corners",
    ),
    (
        lambda x: TF.interpolate(x, scale_factor=2, mode="bilinear"),
        lambda x: PF.interpolate(x, scale_factor=2, mode="bilinear", align_mode=1),
        "interpolate()",
        "align_mode",
    ),
    (lambda x: TF.leaky_relu(x, 0.1), lambda x: PF.leaky_relu(x), "leaky_relu()", "negative_slope"),
    (lambda x: TF.elu(x, 0.5), lambda x: PF.elu(x), "elu()", "alpha"),
    (lambda x: TF.gelu(x), lambda x: PF.gelu(x, True), "gelu()", "approximate"),
    (lambda x: torch.softmax(x, 1), lambda x: PF.softmax(x), "softmax()", "dim"),
    (lambda x: torch.cat([x, x], 2), lambda x: paddle.concat([x, x], 3), "cat()", "dim"),
    (lambda x: x.mean((2, 3)), lambda x: x.mean((1, 3)), "mean()", "dim"),
    (lambda x: TF.pad(x, (1, 0, 0, 0)), lambda x: PF.pad(x, (0, 1, 0, 0)), "pad()", "padding"),
    (lambda x: x * 0.1, lambda x: x * 0.2, "mul()", "other"),
    (lambda x: x.clamp(0, 6), lambda x: x.clip(0, 5), "clamp()", "max_val"),
    (
        lambda x: TF.layer_norm(x, (10,), eps=1e-3),
        lambda x: PF.layer_norm(x, (10,), epsilon=1e-5),
        "layer_norm()",
        "eps",
    ),
    (lambda x: TF.normalize(x, dim=1), lambda x: PF.normalize(x, axis=2), "normalize()", "dim"),
]


@pytest.mark.parametrize(("ours", "theirs", "call", "setting"), DIFFERENT, ids=[f"{c}{s}" for *_, c, s in DIFFERENT])
def test_a_setting_that_differs_is_the_reason(ours, theirs, call, setting):
    result = result_of(ours, theirs)
    assert not result.ok
    assert list(culprits(result)) == [call]
    assert culprits(result)[call].startswith(f"{setting} differs: torch=")


SAME = [
    (lambda x: TF.relu(x), lambda x: PF.relu(x)),
    (lambda x: torch.relu(x), lambda x: paddle.nn.functional.relu(x)),
    (lambda x: x.relu(), lambda x: paddle.clip(x, min=0)),
    (lambda x: TF.relu6(x), lambda x: x.clip(0, 6)),
    (lambda x: TF.hardsigmoid(x), lambda x: PF.hardsigmoid(x)),
    (lambda x: TF.hardsigmoid(x), lambda x: PF.relu6(x + 3) / 6),
    (lambda x: TF.hardswish(x), lambda x: x * PF.relu6(x + 3) / 6),
    (lambda x: TF.avg_pool2d(x, 3, 2, 1), lambda x: PF.avg_pool2d(x, 3, 2, 1, exclusive=False)),
    (
        lambda x: TF.interpolate(x, size=(20, 20), mode="bilinear"),
        lambda x: PF.interpolate(x, scale_factor=2, mode="bilinear"),
    ),
    (
        torch.nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        lambda x: PF.interpolate(x, (20, 20), mode="bilinear", align_corners=True),
    ),
    (lambda x: x.mean((2, 3)), lambda x: PF.adaptive_avg_pool2d(x, 1).flatten(1)),
    (lambda x: x.mean((2, 3), True)[:, :, 0, 0], lambda x: x.mean((2, 3))),
    (lambda x: TF.softmax(x, -3), lambda x: PF.softmax(x, 1)),
    (lambda x: x.flatten(1), lambda x: paddle.reshape(x, (x.shape[0], -1))),
    (lambda x: x + x.relu(), lambda x: PF.relu(x) + x),
    (lambda x: x.sigmoid() * x.tanh(), lambda x: paddle.tanh(x) * PF.sigmoid(x)),
    (lambda x: (x.mean(1), x.mean(2)), lambda x: (x.mean(2), x.mean(1))[::-1]),
    (lambda x: TF.dropout(x, 0.5, False), lambda x: x),
    (lambda x: torch.fft.fft2(x).abs(), lambda x: paddle.fft.fft2(x).abs()),
    (lambda x: torch.einsum("nchw,ndhw->ncd", x, x), lambda x: paddle.einsum("nchw,ndhw->ncd", x, x)),
    (lambda x: TF.relu(x, inplace=True) + x, lambda x: 2 * PF.relu(x)),
]


@pytest.mark.parametrize(("ours", "theirs"), SAME)
def test_the_same_written_in_another_way_passes(ours, theirs):
    result = result_of(ours, theirs)
    assert result.ok, str(result)
    assert all(not name.endswith("()") for names in result.unmatched.values() for name in names)


def test_a_function_is_the_partner_of_a_layer():
    ours = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Hardsigmoid(), torch.nn.AvgPool2d(2)).eval()
    right, wrong = (
        torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), TorchCall(function), TorchCall(lambda x: TF.avg_pool2d(x, 2)))
        for function in (TF.hardsigmoid, lambda x: TF.relu6(x + 2.9) / 6)
    )
    result = compare(ours, right, IMAGE)
    assert result.ok
    assert [(layer.layer, layer.partner) for layer in result.layers[1:3]] == [
        ("1", "1.hardsigmoid()"),
        ("2", "2.avg_pool2d()"),
    ]
    assert not compare(ours, wrong, IMAGE).ok


class TorchCall(torch.nn.Module):
    """A layer of the user's own that calls a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize("frameworks", ["torch", "paddle"])
def test_functions_are_as_before_when_the_run_ends(frameworks):
    before = {**vars(paddle.Tensor)}, {**vars(PF)}, {**vars(paddle)}
    network = PaddleNet(PF.relu).eval()
    _ = compare(network, network, IMAGE)

    def fails(x):
        raise RuntimeError("own")

    with pytest.raises(Exception, match="own"):
        compare(PaddleNet(fails).eval(), PaddleNet(fails).eval(), IMAGE)
    assert ({**vars(paddle.Tensor)}, {**vars(PF)}, {**vars(paddle)}) == before
    assert network.function is PF.relu


def test_a_function_that_one_precision_alone_calls_is_left_out():
    network = TorchNet(lambda x: x + 1 if x.dtype == torch.float64 else (x.tanh() * 0 + x) + 1).eval()
    result = compare(network, network, IMAGE)
    assert result.ok, str(result)
    assert [layer.layer for layer in result.layers] == ["conv", ""]


def test_losses_are_compared_by_their_settings():
    logits = np.random.default_rng(1).standard_normal((2, 4, 4, 4)).astype(np.float32)
    target = np.random.default_rng(2).integers(0, 4, (2, 4, 4))
    pairs = {
        "dim": (torch.nn.CrossEntropyLoss(), paddle.nn.CrossEntropyLoss()),
        "label_smoothing": (
            torch.nn.CrossEntropyLoss(label_smoothing=0.1),
            paddle.nn.CrossEntropyLoss(axis=1),
        ),
        "reduction": (torch.nn.CrossEntropyLoss(reduction="sum"), paddle.nn.CrossEntropyLoss(axis=1)),
        "ignore_index": (torch.nn.CrossEntropyLoss(ignore_index=2), paddle.nn.CrossEntropyLoss(axis=1)),
    }
    for setting, (ours, theirs) in pairs.items():
        result = compare(ours.eval(), theirs, [logits, target])
        assert [reason.partition(" ")[0] for reason in culprits(result).values()] == [setting]
    right = torch.nn.CrossEntropyLoss(ignore_index=2).eval(), paddle.nn.CrossEntropyLoss(axis=1, ignore_index=2)
    assert compare(*right, [logits, target]).ok
    flat = compare(
        torch.nn.CrossEntropyLoss().eval(), paddle.nn.CrossEntropyLoss(), [logits[:, :, 0, 0], target[:, 0, 0]]
    )
    assert flat.ok  # the last axis is the first but one


@pytest.mark.parametrize(
    ("name", "neutral"),
    [("__iadd__", "add"), ("add_", "add"), ("__get__", ""), ("relu_", "relu"), ("concat", "cat"), ("detach", "")],
)
def test_names_of_functions_are_neutral(name, neutral):
    assert neutral_name(name) == neutral


def test_a_difference_that_a_pooling_hides_on_this_input_is_one():
    """The largest of each window is positive, so the slope has no effect: on another input it has."""
    _ = torch.manual_seed(0)
    ours = TorchNet(lambda x: TF.max_pool2d(TF.leaky_relu(x, 0.1), 5)).eval()
    theirs = PaddleNet(lambda x: PF.max_pool2d(PF.leaky_relu(x, 0.2), 5))
    theirs.eval()
    with torch.no_grad():
        ours.conv.bias.fill_(1.0)
    result = compare(ours, theirs, IMAGE)
    assert [layer.verdict for layer in result.layers if layer.layer == ""] == ["rounding"]
    assert culprits(result)["leaky_relu()"].startswith("negative_slope differs: torch=0.1, paddle=0.2")
    theirs = PaddleNet(lambda x: PF.max_pool2d(PF.relu(x), 5))
    theirs.eval()
    reason = culprits(compare(ours, theirs, IMAGE))["leaky_relu()"]
    assert "kind differs: torch=LeakyReLU, paddle=ReLU (proved: with ReLU torch reproduces paddle to" in reason
    same = result_of(lambda x: (x * 0.5 * 4).relu(), lambda x: PF.relu(x * 2))
    assert same.ok, str(same)


def sized(x, framework, corners):
    """Return a map enlarged to the size of another, as PaddleSeg writes it; torch has a shape without a tensor."""
    small = PF.max_pool2d(x, 2) if framework is paddle else TF.max_pool2d(x, 2)
    if framework is torch:
        return TF.interpolate(small, x.shape[2:], mode="bilinear", align_corners=corners)
    return PF.interpolate(small, paddle.shape(x)[2:], mode="bilinear", align_corners=corners)


def test_sizes_that_are_tensors_are_numbers_and_no_data():
    result = result_of(lambda x: sized(x, torch, True), lambda x: sized(x, paddle, True))
    assert result.ok, str(result)
    assert result.unmatched == {"reference": (), "candidate": ()}
    result = result_of(lambda x: sized(x, torch, True), lambda x: sized(x, paddle, False))
    assert culprits(result)["interpolate()"].startswith("align_corners differs: torch=True, paddle=False (proved: with")


def test_a_function_of_one_side_alone_that_changes_nothing_is_a_note():
    result = result_of(lambda x: TF.relu(x), lambda x: PF.relu6(PF.relu(x)))
    assert result.ok
    assert result.notes == (
        "relu6(), of the candidate alone, changes nothing on this input: another input may show it",
    )
    assert result_of(lambda x: TF.relu(x), lambda x: PF.relu(PF.relu(x))).notes == ()  # nor on any other
