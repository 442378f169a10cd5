"""What `compare` says of networks and inputs that it cannot compare: one line, with the layer."""

import contextlib
import re
import sys
import types

import numpy as np
import paddle
import pytest
import torch

from parity import ParityError, compare, errors
from parity.errors import place, said

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


def own(nn, code):
    """A network with a layer `conv`, whose forward is `code`."""
    net = type("Own", (nn.Module if nn is torch.nn else nn.Layer,), {"forward": code})()
    net.conv = (nn.Conv2d if nn is torch.nn else nn.Conv2D)(3, 4, 3)
    net.view = Reshaped() if nn is torch.nn else PaddleReshaped()
    return net


class Reshaped(torch.nn.Module):
    def forward(self, x):
        return x.reshape(1, 7)


class PaddleReshaped(paddle.nn.Layer):
    def forward(self, x):
        return x.reshape([1, 7])


def asserts(self, x):
    assert x.shape[1] == 4


def attribute(self, x):
    return self.cnov(x)


def views(self, x):
    return self.view(self.conv(x))


@pytest.mark.parametrize("nn", [torch.nn, paddle.nn], ids=["torch", "paddle"])
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (asserts, r"Own: AssertionError: "),
        (attribute, r"Own: AttributeError: .*'?Own'? object has no attribute 'cnov'"),
        (
            views,
            r"view: (RuntimeError: shape '\[1, 7\]' is invalid|ValueError: \(InvalidArgument\) The 'shape' in Res)",
        ),
    ],
)
def test_an_error_of_any_kind_is_one_line_with_the_layer_the_file_and_the_line(nn, code, words):
    error = refused(own(nn, code))
    code = code if code is not views else (Reshaped if nn is torch.nn else PaddleReshaped).forward
    assert re.match(words, str(error))
    assert str(error).endswith(f"({__file__}:{code.__code__.co_firstlineno + 1})")
    assert not re.search(r"\[Hint|/paddle/|---|C\+\+", str(error))


def test_an_error_out_of_a_frameworks_layer_is_placed_where_the_user_called_it():
    called = lambda self, x: self.conv(x, 3)
    line = called.__code__.co_firstlineno
    words = rf"conv: TypeError: .*\({re.escape(__file__)}:{line}\)"
    assert re.fullmatch(words, str(refused(own(torch.nn, called))))


def test_a_users_own_handling_of_an_error_is_left_alone():
    def guarded(self, x):
        try:
            return self.view(x)
        except RuntimeError:
            return self.conv(x)

    assert compare(own(torch.nn, guarded), own(torch.nn, guarded), IMAGE).ok


@pytest.mark.parametrize("end", [SystemExit(3), KeyboardInterrupt()])
def test_the_end_of_a_program_is_no_error_of_a_layer(end):
    def ends(self, x):
        raise end

    network = own(torch.nn, ends)
    with pytest.raises(type(end)):
        compare(network, network, IMAGE)
    assert "forward" not in vars(network)


BOX = """

--------------------------------------
C++ Traceback (most recent call last):
--------------------------------------
0   paddle::pybind::eager_api_conv2d(_object*, _object*, _object*)
1   phi::ConvInferMeta(phi::MetaTensor const&)

----------------------
Error Message Summary:
----------------------
InvalidArgumentError: The channels are 5.
  [Hint: Expected channels == 3, but received 5 != 3.] (at /paddle/phi/infermeta/binary.cc:642)
  [operator < conv2d > error]
"""
STACK = """CUDA error: no kernel image
Exception raised from check at /pytorch/c10/cuda/CUDAException.cpp:44 (most recent call first):
frame #0: c10::Error::Error(c10::SourceLocation, std::string) + 0x98
"""


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (BOX, "InvalidArgumentError: The channels are 5."),
        (STACK, "CUDA error: no kernel image"),
        ("two\n  lines", "two lines"),
        ("", "no message"),
        ("x" * 900, "x" * 400),
    ],
)
def test_a_frameworks_box_is_cut_to_its_sentence(message, sentence):
    assert said(ValueError(message)) == sentence


@pytest.mark.parametrize(
    ("calls", "found"),
    [
        ([("/a/test.py", "test")], "/a/test.py"),  # a module of Python's own has this name
        ([("/a/net.py", "net"), ("/v/site-packages/torch/nn.py", "torch.nn")], "/a/net.py"),
        ([("/a/net.py", "net"), ("/v/site-packages/timm/vit.py", "timm.vit")], "/a/net.py"),
        ([("/v/site-packages/timm/vit.py", "timm.vit")], "/v/site-packages/timm/vit.py"),
        ([("/a/net.py", "net"), (contextlib.__file__, "contextlib")], "/a/net.py"),
        ([("/a/net.py", "net"), ("<eval_with_key>.3", "x")], "/a/net.py"),
        ([("<ipython-input-3-f>", "__main__"), (errors.__file__, "__main__")], "<ipython-input-3-f>"),
        ([("/v/site-packages/torch/nn.py", "torch.nn")], ""),
    ],
)
def test_the_place_of_an_error_is_the_innermost_code_of_the_users(calls, found):
    inner = lambda: 1 / 0
    for file, name in reversed(calls):
        space = {"__name__": name, "inner": inner}
        exec(compile("\ndef call():\n    return inner()", file, "exec"), space)
        inner = space["call"]
    with pytest.raises(ZeroDivisionError) as caught:
        inner()
    frame = caught.value.__traceback__.tb_next  # without this function, and without the lambda at the end
    steps = []
    while frame.tb_next is not None:
        steps.append(frame)
        frame = frame.tb_next
    chain = None
    for step in reversed(steps):
        chain = types.TracebackType(chain, step.tb_frame, step.tb_lasti, step.tb_lineno)
    assert place(caught.value.with_traceback(chain)) == (f" ({found}:3)" if found else "")


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
