"""Reasons that are proved where nothing is computed otherwise, but in another order, on another part, or moved."""

import numpy as np
import paddle
import pytest
import torch
import torch.nn.functional as TF
from planted import compared, filled
from torch import nn

from parity.judging.moves import learned

RANDOM = np.random.default_rng(3)
PICTURE = RANDOM.normal(size=(2, 6, 4, 5))


# --- what must not be taken for a move


@pytest.mark.parametrize(
    "after",
    [
        PICTURE + 1e-6 * RANDOM.normal(size=PICTURE.shape),
        RANDOM.permutation(PICTURE.ravel()).reshape(PICTURE.shape),
        PICTURE.reshape(2, 4, 5, 6),
        PICTURE[:, :, :2, :2],
        np.full(PICTURE.shape, np.nan),
        PICTURE[:0],
    ],
)
def test_what_is_no_move(after):
    assert learned(PICTURE, after) is None


@pytest.mark.parametrize(
    ("move", "words"),
    [
        (lambda a: a[:, 3:], "channels 3 to 5"),
        (lambda a: a[:, 1::2], "channels 1 to 5 in steps of 2"),
        (lambda a: a[:, ::-1], "channels in reverse"),
        (lambda a: a[:, [2, 0, 5]], "channels 2, 0, 5"),
        (lambda a: a[:, 4], "channels 4"),
        (lambda a: a[..., 1:], "columns 1 to 4"),
        (lambda a: a.transpose(0, 2, 3, 1), "channels last (NHWC)"),
        (lambda a: a.reshape(2, 2, 3, 4, 5).swapaxes(1, 2).reshape(a.shape), "channels shuffled in 2 groups"),
        (lambda a: a.reshape(2, 3, 2, 4, 5).swapaxes(1, 2).reshape(a.shape), "channels shuffled in 3 groups"),
    ],
)
def test_a_move_is_learned_and_made_of_other_numbers(move, words):
    found = learned(PICTURE, move(PICTURE))
    assert found is not None
    assert found.words == words
    other = RANDOM.normal(size=PICTURE.shape)
    assert np.array_equal(found.apply(other), move(other))


def test_a_move_of_channels_that_are_alike_goes_on_as_it_began():
    dead = PICTURE.copy()
    dead[:, 2:5] = 0
    found = learned(dead, dead[:, 1:5])
    assert found is not None
    assert found.words == "channels 1 to 4"


# --- a network of parts, and the same with one of them written otherwise


class Parts(nn.Module):
    """A stem, a cut in halves with a shuffle, a gate by 1x1 convolutions, a sum and a head."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.act = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        self.left, self.right = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.reduce, self.expand = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.deep = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1))
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x)
        x = self.shuffled(torch.cat(self.halves(x), 1))
        x = self.gated(x)
        x = self.added(self.block(x), x)
        return self.fc(self.pooled(x))

    def stem(self, x):
        return self.act(self.bn(self.conv(x)))

    def halves(self, x):
        a, b = x.chunk(2, 1)
        return self.left(a), self.right(b)

    def shuffled(self, x):
        n, c, h, w = x.shape
        return x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)

    def gated(self, x):
        y = TF.adaptive_avg_pool2d(x, 1)
        return x * torch.sigmoid(self.expand(TF.relu(self.reduce(y))))

    def block(self, x):
        return self.deep(x)

    def added(self, x, shortcut):
        return TF.relu(x + shortcut)

    def pooled(self, x):
        return x.mean((2, 3))


def parts(**methods):
    return filled(Parts()), filled(type("Parts", (Parts,), methods)())


def slices(first, second):
    return lambda self, x: (self.left(x[:, first]), self.right(x[:, second]))


def four_groups(self, x):
    n, c, h, w = x.shape
    return x.reshape(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)


def scaled_gate(self, x):
    y = TF.adaptive_max_pool2d(x, 1)
    return x * torch.sigmoid(self.expand(TF.relu(self.reduce(y))))


PARTS = [
    ({"stem": lambda self, x: self.bn(self.act(self.conv(x)))}, "act comes before bn, not after it"),
    ({"stem": lambda self, x: self.bn(TF.relu(self.conv(x)))}, "act (ReLU) comes before bn, not after it"),
    ({"added": lambda self, x, y: TF.relu(x) + y}, "add() comes after relu(), not before it"),
    ({"added": lambda self, x, y: TF.relu(x + y / 2)}, "div() (Div by 2) is applied"),
    ({"added": lambda self, x, y: TF.relu(2 * y + x)}, "mul() (Mul by 2) is applied"),
    ({"shuffled": lambda self, x: x}, "the channel shuffle: reshape() (reshape) and permute() (permute) and reshape()"),
    ({"shuffled": four_groups}, "reshape() is a reshape to (2, 4, 2, 12, 12) in place of (2, 2, 4, 12, 12)"),
    ({"shuffled": lambda self, x: TF.channel_shuffle(x, 4)}, "of cat(), channels shuffled in 4 groups are taken in"),
    (
        {"shuffled": lambda self, x: x.flip(1)},
        "of cat(), channels in reverse are taken in place of channels shuffled",
    ),
    ({"halves": slices(slice(4, 8), slice(0, 4))}, "of act, channels 4 to 7 are taken in place of channels 0 to 3"),
    ({"halves": slices(slice(0, 8, 2), slice(4, 8))}, "of act, channels 0 to 6 in steps of 2 are taken in place of"),
    ({"gated": scaled_gate}, "with AdaptiveMaxPool2d reference"),
    ({"pooled": lambda self, x: x.amax((2, 3))}, "Max in place of Mean|with Max reference"),
    ({"pooled": lambda self, x: TF.dropout(x.mean((2, 3)), 0.5)}, "goes through a dropout that is on"),
    ({"block": lambda self, x: x * 2}, "deep"),
    ({"block": lambda self, x: x.abs()}, "abs"),
    ({"added": lambda self, x, y: TF.relu(x - y)}, "with Sub reference|Sub in place of Add"),
]


@pytest.mark.parametrize(("methods", "words"), PARTS, ids=[words for _, words in PARTS])
def test_a_part_in_another_order(methods, words):
    told = "; ".join(compared(parts(**methods)).values())
    assert any(each in told for each in words.split("|")), told
    if words not in ("deep", "abs"):
        assert "(proved: " in told, told


def test_an_exchange_is_one_sentence():
    told = "; ".join(compared(parts(stem=lambda self, x: self.bn(self.act(self.conv(x))))).values())
    assert told.count("proved") == 1
    assert "in place of" not in told


class LinearParts(Parts):
    """The gate by Linear, on vectors."""

    def __init__(self):
        super().__init__()
        self.reduce, self.expand = nn.Linear(8, 8), nn.Linear(8, 8)

    def gated(self, x):
        y = self.activated(self.reduce(x.mean((2, 3))))
        return x * torch.sigmoid(self.expand(y))[..., None, None]

    def activated(self, x):
        return TF.relu(x)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda net: None, ""),
        (lambda net: net.expand.weight.data.copy_(net.expand.weight.data.T.clone()), "is transposed"),
        (lambda net: net.expand.bias.data.zero_(), "bias was not copied"),
        (lambda net: net.reduce.weight.data.copy_(net.reduce.weight.data.roll(1, 0)), "permuted along axis 0"),
        (lambda net: net.reduce.weight.data[0, 0].add_(0.1), "weight differs in 1 of 64 elements"),
        (lambda net: setattr(net, "activated", lambda x: x), "relu() (ReLU) is missing"),
    ],
)
def test_a_linear_against_a_convolution(change, words):
    right, wrong = filled(Parts()), filled(LinearParts())
    with torch.no_grad():
        for name, tensor in wrong.state_dict().items():
            tensor.copy_(right.state_dict()[name].reshape(tensor.shape))
        change(wrong)
    if not words:
        wrong.fc.bias.data += 1
        assert list(compared((right, wrong))) == ["fc"]
        return
    told = "; ".join(compared((right, wrong)).values())
    assert words in told, told
    assert told.count("(proved: ") == 1, told


def test_same_padding_of_paddle():
    ours = filled(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, 2, 1)))
    theirs = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 1), paddle.nn.Conv2D(4, 4, 3, 2, "SAME"))
    theirs.eval()
    found = compared((ours, theirs), transfer=True)["1"]
    assert found.startswith("padding differs: torch=[1, 1], paddle=SAME (proved: with padding=SAME")


def test_an_activation_within_a_normalisation_is_no_mistake():
    """Paddle's old BatchNorm has `act`; torch's ReLU is a call of its own."""
    ours = filled(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1)))
    theirs = paddle.nn.Sequential(
        paddle.nn.Conv2D(3, 4, 1), paddle.nn.BatchNorm(4, act="relu", epsilon=1e-3), paddle.nn.Conv2D(4, 4, 1)
    )
    theirs.eval()
    told = "; ".join(compared((ours, theirs), transfer=True).values())
    assert "(proved: with eps=0.001" in told
    assert "applied" not in told


def test_limits_of_a_function_in_float64():
    """torch's functions keep 0.9 as it is; its layers hold float32's in a float64 run, as Paddle's kernels do."""
    found = compared(parts(pooled=lambda self, x: x.mean((2, 3)).clamp(-0.7, 0.7)))
    assert "clamp() (Hardtanh) is applied" in "; ".join(found.values())


def test_nan_of_no_variance_blames_what_makes_it():
    right, wrong = parts()
    with torch.no_grad():
        wrong.bn.running_var[:4] = -1
    assert list(compared((right, wrong))) == ["bn"]


class Outer(nn.Module):
    """Blocks in a Sequential, in which only the code of one is wrong."""

    def __init__(self, block):
        super().__init__()
        self.first, self.body = nn.Conv2d(3, 8, 1), nn.Sequential(block, nn.Conv2d(8, 8, 1))

    def forward(self, x):
        return self.body(self.given(self.first(x)))

    def given(self, x):
        return x


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)

    def forward(self, x):
        return TF.relu(self.bn(self.conv(x)))


class BareInner(Inner):
    def forward(self, x):
        return TF.relu(self.conv(x))


class ScaledOuter(Outer):
    def given(self, x):
        return x * 2


def test_whose_code_is_wrong():
    """A block whose own call leaves something out is blamed; one that is given another tensor is not: its caller is."""
    assert list(compared((filled(Outer(Inner())), filled(Outer(BareInner()))))) == ["body.0"]
    found = compared((filled(Outer(Inner())), filled(ScaledOuter(Inner()))))
    assert list(found) == [""]
    assert "between first and body.0.conv: mul() (Mul by 2) is applied" in found[""]
