"""Where a gradient stops or changes, that place is named; right pairs pass."""

import json

import numpy as np
import paddle
import pytest
import torch
from pairs import IMAGE, small

from parity import Comparison, compare
from parity.judging.comparison import lines, summary

NN = {"torch": torch.nn, "paddle": paddle.nn}
SIDES = {"torch": torch.nn.Module, "paddle": paddle.nn.Layer}
RELU = {"torch": torch.relu, "paddle": paddle.nn.functional.relu}
PICTURE = IMAGE[:, :, :9, :9]


class _Halved(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 0.5


class _PaddleHalved(paddle.autograd.PyLayer):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 0.5


HALVED = {"torch": _Halved.apply, "paddle": _PaddleHalved.apply}


def net(framework, branch=None, trunk=None, last=None, act=None):
    """A stem, and a branch added to it; each hook is called with what flows there."""
    nn, conv = NN[framework], getattr(NN[framework], "Conv2d" if framework == "torch" else "Conv2D")
    same = lambda x: x

    class Net(SIDES[framework]):
        def __init__(self):
            super().__init__()
            self.stem, self.act = conv(3, 4, 3, padding=1), act() if act else nn.ReLU()
            self.norm = nn.BatchNorm2d(4) if framework == "torch" else nn.BatchNorm2D(4)
            self.c1, self.c2, self.fc = conv(4, 4, 3, padding=1), conv(4, 4, 1), nn.Linear(4, 5)

        def forward(self, x):
            x = self.act((trunk or same)(self.norm(self.stem(x))))
            x = x + self.c2(RELU[framework](self.c1((branch or same)(x))))
            return (last or same)(self.fc(x.mean((2, 3))))

    return Net().eval()


def compared(framework, other="", **hooks):
    """Compare a right network of one framework with one of the other that has the hooks."""
    other = other or {"torch": "paddle", "paddle": "torch"}[framework]
    return compare(net(other), net(framework, **hooks), PICTURE, gradients=True)


BOTH = pytest.mark.parametrize("framework", ["torch", "paddle"])


@BOTH
def test_a_detach_on_a_branch_names_the_branch(framework):
    result = compared(framework, branch=lambda x: x.detach())
    assert result.verdict == "different"
    assert [culprit.layer for culprit in result.culprits] == ["c1"]
    assert result.culprits[0].explanation.startswith(
        "no gradient reaches act through c1 in the candidate: detached between act and c1 (proved: with the gradient "
        "through c1 taken as zero "
    )
    assert result.first_divergence.layer == "c1"
    assert result.first_divergence.where == "backward"
    assert all(layer.verdict in ("exact", "rounding") for layer in result.layers)


@BOTH
def test_a_detach_in_the_reference_is_said_to_be_there(framework):
    other = {"torch": "paddle", "paddle": "torch"}[framework]
    wrong = net(framework, branch=lambda x: x.detach())
    result = compare(wrong, net(other), PICTURE, gradients=True)
    assert [culprit.layer for culprit in result.culprits] == ["c1"]
    assert "in the reference: detached between act and c1" in result.culprits[0].explanation


@BOTH
def test_a_detach_on_the_only_way_names_the_two_calls(framework):
    result = compared(framework, trunk=lambda x: x.detach())
    assert [culprit.layer for culprit in result.culprits] == ["act"]
    assert "in the candidate: detached between norm and act" in result.culprits[0].explanation


@BOTH
def test_a_detached_output_names_the_last_call(framework):
    result = compared(framework, last=lambda x: x.detach())
    assert [culprit.layer for culprit in result.culprits] == ["fc"]
    words = result.culprits[0].explanation
    assert "in the candidate: detached behind fc (proved: with the gradient through its output taken as zero" in words


def test_a_part_without_autograd_is_named_by_its_first_call():
    ours, theirs = net("torch"), net("paddle")
    inner = theirs.c1.forward

    def forward(x):
        with paddle.no_grad():
            return inner(x)

    theirs.c1.forward = forward
    result = compare(ours, theirs, PICTURE, gradients=True)
    assert [culprit.layer for culprit in result.culprits] == ["c1"]
    assert "its output is detached, or computed without gradients (proved: with" in result.culprits[0].explanation


@BOTH
def test_a_gradient_changed_between_two_calls_is_found(framework):
    result = compared(framework, branch=HALVED[framework])
    assert result.verdict == "different"
    (culprit,) = result.culprits
    assert culprit.layer in ("c1", "view_as()")  # torch's own function within is a call by itself
    assert "act" in culprit.explanation


class _Relu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x >= -0.1)


class _PaddleRelu(paddle.autograd.PyLayer):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return paddle.nn.functional.relu(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensor()
        return gradient * (x >= -0.1).astype(gradient.dtype)


@BOTH
def test_a_wrong_backward_of_a_layer_names_that_layer(framework):
    operator = {"torch": _Relu, "paddle": _PaddleRelu}[framework].apply
    layer = type("OwnRelu", (SIDES[framework],), {"forward": lambda self, x: operator(x)})
    other = {"torch": "paddle", "paddle": "torch"}[framework]
    result = compare(net(other), net(framework, act=layer), PICTURE, gradients=True)
    assert result.verdict == "different"
    assert [culprit.layer for culprit in result.culprits] in (["act"], ["act.clamp()"])
    assert "backward differs" in result.culprits[0].explanation


def freeze(layer):
    for parameter in layer.parameters():
        if isinstance(parameter, torch.Tensor):
            parameter.requires_grad = False
        else:
            parameter.stop_gradient = True


@BOTH
@pytest.mark.parametrize("layer", ["stem", "c2", "norm"])
def test_frozen_parameters_are_named(framework, layer):
    other = {"torch": "paddle", "paddle": "torch"}[framework]
    candidate = net(framework)
    freeze(getattr(candidate, layer))
    result = compare(net(other), candidate, PICTURE, gradients=True)
    assert [culprit.layer for culprit in result.culprits] == [layer]
    word = {"torch": "requires_grad=False", "paddle": "stop_gradient=True"}[framework]
    reason = f"weight, bias frozen in the candidate ({word}), trained in the reference (proved: with it frozen {other} "
    assert result.culprits[0].explanation.startswith(f"{reason}reproduces 16 other gradients of {framework} to ")


def test_many_frozen_layers_are_one_line():
    ours, theirs = small()
    freeze(theirs)
    result = compare(ours, theirs, IMAGE, gradients=True)
    assert len(result.culprits) == 1
    assert "more layers" in result.culprits[0].explanation


def test_parameters_frozen_on_both_sides_are_right():
    ours, theirs = net("torch"), net("paddle")
    freeze(ours.stem)
    freeze(theirs.stem)
    assert compare(ours, theirs, PICTURE, gradients=True).ok


def test_a_detach_on_both_sides_is_right_and_hides_no_other():
    cut = lambda x: x.detach()
    assert compare(net("torch", branch=cut), net("paddle", branch=cut), PICTURE, gradients=True).ok
    result = compare(
        net("torch", branch=cut), net("paddle", branch=cut, trunk=HALVED["paddle"]), PICTURE, gradients=True
    )
    assert [culprit.layer for culprit in result.culprits] == ["act"]
    assert "norm" in result.culprits[0].explanation


def test_two_mistakes_are_both_named():
    theirs = net("paddle", branch=lambda x: x.detach())
    freeze(theirs.fc)
    result = compare(net("torch"), theirs, PICTURE, gradients=True)
    assert [culprit.layer for culprit in result.culprits] == ["c1", "fc"]


def test_a_detach_is_named_beside_a_mistake_in_the_forward():
    theirs = net("paddle", branch=lambda x: x.detach())
    theirs.norm._epsilon = 1e-3
    result = compare(net("torch"), theirs, PICTURE, gradients=True)
    assert [culprit.layer for culprit in result.culprits] == ["norm", "c1"]


def test_a_layer_that_works_in_place_is_right():
    ours = net("torch", act=lambda: torch.nn.ReLU(inplace=True))
    assert compare(ours, net("paddle"), PICTURE, gradients=True).ok
    assert compare(net("paddle"), ours, PICTURE, gradients=True).ok


def test_an_input_that_the_first_layer_overwrites_is_right():
    ours = torch.nn.Sequential(torch.nn.ReLU(inplace=True), torch.nn.Conv2d(3, 4, 3))
    theirs = paddle.nn.Sequential(paddle.nn.ReLU(), paddle.nn.Conv2D(3, 4, 3))
    assert compare(ours.eval(), theirs, PICTURE, gradients=True).ok


@BOTH
def test_parameters_of_a_layer_of_layers_are_compared(framework):
    class Scaled(SIDES[framework]):
        def __init__(self, cut):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3) if framework == "torch" else paddle.nn.Conv2D(3, 4, 3)
            if framework == "torch":
                self.scale = torch.nn.Parameter(torch.full((1,), 0.5))
            else:
                one = paddle.nn.initializer.Constant(0.5)
                self.scale = self.create_parameter([1], default_initializer=one)
            self.cut = cut

        def forward(self, x):
            return self.conv(x) * (self.scale.detach() if self.cut else self.scale)

    assert compare(Scaled(False).eval(), Scaled(False).eval(), PICTURE, gradients=True).ok
    result = compare(Scaled(False).eval(), Scaled(True).eval(), PICTURE, gradients=True)
    assert result.verdict == "different"
    assert "no gradient reaches its scale in the candidate" in result.culprits[0].explanation


def test_the_report_says_how_many_gradients_were_compared():
    result = compare(net("torch"), net("paddle"), PICTURE, gradients=True)
    assert result.gradients.compared > 15
    assert result.gradients.verdict in ("exact", "rounding")
    assert f"{result.gradients.compared} gradients" in summary(result)
    assert any(line.startswith(f"gradients: {result.gradients.compared} compared, ") for line in lines(result))
    assert json.loads(result.to_json())["gradients"]["compared"] == result.gradients.compared
    assert Comparison.from_json(result.to_json()) == result
    assert compare(net("torch"), net("paddle"), PICTURE).gradients is None


def test_no_gradient_at_all_is_no_pass():
    cut = lambda x: x.detach()
    result = compare(net("torch", last=cut), net("paddle", last=cut), PICTURE, gradients=True)
    assert result.verdict == "invalid"
    assert "no gradient was compared" in result.notes


def test_the_gradient_of_the_input_is_compared():
    result = compare(net("torch"), net("paddle"), np.array(PICTURE), gradients=True)
    alone = compare(
        torch.nn.Sequential(torch.nn.ReLU()), paddle.nn.Sequential(paddle.nn.ReLU()), PICTURE, gradients=True
    )
    assert result.ok
    assert alone.gradients.compared == 1
    assert alone.gradients.worst == "(network) input 0"


def test_parameters_of_a_layer_that_calls_a_function_are_compared():
    class Own(paddle.nn.BatchNorm2D):
        def forward(self, x):
            return super().forward(x)  # a function of the framework's, called by a user's layer

    ours, theirs = net("torch"), net("paddle")
    count = compare(ours, theirs, PICTURE, gradients=True).gradients.compared
    theirs.norm = Own(4)
    theirs.eval()
    result = compare(ours, theirs, PICTURE, gradients=True)
    assert result.ok
    assert result.gradients.compared == count
    freeze(theirs.norm)
    assert [culprit.layer for culprit in compare(ours, theirs, PICTURE, gradients=True).culprits] == ["norm"]
