"""Reasons that are proved: a mistake is planted in one network of a right pair, and an experiment reproduces it.

What must fail comes first: a mistake that is not in the table, or nearly one that is, is never called proved.
"""

import numpy as np
import paddle
import pytest
import torch
import torch.nn.functional as TF
from torch import nn

from parity import compare
from parity.backends import torch_backend
from parity.judging.experiments import Experiments
from parity.judging.explain import with_culprits
from parity.judging.judge import judge
from parity.numerics.fixed_random import projection
from parity.tracing.record import record
from parity.tracing.trace import Trace

IMAGE = projection((2, 3, 12, 12)).astype(np.float32)


class Block(nn.Module):
    """A small network with a residual, a gate and a concatenation, whose parts a mistake may replace."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(4)
        self.gate = nn.Conv2d(4, 4, 1)
        self.drop = nn.Dropout(0.25)
        self.fuse = nn.Conv2d(8, 4, 1)
        self.pool = nn.AvgPool2d(3, 2, 1)
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        y = self.first(x)
        z = self.activated(self.added(self.bn2(self.conv2(y)), y))
        z = self.gated(z, torch.sigmoid(self.gate(z)), y)
        z = self.pool(self.drop(self.fuse(self.joined(z, y))))
        return self.fc(z.mean((2, 3)))

    def first(self, x):
        return TF.silu(self.bn1(self.conv1(x)))

    def activated(self, x):
        return self.relu(x)

    def added(self, x, shortcut):
        return x + shortcut

    def gated(self, x, gate, other):
        return x * gate

    def joined(self, x, y):
        return torch.cat([x, y], 1)


def filled(network):
    with torch.no_grad():
        for i, (name, tensor) in enumerate(network.state_dict().items()):
            if tensor.is_floating_point():
                numbers = torch.from_numpy(np.random.default_rng(i).normal(0.1, 0.4, tuple(tensor.shape)))
                tensor.copy_(numbers.abs() + 0.5 if "var" in name else numbers)
    return network.eval()


def planted(**methods):
    """Return a right block, and one with other methods."""
    return filled(Block()), filled(type("Block", (Block,), methods)())


def culprits(result):
    assert not result.ok
    return {culprit.layer: culprit.explanation for culprit in result.culprits}


def compared(pair, image=IMAGE, transfer=False):
    return culprits(compare(*pair, image, transfer=transfer))


# --- what must never be called proved


@pytest.mark.parametrize(
    "added",
    [
        lambda self, x, shortcut: x + shortcut.roll(1, 2),
        lambda self, x, shortcut: torch.where(x > 0.2, x, x + shortcut),
        lambda self, x, shortcut: (x + shortcut).cumsum(3),
        lambda self, x, shortcut: torch.from_numpy((x + shortcut + 0.01 * x * shortcut).numpy()),
    ],
)
def test_a_mistake_that_is_not_in_the_table_is_not_proved(added):
    found = compared(planted(added=added))
    assert found
    assert not any("proved" in words for words in found.values())


def test_a_weight_that_differs_somewhere_is_not_proved():
    right, wrong = planted()
    with torch.no_grad():
        wrong.conv2.weight[1, 2, 0, 0] += 0.1
    found = compared((right, wrong))
    assert found["conv2"].startswith("weight differs in 1 of 144 elements")
    assert "proved" not in found["conv2"]


def test_a_setting_that_is_not_all_of_it_is_not_proved():
    right, wrong = planted()
    wrong.bn2.eps = 1e-3
    with torch.no_grad():
        wrong.bn2.bias[0] += 1e-6
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


# --- forward code


def applied(function):
    return lambda self, *tensors: function(*tensors)


FORWARDS = [
    (
        "the activation is missing",
        {"activated": applied(lambda x: x)},
        ["between add() and gate: relu (ReLU) is missing"],
    ),
    ("a function is missing", {"first": lambda self, x: self.bn1(self.conv1(x))}, ["silu() (SiLU) is missing"]),
    (
        "applied twice",
        {"first": lambda self, x: TF.silu(TF.silu(self.bn1(self.conv1(x))))},
        ["silu()", "which the reference does not do"],
    ),
    ("another activation", {"first": lambda self, x: TF.gelu(self.bn1(self.conv1(x)))}, ["GELU"]),
    (
        "before the normalisation",
        {"first": lambda self, x: self.bn1(TF.silu(self.conv1(x)))},
        ["between conv1 and bn1: silu() (SiLU) is applied", "between bn1 and conv2: silu() (SiLU) is missing"],
    ),
    ("residual missing", {"added": applied(lambda x, y: x)}, ["between bn2 and relu: silu() is not added to bn2"]),
    ("residual scaled", {"added": applied(lambda x, y: x + 0.3 * y)}, ["mul() (Mul by 0.3)"]),
    ("residual added twice", {"added": applied(lambda x, y: x + y + y)}, ["add()"]),
    ("residual subtracted", {"added": applied(lambda x, y: x - y)}, ["Sub"]),
    ("concatenated otherwise", {"joined": applied(lambda x, y: torch.cat([y, x], 1))}, ["in another order"]),
    ("gate missing", {"gated": applied(lambda x, gate, y: x)}, ["sigmoid() is not multiplied with relu"]),
    ("gate on another tensor", {"gated": applied(lambda x, gate, y: y * gate)}, ["reads silu() in place of relu"]),
    ("normalisation missing", {"first": lambda self, x: TF.silu(self.conv1(x))}, ["bn1 (BatchNorm2d) is missing"]),
    (
        "normalisation doubled",
        {"first": lambda self, x: TF.silu(self.bn1(self.bn1(self.conv1(x))))},
        ["bn1 (BatchNorm2d)", "which the reference does not do"],
    ),
    ("BGR for RGB", {"first": lambda self, x: TF.silu(self.bn1(self.conv1(x.flip(1))))}, ["BGR for RGB"]),
    (
        "channels last",
        {"first": lambda self, x: TF.silu(self.bn1(self.conv1(x.permute(0, 2, 3, 1).reshape(x.shape))))},
        ["channels last (NHWC), taken for channels first"],
    ),
]


@pytest.mark.parametrize(("methods", "words"), [each[1:] for each in FORWARDS], ids=[each[0] for each in FORWARDS])
def test_forward_code(methods, words):
    found = compared(planted(**methods))
    told = "; ".join(found.values())
    assert told.count("(proved: so ") + told.count("(proved: with ") == max(
        1, sum("between" in word for word in words)
    ), found
    for word in words:
        assert word in told, found


def test_several_mistakes_have_a_proof_each():
    right, wrong = planted(added=applied(lambda x, y: x), joined=applied(lambda x, y: torch.cat([y, x], 1)))
    wrong.bn1.eps = 1e-2
    found = compared((right, wrong))
    told = "; ".join(found.values())
    assert told.count("proved") == 3, found
    for words in ("eps=0.01", "silu() is not added", "in another order"):
        assert words in told


def test_an_activation_of_its_own_before_the_normalisation():
    class Right(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn, self.act = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()
            self.head = nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.head(self.act(self.bn(self.conv(x))))

    class Wrong(Right):
        def forward(self, x):
            return self.head(self.bn(self.act(self.conv(x))))

    found = compared((filled(Right()), filled(Wrong())))
    assert "between conv and bn: ReLU is applied to conv (proved" in "; ".join(found.values()), found


class PaddleBlock(paddle.nn.Layer):
    """A residual and an activation, as in Block."""

    def __init__(self):
        super().__init__()
        self.conv1 = paddle.nn.Conv2D(3, 4, 3, padding=1)
        self.bn1 = paddle.nn.BatchNorm2D(4)
        self.conv2 = paddle.nn.Conv2D(4, 4, 3, padding=1)

    def forward(self, x):
        y = paddle.nn.functional.relu(self.bn1(self.conv1(x)))
        return self.end(self.conv2(y), y)

    def end(self, x, y):
        return paddle.nn.functional.relu(x + y)


class TorchBlock(nn.Module):
    """The same."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        y = TF.relu(self.bn1(self.conv1(x)))
        return self.end(self.conv2(y), y)

    def end(self, x, y):
        return TF.relu(x + y)


@pytest.mark.parametrize("first", ["torch", "paddle"])
@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda self, x, y: relu_of(x)(x), "relu() is not added to conv2 (proved: so "),
        (lambda self, x, y: x + y, "relu() (ReLU) is missing (proved: so "),
        (lambda self, x, y: relu_of(x)(x + y + y), "with relu() is applied"),
        (lambda self, x, y: relu_of(x)(x + y * 0.5), "mul() (Mul by 0.5) is applied"),
    ],
)
def test_forward_code_between_the_frameworks(first, end, words):
    right, wrong = (TorchBlock, PaddleBlock) if first == "torch" else (PaddleBlock, TorchBlock)
    right, wrong = right(), type(wrong.__name__, (wrong,), {"end": end})()
    if first == "torch":
        right = filled(right)
    _ = right.eval(), wrong.eval()
    told = "; ".join(compared((right, wrong), transfer=True).values())
    assert words in told, told
    assert f"{first} reproduces" in told


def relu_of(x):
    return TF.relu if isinstance(x, torch.Tensor) else paddle.nn.functional.relu


def test_two_layers_called_in_the_other_order():
    class Right(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))

        def forward(self, x):
            return self.c(self.b(self.a(x)))

    class Wrong(Right):
        def forward(self, x):
            return self.c(self.a(self.b(x)))

    told = "; ".join(compared((filled(Right()), filled(Wrong()))).values())
    assert "reads the input in place of a (proved" in told
    assert "reads a in place of b (proved" in told


def test_functions_behind_the_first_mistake_are_found_too():
    """They are not replayed, and their inputs differ: our own arithmetic shows that they compute something else."""
    right, wrong = planted(
        added=lambda self, x, shortcut: torch.add(x, shortcut, alpha=0.5),
        joined=lambda self, x, y: torch.cat([x, y.sigmoid()], 1),
    )
    wrong.conv1.padding_mode = "circular"
    found = compared((right, wrong))
    assert "(proved: with padding_mode=circular" in found["conv1"]
    assert found["add()"].startswith("alpha differs: reference=1, candidate=0.5 (proved: with alpha=0.5 reference")
    assert "Sigmoid" in found[""]
    assert set(found) == {"conv1", "add()", ""}


def test_what_differs_without_effect_is_no_reason():
    """The candidate applies a ReLU behind a ReLU, or before it; its only mistake is elsewhere."""
    for activated in (lambda self, x: self.relu(x).relu(), lambda self, x: self.relu(x.relu())):
        right, wrong = planted(activated=activated)
        wrong.bn2.eps = 1e-2
        found = compared((right, wrong))
        assert list(found) == ["bn2"]
        assert "relu" not in found["bn2"]


def test_traces_without_weights_have_proofs_where_none_are_needed(tmp_path):
    right, wrong = planted(activated=lambda self, x: x)
    wrong.pool.divisor_override = 7
    wrong.bn1.eps = 1e-2
    traces, tried = [], []
    for name, network in (("right", right), ("wrong", wrong)):
        record(torch_backend, network, [IMAGE], tmp_path / name)
        traces.append(Trace(tmp_path / name))
    with traces[0] as a, traces[1] as b:
        result = with_culprits(judge("block", a, b), a, b, {}, None, lambda *words: tried.append(words))
    told = "; ".join(culprit.explanation for culprit in result.culprits)
    assert "eps differs: reference=1e-05, candidate=0.01" in told
    assert "with eps" not in told
    assert "relu (ReLU) is missing (proved: so " in told
    # Each is told with what it is, its number, and how many there may be.
    assert any(words == "gate: relu (ReLU) is missing" for words, _, _ in tried)
    assert [number for _, number, _ in tried] == list(range(1, len(tried) + 1))
    assert {total for _, _, total in tried} == {2000}


# --- a layer of the user's own in place of the framework's, which does the wrong thing within


def batch_norm(self, x, **changes):
    settings = {"running_mean": self.running_mean, "running_var": self.running_var}
    settings |= {"weight": self.weight, "bias": self.bias, "eps": self.eps}
    return TF.batch_norm(x, **(settings | changes))


def conv(self, x, weight, bias):
    return TF.conv2d(x, weight, bias, padding=1)


def unseen(function):
    """Return a forward that computes with numpy, which no run records."""
    return lambda self, x: torch.from_numpy(function(conv(self, x, self.weight, self.bias).numpy()))


INSIDE = [
    (
        "conv2",
        lambda self, x: conv(self, x, self.weight.flip(2, 3), self.bias),
        "weight of conv2 has its kernels flipp",
    ),
    ("conv2", lambda self, x: conv(self, x, self.weight.swapaxes(0, 1), self.bias), "inputs and outputs swapped"),
    ("conv2", lambda self, x: conv(self, x, self.weight.mT, self.bias), "weight of conv2 has height and width swapped"),
    ("conv2", lambda self, x: conv(self, x, self.weight, None), "the bias of conv2 is absent"),
    ("conv2", lambda self, x: conv(self, x, self.weight, self.bias * 2), "the bias of conv2 is doubled"),
    ("conv2", lambda self, x: conv(self, x, self.weight.half().to(x.dtype), self.bias), "is rounded to float16"),
    ("conv2", lambda self, x: conv(self, x, self.weight.bfloat16().to(x.dtype), self.bias), "is rounded to bfloat16"),
    ("conv2", lambda self, x: conv(self, x, self.weight, self.bias) * 0.37, "conv2.mul() (Mul by 0.37) is applied"),
    ("conv2", lambda self, x: conv(self, x, self.weight, self.bias).relu(), "conv2.relu() (ReLU) is applied"),
    ("conv2", unseen(lambda y: y * 0.37), "conv2 is scaled by 0.37"),
    ("conv2", unseen(lambda y: np.maximum(y, 0)), "ReLU is applied to conv2"),
    ("conv2", lambda self, x: conv(self, x.swapaxes(2, 3), self.weight, self.bias), "has height and width swapped"),
    ("conv2", lambda self, x: conv(self, x.flip(1), self.weight, self.bias), "channels in another order: in reverse"),
    ("bn2", lambda self, x: batch_norm(self, x, training=True), "in training mode in candidate"),
    ("bn2", lambda self, x: batch_norm(self, x, weight=self.bias, bias=self.weight), "weight and bias of bn2 are swap"),
    (
        "bn2",
        lambda self, x: batch_norm(
            self, x, running_mean=torch.zeros_like(self.bias), running_var=torch.ones_like(self.bias)
        ),
        "bn2 has its statistics at their defaults",
    ),
    ("drop", lambda self, x: x * 0.75, "drop.mul() (Mul by 0.75) is applied"),
    ("drop", lambda self, x: torch.from_numpy(x.numpy() * 0.75), "drop scales by 1 - p = 0.75 at inference"),
    ("fc", lambda self, x: TF.linear(x, self.weight.T, self.bias), "the weight of fc is transposed"),
]


@pytest.mark.parametrize(("layer", "forward", "words"), INSIDE, ids=[words for _, _, words in INSIDE])
def test_inside_a_layer_of_the_users_own(layer, forward, words):
    right, wrong = planted()
    held = getattr(wrong, layer)
    held.__class__ = type(type(held).__name__, (type(held),), {"forward": forward})
    told = "; ".join(compared((right, wrong)).values())
    assert words in told, told
    assert told.count("(proved: ") == 1, told
