"""Weights of torchvision's and paddle.vision's networks enter the twins by name, and give those networks' outputs."""

import importlib
from pathlib import Path

import numpy as np
import paddle
import pytest
import torch
import torchvision

import torch_cnn
from parity import compare
from parity.backends import paddle_backend, torch_backend
from parity.errors import ParityError
from parity.numerics.distance import distance
from parity.numerics.fixed_random import projection
from parity.weights import blueprint
from parity.weights.checkpoint import neutral, of_tensors
from parity.weights.fit import fitted
from parity.weights.hardened import hardened_state
from parity.weights.names import check_layout
from parity.weights.state import State
from parity.zoo import NETWORKS

STANDARD = [name for name, row in NETWORKS.items() if row.output == (1, 1000)]
IN_PADDLE = [name for name in STANDARD if NETWORKS[name].family in ("resnet", "vgg", "densenet")]
SMALL = {"resnet18", "densenet121", "googlenet", "regnet_y_400mf"}
IMAGE = projection((1, 3, 64, 64)).astype(np.float32)
HERE = Path("weights")


def some(names):
    return [name if name in SMALL else pytest.param(name, marks=pytest.mark.zoo) for name in names]


def torchvisions(name):
    network = getattr(torchvision.models, name)(**({"init_weights": False} if name == "googlenet" else {}))
    return network.eval()


def paddles(name):
    zero = paddle.nn.initializer.Constant(0.0)
    paddle.nn.initializer.set_global_initializer(zero, zero)
    try:
        batch_norm = {"batch_norm": True} if name.endswith("_bn") else {}
        network = getattr(paddle.vision.models, name.removesuffix("_bn"))(**batch_norm)
    finally:
        paddle.nn.initializer.set_global_initializer(None)
    network.eval()
    return network


def names_in(state, name, framework="torch"):
    """Return a file's tensors as the twin takes them."""
    return neutral(of_tensors(HERE, state, framework), blueprint.slots(name), NETWORKS[name].family)[:2]


def output(backend, network):
    """Return what the network makes of the image in float64."""
    with backend.double(network), backend.autograd(False):
        return backend.to_numpy(network(backend.to_tensor(IMAGE, network)))


def hold_against(backend, network, state, name):
    """Both twins with this State are the same function as each other, and as the network it came from."""
    slots = blueprint.slots(name)
    assert list(fitted(state, slots, name, "twin")[0]) == list(slots)
    twins = {}
    for each in (torch_backend, paddle_backend):
        twins[each] = each.build(name)
        each.set_state(twins[each], State(state), name)
    result = compare(twins[torch_backend], twins[paddle_backend], IMAGE, transfer=False)
    assert result.ok, str(result)
    whole = next(layer for layer in result.layers if layer.layer == "")
    wanted = output(backend, network)
    for each, twin in twins.items():
        assert distance(output(each, twin), wanted).relative <= whole.allowance


@pytest.mark.parametrize("name", ["alexnet", "googlenet"])
def test_paddles_own_alexnet_and_googlenet_are_refused_with_the_reason(name):
    with pytest.raises(ParityError, match=rf"weights: weights of paddle\.vision's {name}, which is another network"):
        names_in({own: value.numpy() for own, value in paddles(name).state_dict().items()}, name, "paddle")
    with pytest.raises(ParityError, match=rf"paddle\.vision's {name} is another network than torchvision's: it "):
        check_layout(name, "paddle.vision")


def test_an_unknown_layout_is_one_message_that_shows_both_sides():
    with pytest.raises(ParityError) as caught:
        names_in({f"backbone.{i}.w": np.zeros(1) for i in range(5)}, "resnet18")
    assert str(caught.value) == (
        "weights: unknown layout: none of its 5 names is one of the twins, torchvision and paddle.vision. "
        "It holds backbone.0.w, backbone.1.w, backbone.2.w and 2 more; "
        "expected names: conv.batch_norm.bias, conv.batch_norm.running_mean, conv.batch_norm.running_var and 99 more"
    )


def test_an_empty_file_is_an_unknown_layout():
    with pytest.raises(ParityError, match=r"weights: it holds no mapping of names to tensors, but a mapping of 0"):
        names_in({}, "resnet18")


def test_names_that_a_terminal_would_obey_are_shown_quoted():
    with pytest.raises(ParityError) as caught:
        names_in({"\x1b[2J": np.zeros(1)}, "resnet18")
    assert "\x1b" not in str(caught.value)


def test_two_spellings_of_one_tensor_are_refused():
    with pytest.raises(
        ParityError, match=r"conv1\.weight and conv\.conv\.weight are two tensors for the one conv\.conv"
    ):
        names_in({"conv1.weight": np.zeros(1), "conv.conv.weight": np.zeros(1)}, "resnet18")


@pytest.mark.parametrize("layout, name", [("torchvision", "lenet5"), ("paddle.vision", "regnet_x_8gf")])
def test_a_layout_that_lacks_the_network_is_refused(layout, name):
    with pytest.raises(ParityError, match=rf"{layout} has no {name}; only the twins have"):
        check_layout(name, layout)


def test_heads_that_only_training_uses_are_dropped_from_googlenet_and_from_nothing_else():
    extra = {"aux1.fc1.bias": np.zeros(3), "fc.bias": np.zeros(3)}
    assert list(names_in(extra, "googlenet")[0]) == ["fc.bias"]
    assert "aux1.fc1.bias" in names_in(extra, "resnet18")[0]


def test_the_densenets_that_torchvision_offers_for_download_are_older_than_its_names():
    old = "features.denseblock1.denselayer2.norm.1.running_mean"
    assert list(names_in({old: np.zeros(1)}, "densenet121")[0]) == [old.replace("norm.1", "norm1")]


@pytest.mark.parametrize("name", [name for name in STANDARD if not name.startswith("regnet")])
def test_names_and_shapes_are_torchvisions(name):
    """Of the largest networks too, without their memory. RegNet's builder computes with tensors: see the outputs."""
    with torch.device("meta"):
        network = torchvisions(name)
    tensors = {own: np.broadcast_to(np.float32(0), tuple(value.shape)) for own, value in network.state_dict().items()}
    assert fitted(names_in(tensors, name)[0], blueprint.slots(name), name, "twin")[1] == []


def test_a_blueprint_is_what_torch_builds():
    for name in NETWORKS:
        with torch.device("meta"):
            assert list(blueprint.slots(name).items()) == list(torch_backend.slots(torch_cnn.build(name)).items())
    assert list(blueprint.slots("lenet5", num_classes=3).values())[-1].shape == (3,)


def test_a_blueprint_leaves_torch_as_it_is():
    before = importlib.import_module("torch.nn").Conv2d
    blueprint.slots("densenet121")
    assert importlib.import_module("torch.nn").Conv2d is before is torch_cnn.densenet.nn.Conv2d


@pytest.mark.parametrize("name", some(STANDARD))
def test_torchvisions_weights_give_torchvisions_outputs(name):
    network = torchvisions(name)
    torch_backend.set_state(network, hardened_state(torch_backend.slots(network)))
    tensors = {own: torch_backend.to_numpy(value) for own, value in network.state_dict().items()}
    hold_against(torch_backend, network, names_in(tensors, name)[0], name)


@pytest.mark.parametrize("name", some(IN_PADDLE))
def test_paddles_weights_give_paddles_outputs(name):
    network = paddles(name)
    paddle_backend.set_state(network, hardened_state(paddle_backend.slots(network)))
    tensors = {own: value.numpy() for own, value in network.state_dict().items()}
    hold_against(paddle_backend, network, names_in(tensors, name, "paddle")[0], name)
