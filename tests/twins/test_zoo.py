"""Every network of the zoo shows the numbers of the zoo, in both packages."""

import math

import paddle
import pytest
import torch

import paddle_cnn
import torch_cnn
from parity.backends import paddle_backend, torch_backend
from parity.zoo import NETWORKS

NAMES = list(NETWORKS)


def torch_numbers(network, shape):
    """Return output shape, trained parameters and MACs, without computing anything."""
    macs = []

    def count(layer, _, output):
        macs.append(
            output.numel() * layer.weight[0].numel() if output.dim() == 4 else output.shape[0] * layer.weight.numel()
        )

    for layer in network.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            layer.register_forward_hook(count)
    output = network(torch.empty(shape, device="meta"))
    return tuple(output.shape), sum(p.numel() for p in network.parameters()), sum(macs)


def test_both_packages_build_what_the_zoo_lists():
    assert torch_cnn.names() == paddle_cnn.names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_torch_twin_shows_the_numbers_of_the_zoo(name):
    with torch.device("meta"):
        network = torch_cnn.build(name).eval()
    row = NETWORKS[name]
    assert torch_numbers(network, row.input) == (row.output, row.parameters, row.macs)


@pytest.mark.parametrize("name", NAMES)
def test_paddle_twin_has_the_same_weights_in_the_same_order(name):
    with torch.device("meta"):
        ours = torch_backend.slots(torch_cnn.build(name))
    network = paddle_backend.build(name)
    theirs = paddle_backend.slots(network)
    assert list(ours.items()) == list(theirs.items())
    trained = sum(math.prod(p.shape) for p in network.parameters() if not p.stop_gradient)
    assert trained == NETWORKS[name].parameters


@pytest.mark.parametrize("package", [torch_cnn, paddle_cnn])
def test_an_unknown_name_lists_near_matches(package):
    with pytest.raises(ValueError, match=r"unknown network 'resnet5'; did you mean resnet50"):
        package.build("resnet5")
    with pytest.raises(ValueError, match=r"unknown network 'zzz'; known: .*resnet18"):
        package.build("zzz")


def test_options_reach_the_network():
    for network in (
        torch_cnn.build("resnet18", num_classes=7, in_channels=1),
        paddle_cnn.build("resnet18", num_classes=7, in_channels=1),
    ):
        first, last = next(iter(network.parameters())), network.fc.bias
        assert (first.shape[1], last.shape[0]) == (1, 7)


def test_an_activation_that_is_none_of_ours_is_refused_in_the_same_words():
    words = set()
    for package in (torch_cnn, paddle_cnn):
        with pytest.raises(ValueError, match="act is") as caught:
            package.resnet.ConvBNLayer(1, 1, 1, act="tanh")
        words.add(str(caught.value))
    assert words == {"ConvBNLayer: act is 'relu' or None, got 'tanh'"}


def test_no_layer_works_in_place():
    for name in NAMES:
        with torch.device("meta"):
            network = torch_cnn.build(name)
        assert not [path for path, layer in network.named_modules() if getattr(layer, "inplace", False)]


def test_paddle_counts_statistics_among_parameters():
    """Why a naive count differs: docs/differences.md."""
    network = paddle.nn.BatchNorm2D(4)
    assert sum(math.prod(p.shape) for p in network.parameters()) == 16
