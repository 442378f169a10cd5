"""What `compare` says of networks and inputs that it cannot compare: one line, with the layer."""

import re
import sys

import numpy as np
import paddle
import pytest
import torch

from parity import ParityError, compare

IMAGE = np.ones((1, 3, 8, 8), np.float32)


def within(nn, made):
    """A network whose layer "1" gives what `made` makes of the output of layer "0"."""

    class Own(nn.Module if nn is torch.nn else nn.Layer):
        def forward(self, x):
            return made(x)

    return nn.Sequential((nn.Conv2d if nn is torch.nn else nn.Conv2D)(3, 4, 3), Own())


def refused(network, inputs=IMAGE):
    with pytest.raises(ParityError) as caught:
        compare(network, network, inputs)
    assert "\n" not in str(caught.value)
    return caught.value


def missing_key(x):
    return {}["k"]


def too_long(x):
    return too_long(x)


@pytest.mark.parametrize("nn", [torch.nn, paddle.nn], ids=["torch", "paddle"])
def test_an_error_in_a_users_forward_names_the_layer_the_file_and_the_line(nn):
    error = refused(within(nn, missing_key))
    line = missing_key.__code__.co_firstlineno + 1
    assert str(error) == f"1: KeyError: 'k' ({__file__}:{line})"
    assert isinstance(error.__cause__, KeyError)
    assert "RecursionError" in str(refused(within(nn, too_long)))


def test_an_error_within_the_framework_is_placed_where_the_user_called_it():
    error = refused(within(torch.nn, lambda x: torch.nn.functional.linear(x, torch.ones(2, 99))))
    assert re.fullmatch(r"1: RuntimeError: mat1 and mat2 shapes .*\(.*test_live\.py:\d+\)", str(error))


def test_an_error_of_the_frameworks_own_layer_has_no_place():
    error = refused(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LayerNorm(7)))
    assert str(error).startswith("1: RuntimeError: Given normalized_shape=[7]")
    assert ".py" not in str(error)


@pytest.mark.parametrize(
    ("nn", "made"),
    [
        (torch.nn, lambda x: x.to_sparse()),
        (torch.nn, lambda x: torch.quantize_per_tensor(x.float(), 0.1, 0, torch.quint8)),
        (torch.nn, lambda x: torch.complex(x, x)),
        (paddle.nn, lambda x: x.to_sparse_coo(2)),
    ],
    ids=["sparse", "quantised", "complex", "paddle-sparse"],
)
def test_an_output_that_numpy_or_a_trace_cannot_hold_names_the_layer(nn, made):
    assert str(refused(within(nn, made))).startswith("1: takes or returns a tensor that cannot be compared: ")


def test_weights_that_do_not_exist_yet_are_refused_by_name():
    assert str(refused(torch.nn.Sequential(torch.nn.LazyConv2d(4, 3)))).startswith("0.weight: not initialised yet. Run")
    with paddle.LazyGuard():
        network = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3))
    assert str(refused(network)).startswith("0.weight: not initialised yet. Call")


@pytest.mark.parametrize("depth", [300, 1500])
def test_layers_nested_deeper_than_python_calls_are_refused(depth):
    network = torch.nn.Conv2d(3, 3, 1)
    for _ in range(depth):
        network = torch.nn.Sequential(network)
    error = refused(network)
    assert f"the limit is {sys.getrecursionlimit()} calls" in str(error)
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ("abc", "inputs: a str, and no file has this name: 'abc'. Give a numpy array or tensor, a shape "),
        ("gone.npy", "inputs gone.npy: cannot read: No such file"),
        (__file__, "inputs: .*test_live.py: not a picture that can be read; give a JPEG or PNG. Give a numpy "),
        (None, "inputs: a NoneType "),
        ({"x": IMAGE}, r"0: TypeError: .*; given one dict \(x\), as Sequential.forward takes no such names"),
        (1j, "inputs: a complex "),
        ([IMAGE, "s"], r"inputs\[1\]: a str, and no file "),
        ([[1, [2]]], r"inputs\[0\]: no numpy array can be made of this list: "),
        ({"x": [IMAGE, {3}]}, r"inputs\['x'\]\[1\]: a set "),
        ((1, 0, 8, 8), "inputs: a shape's numbers are each at least 1, found 1,0,8,8"),
        ((1, 3, 10**6, 10**6), "inputs: too large for this machine: 1,3,1000000,1000000"),
        (torch.ones(1, 3, 8, 8).to_sparse(), "inputs: no numpy array can be made of this Tensor: "),
    ],
)
def test_inputs_that_are_no_arrays_are_refused_by_that_name(inputs, words):
    assert re.match(words, str(refused(within(torch.nn, missing_key), inputs)))


def test_too_many_inputs_are_told_of_the_network():
    words = "inputs: Sequential.forward takes (input); 2 given by position. Give one for each, or name them."
    assert str(refused(within(torch.nn, missing_key), [IMAGE, IMAGE])) == words
