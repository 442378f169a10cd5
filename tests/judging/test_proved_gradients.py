"""Reasons that are proved of the backward pass: what a call passes back, which parameters are frozen.

What must fail comes first: a backward that is not in the table is never called proved, and who is right is not blamed.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from planted import IMAGE, culprits, filled, planted
from torch import nn

from parity import compare
from parity.judging.backward_mistakes import BACKWARD_MISTAKES
from parity.judging.derivatives import DERIVATIVES, SLOPES, Passing
from parity.judging.rules import NotComputedError


def operator(backward, forward=lambda x: x * 1.0):
    """Return a function of a right forward and another backward, called with the input and the gradient."""

    class Operator(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return forward(x)

        @staticmethod
        def backward(ctx, gradient):
            return backward(ctx.saved_tensors[0], gradient)

    return Operator.apply


def judged(pair, **options):
    return compare(*pair, IMAGE, transfer=False, gradients=True, **options)


def at_branch(function):
    """Return a pair whose candidate calls a function on the branch that is added."""
    return planted(added=lambda self, x, shortcut: x + function(shortcut))


# --- what must never be called proved


@pytest.mark.parametrize(
    "backward",
    [
        lambda x, g: g * g,
        lambda x, g: g.roll(1, 2),
        lambda x, g: g * (x > 0.123),
        lambda x, g: torch.where(x > 0, 0.5 * g, 0.25 * g),
        lambda x, g: g + 1e-6 * x,
    ],
)
def test_a_backward_that_is_not_in_the_table_is_not_proved(backward):
    found = culprits(judged(at_branch(operator(backward))))
    assert any("backward differs" in words for words in found.values())
    assert not any("proved" in words for words in found.values())


def test_half_a_cut_is_not_a_cut():
    found = culprits(judged(at_branch(lambda x: torch.cat([x[:1].detach(), x[1:]]))))
    assert not any("taken as zero" in words for words in found.values())


def test_a_frozen_layer_whose_backward_is_wrong_too_has_no_proof_of_all():
    right, wrong = at_branch(operator(lambda x, g: g * g))
    wrong.conv1.bias.requires_grad = False
    words = culprits(judged((right, wrong)))["conv1"]
    assert words.startswith("bias frozen in the candidate")
    assert "proved" not in words


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_what_one_side_concatenates_anew_is_right(mode):
    """The gradient of a tensor that is read by other calls on the other side differs, and nothing is wrong."""

    class Once(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(7, 4, 1), nn.Conv2d(11, 4, 1)
            self.norm, self.head = nn.BatchNorm2d(7), nn.Conv2d(15, 2, 1)

        def forward(self, x):
            y = torch.cat([x, self.a(x)], 1)
            z = torch.cat([y, self.b(self.norm(y))], 1)
            return self.head(torch.cat([z, self.c(z)], 1))

    class Anew(Once):
        def forward(self, x):
            maps = [x]
            for layer in (self.a, lambda y: self.b(self.norm(y)), self.c):
                maps.append(layer(torch.cat(maps, 1)))
            return self.head(torch.cat(maps, 1))

    pair = filled(Once()), filled(Anew())
    assert judged(pair, mode=mode).ok
    assert judged(pair[::-1], mode=mode).ok
    pair[1].a.weight.requires_grad = False
    assert list(culprits(judged(pair, mode=mode))) == ["a"]


# --- what is proved


MISTAKES = [
    (lambda x, g: g * 0, "with the gradient through add() taken as zero"),
    (lambda x, g: -g, "passes the gradient on with the wrong sign"),
    (lambda x, g: g * 0.3, "scales the gradient by 0.3"),
    (lambda x, g: g.clip(-1e-4, 1e-4), "clips the gradient to 0.0001"),
    (lambda x, g: g.sign(), "passes on the sign of the gradient alone"),
    (lambda x, g: g * (g > 0), "passes on positive gradients alone"),
    (lambda x, g: g.half().to(g.dtype), "rounds the gradient to float16"),
    (lambda x, g: g.float().to(g.dtype), "rounds the gradient to float32"),
]


@pytest.mark.parametrize(("backward", "words"), MISTAKES, ids=[words for _, words in MISTAKES])
def test_a_wrong_backward_on_a_branch(backward, words):
    told = "; ".join(culprits(judged(at_branch(operator(backward)))).values())
    assert words in told, told
    assert "(proved: " in told


ACTIVATIONS = [
    (lambda x, g: g, "passes the gradient of its output on unchanged (straight-through)"),
    (lambda x, g: 2 * g, "passes the gradient of its output on 2 times"),
    (lambda x, g: g.sign(), "passes on the sign of the gradient of its output alone"),
    (lambda x, g: g * torch.where(x > 0, 1.0, 0.01), "has the backward of LeakyReLU"),
    (lambda x, g: g * x.sigmoid() * (1 - x.sigmoid()), "has the backward of Sigmoid"),
]


@pytest.mark.parametrize(("backward", "words"), ACTIVATIONS, ids=[words for _, words in ACTIVATIONS])
def test_a_wrong_backward_of_an_activation(backward, words):
    pair = planted(activated=lambda self, x: operator(backward, torch.relu)(x))
    told = "; ".join(culprits(judged(pair)).values())
    assert words in told, told
    assert "(proved: so reference reproduces candidate to " in told


def test_statistics_that_are_taken_for_constants():
    class Own(nn.BatchNorm2d):
        def forward(self, x):
            mean, variance = (each.detach() for each in (x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)))
            with torch.no_grad():
                n = x.numel() / x.shape[1]
                self.running_mean.mul_(0.9).add_(0.1 * mean)
                self.running_var.mul_(0.9).add_(0.1 * variance * n / (n - 1))
            mean, variance, weight, bias = (a[:, None, None] for a in (mean, variance, self.weight, self.bias))
            return (x - mean) / (variance + self.eps).sqrt() * weight + bias

    right, wrong = planted()
    wrong.bn2.__class__ = Own
    found = culprits(judged((right, wrong), mode="train"))
    assert list(found) == ["bn2"]
    assert "it takes the batch's statistics for constants (proved: so" in found["bn2"]


def test_a_detach_before_each_of_several_readers():
    found = culprits(judged(planted(first=lambda self, x: TF.silu(self.bn1(self.conv1(x))).detach())))
    assert any("(proved: with the gradient through " in words for words in found.values()), found


def test_several_mistakes_have_a_proof_each():
    """The second lies behind the first, whose incoming gradient is another one for it."""
    right, wrong = planted(
        gated=lambda self, x, gate, other: x * gate.detach(),
        added=lambda self, x, shortcut: x + operator(lambda x, g: 3 * g)(shortcut),
    )
    told = judged((right, wrong)).culprits
    assert sum("(proved: " in culprit.explanation for culprit in told) == 2, told
    assert "scales the gradient by 3" in told[1].explanation


def test_a_parameter_that_is_detached_or_frozen():
    right, wrong = planted()
    conv2 = wrong.conv2
    conv2.__class__ = type(
        "Conv2d", (nn.Conv2d,), {"forward": lambda self, x: TF.conv2d(x, self.weight.detach(), self.bias, padding=1)}
    )
    wrong.fc.weight.requires_grad = False
    found = culprits(judged((right, wrong)))
    assert "(proved: with the gradient through conv2's weight taken as zero" in found["conv2"]
    assert found["fc"].startswith("weight frozen in the candidate (requires_grad=False), trained in the reference")


# --- the rules: what torch passes back


X = torch.from_numpy(np.random.default_rng(0).normal(0.3, 2.0, (2, 4, 6, 6)))
LAYERS = [
    nn.Conv2d(4, 6, 3, 2, 1, groups=2), nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), nn.AvgPool2d(3, 2, 1),
    nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), nn.MaxPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(4),
    nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), nn.Upsample(9), nn.GroupNorm(2, 4),
    nn.InstanceNorm2d(4, affine=True), nn.LayerNorm(6), nn.BatchNorm2d(4), nn.Softmax(1), nn.LogSoftmax(1), nn.PReLU(4),
    nn.Linear(6, 5), nn.Flatten(), nn.PixelShuffle(2), nn.ChannelShuffle(2), nn.ZeroPad2d(1), nn.ReflectionPad2d(2),
    nn.ReLU(), nn.ReLU6(), nn.SiLU(), nn.Sigmoid(), nn.Hardswish(), nn.Hardsigmoid(), nn.Tanh(), nn.LeakyReLU(0.2),
    nn.GELU(), nn.GELU("tanh"), nn.ELU(0.7), nn.Mish(), nn.Softplus(), nn.SELU(), nn.Hardtanh(-0.5, 0.5), nn.Identity(),
]  # fmt: skip


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_a_rule_is_what_torch_passes_back(layer, training):
    from parity.backends import torch_backend

    layer = layer.double().train(training)
    kind, config = torch_backend.describe(layer)
    x = X.clone().requires_grad_()
    weights = {name: tensor.detach().numpy().copy() for name, tensor in layer.state_dict().items()}
    y = layer(x)
    gradient = torch.from_numpy(np.random.default_rng(1).normal(size=tuple(y.shape)))
    (expected,) = torch.autograd.grad(y, x, gradient)
    call = Passing(kind, config, weights, [X.numpy()], [y.detach().numpy()], 0, [gradient.numpy()])
    assert np.abs(call.back() - expected.numpy()).max() < 1e-6 * expected.abs().max()


def test_a_kind_without_a_rule_is_not_computed():
    assert "einsum" not in DERIVATIVES
    with pytest.raises(NotComputedError):
        Passing("einsum", {}, {}, [X.numpy()], [X.numpy()], 0, [X.numpy()]).back()


def test_every_mistake_is_another_sentence():
    assert len({mistake.says for mistake in BACKWARD_MISTAKES}) == len(BACKWARD_MISTAKES) > len(SLOPES)
