"""Two live networks of one framework in one process: a refactoring against its original."""

import numpy as np
import paddle
import pytest
import torch

from parity import compare

SHAPE = (1, 3, 9, 9)


class TorchNet(torch.nn.Module):
    def __init__(self, eps=1e-5, functional=False):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.norm = torch.nn.BatchNorm2d(4, eps=eps)
        self.act = torch.nn.ReLU()
        self.functional = functional

    def forward(self, x):
        x = self.norm(self.conv(x))
        return torch.nn.functional.relu(x) if self.functional else self.act(x)


class PaddleNet(paddle.nn.Layer):
    def __init__(self, eps=1e-5, functional=False):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 4, 3)
        self.norm = paddle.nn.BatchNorm2D(4, epsilon=eps)
        self.act = paddle.nn.ReLU()
        self.functional = functional

    def forward(self, x):
        x = self.norm(self.conv(x))
        return paddle.nn.functional.relu(x) if self.functional else self.act(x)


def bits(network):
    return {name: np.array(tensor.numpy()) for name, tensor in network.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


both = pytest.mark.parametrize("net", [TorchNet, PaddleNet], ids=["torch", "paddle"])


@both
def test_a_mistake_between_two_of_one_class_is_found_and_named_by_role(net):
    result = compare(net(), net(eps=1e-3), SHAPE)
    assert [culprit.layer for culprit in result.culprits] == ["norm"]
    reason = "eps differs: reference=1e-05, candidate=0.001 (proved: with eps=0.001 reference reproduces candidate to "
    assert result.culprits[0].explanation.startswith(reason)


@both
def test_weights_that_differ_are_found_where_they_are_not_transferred(net):
    reference, candidate = net(), net()
    before = bits(candidate)
    result = compare(reference, candidate, SHAPE, transfer=False)
    assert result.culprits[0].layer == "conv"
    assert "weight" in result.culprits[0].explanation
    assert same(bits(candidate), before)


@both
def test_the_candidate_gets_the_weights_and_the_reference_keeps_its_own(net):
    reference, candidate = net(), net()
    before = bits(reference)
    assert compare(reference, candidate, SHAPE).ok
    assert same(bits(reference), before)
    assert same(bits(candidate), before)
    assert compare(reference, candidate, SHAPE, transfer=False, gradients=True).ok


@both
def test_a_network_is_itself(net):
    network = net()
    before = bits(network)
    assert compare(network, network, SHAPE).ok
    assert same(bits(network), before)


@both
def test_a_layer_that_both_hold_is_right_in_both_and_stays_as_it_is(net):
    reference, candidate = net(), net(eps=1e-3)
    candidate.conv = reference.conv
    before = bits(reference)
    result = compare(reference, candidate, SHAPE)
    assert [culprit.layer for culprit in result.culprits] == ["norm"]
    assert candidate.conv is reference.conv
    assert same(bits(reference), before)


@both
def test_a_function_in_place_of_a_layer_is_the_same_network(net):
    assert compare(net(), net(functional=True), SHAPE).ok
    assert compare(net(functional=True), net(), SHAPE).ok


@both
def test_modes_and_hooks_are_as_before(net):
    reference, candidate = net(), net()
    reference.eval()
    calls = []
    hook = "register_forward_hook" if net is TorchNet else "register_forward_post_hook"
    getattr(candidate, hook)(lambda *given: calls.append(1))
    assert compare(reference, candidate, SHAPE).ok
    assert (reference.training, candidate.training) == (False, True)
    assert not any("forward" in vars(layer) for layer in (reference, reference.conv, candidate, candidate.conv))
