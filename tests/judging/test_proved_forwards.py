"""Reasons that are proved of forward code: what is called, in which order, on what; within a layer and between two."""

import numpy as np
import paddle
import pytest
import torch
import torch.nn.functional as TF
from planted import IMAGE, compared, filled, planted
from torch import nn

from parity.backends import torch_backend
from parity.judging.explain import with_culprits
from parity.judging.judge import judge
from parity.tracing.record import record
from parity.tracing.trace import Trace


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
        ["silu() (SiLU) comes before bn1, not after it"],
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
    assert "act comes before bn, not after it (proved" in "; ".join(found.values()), found


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
    assert "b comes before a, not after it (proved" in told
    assert told.count("proved") == 1


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
