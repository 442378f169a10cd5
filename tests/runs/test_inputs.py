"""What `compare` takes as inputs, and how outputs of any structure are paired."""

import collections
import dataclasses
import itertools

import numpy as np
import paddle
import pytest
import torch

from parity import ParityError, compare
from parity.numerics.fixed_random import example
from parity.runs.inputs import from_objects, from_words
from parity.tracing.inputs import input_digest

IMAGE = np.random.default_rng(0).standard_normal((1, 3, 9, 9)).astype(np.float32)
IDS = np.array([[1, 0, 1]])
TENSORS = [torch.from_numpy(IMAGE), paddle.to_tensor(IMAGE), torch.from_numpy(IMAGE).requires_grad_(), IMAGE]


def twins(forward, other=None):
    """Two networks of a convolution `a` and `b`, whose forward is a function of the network and its arguments."""
    made = []
    for base, conv, code in (
        (torch.nn.Module, torch.nn.Conv2d, forward),
        (paddle.nn.Layer, paddle.nn.Conv2D, other or forward),
    ):
        kind = type("Net", (base,), {"forward": code})
        net = kind()
        net.a, net.b = conv(3, 4, 3), conv(3, 4, 3)
        net.eval()
        made.append(net)
    return made


@pytest.mark.parametrize("image", [*TENSORS, (1, 3, 9, 9), [1, 3, 9, 9], torch.Size([1, 3, 9, 9]), [IMAGE], (IMAGE,)])
def test_one_input_is_an_array_a_tensor_or_a_shape(image):
    assert compare(*twins(lambda self, x: self.a(x)), image).ok


def test_a_shape_is_the_input_of_the_command_line():
    (array,) = from_objects((2, 3, 8, 8))
    (named,) = from_words(["2,3,8,8"], None)
    (published,) = from_words(["2,3,8,8"], (1, 3, 224, 224))
    assert array.dtype == np.float32
    assert array.tobytes() == named.tobytes() == published.tobytes() == example((2, 3, 8, 8)).tobytes()
    assert 0.9 < array.std() < 1.1


@pytest.mark.parametrize(
    ("forward", "inputs"),
    [
        (lambda self, x, y: self.a(x) + self.b(y), [IMAGE, TENSORS[0]]),
        (lambda self, x, y: self.a(x) + self.b(y), [(2, 3, 9, 9), (2, 3, 9, 9)]),
        (lambda self, x, y: self.a(x) + self.b(y), {"y": IMAGE, "x": TENSORS[1]}),
        (lambda self, x, y: self.a(x) + self.b(y), {"y": (2, 3, 9, 9), "x": (2, 3, 9, 9)}),
        (lambda self, x, ids: self.a(x[ids[0]]), [np.repeat(IMAGE, 2, 0), IDS]),
        (lambda self, x, factor: self.a(x) * factor, [IMAGE, 0.5]),
        (lambda self, x, size: self.a(x) * size[0], {"x": IMAGE, "size": (4, 4)}),
        (lambda self, x, mask, flag: self.a(x) if mask is None and flag is True else x, [IMAGE, None, True]),
        (lambda self, inputs: self.a(inputs["image"]), {"image": IMAGE, "im_shape": np.ones((1, 2))}),
        (lambda self, xs: self.a(xs[0]) + self.b(xs[1]["y"]), [[IMAGE, {"y": IMAGE}]]),
        (lambda self, **named: self.a(named["x"]), {"x": IMAGE}),
        (lambda self, x, y=None: self.a(x) if y is None else x, IMAGE),
    ],
)
def test_inputs_by_position_by_name_as_one_dict_and_nested(forward, inputs):
    result = compare(*twins(forward), inputs)
    assert result.ok, str(result)
    assert any(layer.leaf for layer in result.layers)


def test_each_side_takes_a_dict_by_its_own_signature():
    named, whole = lambda self, image: self.a(image), lambda self, inputs: self.a(inputs["image"])
    assert compare(*twins(named, whole), {"image": IMAGE}).ok
    assert compare(*twins(whole, named), {"image": IMAGE}, gradients=True).ok


def test_a_file_is_read(tmp_path):
    np.save(tmp_path / "x.npy", IMAGE)
    assert compare(*twins(lambda self, x: self.a(x)), str(tmp_path / "x.npy")).ok
    picture = pytest.importorskip("PIL.Image").new("RGB", (20, 20), (255, 0, 0))
    picture.save(tmp_path / "x.png")
    (array,) = from_objects(tmp_path / "x.png")
    assert array.shape == (1, 3, 224, 224)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (IMAGE, "inputs: Net.forward takes (x, ids); 1 given by position. Give one for each, or name them"),
        (
            {"x": IMAGE},
            "inputs: Net.forward takes (x, ids); given by name: x. Give those names, or a list by position.",
        ),
        ({"x": IMAGE, "idz": IDS}, "inputs: Net.forward takes (x, ids); given by name: x, idz. Give those names"),
        ([IMAGE, "gone.jpg"], "inputs[1]: a str, and no file has this name: 'gone.jpg'. Give a numpy array"),
        ([IMAGE, object()], "inputs[1]: a object (dtype object) is no array of real numbers. Give"),
    ],
)
def test_inputs_that_do_not_fit_are_told_with_what_is_taken(inputs, words):
    with pytest.raises(ParityError) as caught:
        compare(*twins(lambda self, x, ids: self.a(x)), inputs)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_mistaken_does_not_turn_the_others_into_a_dict():
    with pytest.raises(ParityError, match=r"^inputs: Net.forward takes \(x, mask=None\); given by name: x, maks\."):
        compare(*twins(lambda self, x, mask=None: self.a(x)), {"x": IMAGE, "maks": IDS})


def test_different_inputs_have_different_digests():
    x, y = np.ones((2, 3)), np.zeros((2, 3))
    given = [
        [x],
        [y],
        [x, y],
        [y, x],
        {"a": x, "b": y},
        {"a": y, "b": x},
        [[x, y]],
        [[x], y],
        [x, 1],
        [x, True],
        [x, None],
    ]
    assert len({input_digest(each) for each in given}) == len(given)
    assert input_digest({"a": x, "b": y}) == input_digest({"b": y, "a": x})


Named = collections.namedtuple("Named", "out aux")


@dataclasses.dataclass
class Output:
    out: object
    aux: object = None


class Mapped(collections.OrderedDict):
    """As transformers' ModelOutput."""


FORMS = {
    "dict": lambda out, aux: {"out": out, "aux": aux},
    "reversed": lambda out, aux: {"aux": aux, "out": out},
    "mapped": lambda out, aux: Mapped(out=out, aux=aux),
    "named": Named,
    "dataclass": Output,
    "tuple": lambda out, aux: (out, aux),
    "list": lambda out, aux: [out, aux],
}


# By order alone, those in another order are other functions.
ALIKE = [
    (ours, theirs)
    for ours, theirs in itertools.product(FORMS, FORMS)
    if "reversed" not in (ours, theirs) or not {ours, theirs} & {"tuple", "list"}
]


@pytest.mark.parametrize(("ours", "theirs"), ALIKE)
def test_outputs_are_paired_by_key_else_by_order(ours, theirs):
    forward = lambda form: lambda self, x: FORMS[form](self.a(x), self.b(x))
    assert compare(*twins(forward(ours), forward(theirs)), IMAGE).ok


@pytest.mark.parametrize("form", ["dict", "mapped", "named", "dataclass", "tuple"])
def test_an_output_that_is_none_is_as_none_at_all(form):
    given = lambda self, x: FORMS[form](self.a(x), None)
    assert compare(*twins(given, lambda self, x: {"out": self.a(x)}), IMAGE).ok
    assert compare(*twins(lambda self, x: self.a(x), given), IMAGE).ok


def test_nested_outputs_are_paired_by_their_path():
    def ours(self, x):
        a, b = self.a(x), self.b(x)
        return {"boxes": [a, b], "more": Output(b)}

    def theirs(self, x):
        a, b = self.a(x), self.b(x)
        return {"more": {"out": b, "aux": None}, "boxes": (a, b)}

    assert compare(*twins(ours, theirs), IMAGE).ok
    result = compare(*twins(ours, lambda self, x: {"boxes": (self.a(x), self.b(x))}), IMAGE)
    assert "outputs of one side alone: more.out in the reference" in str(result)


@pytest.mark.parametrize("form", ["dict", "named", "dataclass", "tuple", "list"])
def test_outputs_that_are_swapped_are_named_so(form):
    def wrong(self, x):
        a, b = self.a(x), self.b(x)
        return FORMS[form](b, a)

    result = compare(*twins(lambda self, x: FORMS[form](self.a(x), self.b(x)), wrong), IMAGE)
    names = ("0", "1") if form in ("tuple", "list") else ("out", "aux")
    assert [culprit.explanation for culprit in result.culprits] == [
        "its outputs are right, in another order or by other names: "
        f"{names[0]} is {names[1]}, {names[1]} is {names[0]} in the candidate"
    ]


@pytest.mark.parametrize(
    ("words", "shapes"),
    [
        (["x=1,3,8,8", "ids=1,16:int64"], {"x": ((1, 3, 8, 8), "float32"), "ids": ((1, 16), "int64")}),
        (["1,3,8,8", "1,16:int64", "4:bool"], [((1, 3, 8, 8), "float32"), ((1, 16), "int64"), ((4,), "bool")]),
        (["1,3,8,8:float64"], [((1, 3, 8, 8), "float64")]),
    ],
)
def test_inputs_of_the_command_line(words, shapes):
    found = from_words(words, None)
    told = lambda array: (array.shape, str(array.dtype))
    named = isinstance(found, dict)
    assert ({name: told(array) for name, array in found.items()} if named else list(map(told, found))) == shapes
    for array in found.values() if named else found:
        assert array.dtype.kind == "f" or {*np.unique(array)} <= {0, 1}


def test_a_file_of_several_arrays_gives_them_by_name_or_order(tmp_path):
    np.savez(tmp_path / "named.npz", x=IMAGE, ids=IDS)
    np.savez(tmp_path / "plain.npz", IMAGE, IDS)
    assert {*from_words([str(tmp_path / "named.npz")], None)} == {"x", "ids"}
    assert [array.shape for array in from_words([str(tmp_path / "plain.npz")], None)] == [(1, 3, 9, 9), (1, 3)]
    (tmp_path / "cut.npz").write_bytes((tmp_path / "named.npz").read_bytes()[:200])
    with pytest.raises(ParityError, match=r"^--input .*cut\.npz: not a \.npz file of numbers"):
        from_words([str(tmp_path / "cut.npz")], None)
    with pytest.raises(ParityError, match=r"^--input .*gone\.npz: cannot read: No such file"):
        from_words([str(tmp_path / "gone.npz")], None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x=1,3,8,8", "1,16:int64"], "--input 1,16:int64: name all inputs, or none: NAME=..."),
        (["x=1,3,8,8", "x=1,2"], "--input: two inputs are called x"),
        (["1,16:complex"], "--input 1,16:complex: no dtype 'complex'; one of float16, float32, "),
        (["1,16:int7"], "--input 1,16:int7: no dtype 'int7'; one of float16, float32, "),
        (["1,0"], "--input 1,0: a shape's numbers are each at least 1, found 1,0"),
        (["x=gone.png"], "--input gone.png: No such file"),
    ],
)
def test_words_that_are_no_inputs_are_one_line(words, message):
    with pytest.raises(ParityError) as caught:
        from_words(words, None)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
