"""SPECs: what a text names, called with literals alone, and never with weights that would be downloaded."""

import subprocess
import sys

import pytest
from program import run

from parity.errors import ParityError
from parity.processes.models import Model, parse_model
from parity.processes.spec import built, parse_spec

CODE = """
import enum
from torch import nn

class Weights(enum.Enum):
    IMAGENET = 1

def net(eps=1e-5, *, names=()):
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=eps))
    made.names = names
    return made

def needs(depth, width, pretrained): ...
def old(pretrained): assert pretrained is False; return net()
def downloads(pretrained=True): assert pretrained is False; return net()
def chosen(weights=Weights.IMAGENET, weights_backbone="DEFAULT"):
    assert (weights, weights_backbone) == (None, None)
    return net()
def asked(pretrained=True): assert pretrained is True; return net()
def losses(weights=(1.0, 2.0)): assert weights == (1.0, 2.0); return net()
def plain(pretrained=False, weights=None, **more): return net()
def positional(pretrained, /): ...
def broken(): raise KeyError("gone")

class Net(nn.Sequential):
    @classmethod
    def build(cls, width=4): return cls(nn.Conv2d(3, width, 3))
    @staticmethod
    def load(path): raise AssertionError("not called")

class Holder:
    network = net(eps=0.25)
    number = 3
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "made.py").write_text(CODE)
    return f"{tmp_path}/made.py"


def refused(text):
    with pytest.raises(ParityError) as caught:
        built(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("(__import__('os').getcwd())", "__import__('os').getcwd() is no literal: numbers, text"),
        ("(eps=open('x'))", "open('x') is no literal"),
        ("(eps=net())", "net() is no literal"),
        ("(eps)", "eps is no literal"),
        ("(*(1, 2))", "*(1, 2) is no literal"),
        ("(**{'eps': 1})", "name each argument, once"),
        ("(eps=1)(2)", "one call, with its arguments in brackets"),
        ("(1) + f(2)", "one call, with its arguments in brackets"),
        ("(eps=1", "not MODULE_OR_FILE.py:callable"),
        ("(eps=)", "the arguments are not Python"),
        (")(", "not MODULE_OR_FILE.py:callable"),
        (".", "not MODULE_OR_FILE.py:callable"),
    ],
)
def test_only_literals_are_arguments_and_nothing_is_run(file, arguments, words):
    text = f"{file}:net{arguments}"
    with pytest.raises(ParityError) as caught:
        parse_model(f"torch:{text}")  # before any process is started
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_deep_brackets_are_no_crash(file):
    with pytest.raises(ParityError, match=r"the arguments are not Python|is no literal"):
        parse_spec(f"{file}:net({'[' * 5000}{']' * 5000})")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "needs",
            "needs depth, width; give a callable without arguments, or literals in a SPEC: needs(depth=..., width=...)",
        ),
        ("needs(18)", "needs: needs width; give a callable"),
        ("net(esp=1)", "net: got an unexpected keyword argument 'esp'; it takes (eps=1e-05, *, names=())"),
        ("net(1, 2)", "net: too many positional arguments; it takes"),
        ("positional", "positional: takes pretrained by position only; give it: positional(False)"),
        ("Holder.network(3)", "Holder.network is a network already"),
        ("Holder.number", "Holder.number is an object of type int, which is not a network"),
    ],
)
def test_a_builder_that_needs_something_else_is_told_in_one_line(file, text, words):
    assert words in refused(f"{file}:{text}")


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("old", ["old was called with pretrained=False"]),
        ("downloads", ["downloads was called with pretrained=False"]),
        ("chosen", ["chosen was called with weights=None, weights_backbone=None"]),
        ("asked(pretrained=True)", []),
        ("asked(True)", []),
        ("losses", []),
        ("plain", []),
        ("net", []),
    ],
)
def test_trained_weights_are_not_asked_for_unless_the_user_does(file, text, notes):
    made = built(f"{file}:{text}")
    assert made.notes == notes
    if notes:
        assert made.source.code == f"{text}({notes[0].partition(' with ')[2]})"


def test_literals_are_given_by_position_and_by_name(file):
    network, _, source = built(f"{file}:net(0.5, names=['a:b(c)', {{'d': (1, None, True)}}])")
    assert network[1].eps == 0.5
    assert network.names == ["a:b(c)", {"d": (1, None, True)}]
    assert source.code == "net(0.5, names=['a:b(c)', {'d': (1, None, True)}])"


def test_a_dotted_attribute_and_a_network_that_exists_are_found(file):
    assert built(f"{file}:Net.build(width=7)")[0][0].out_channels == 7
    assert built(f"{file}:Net.build")[0][0].out_channels == 4
    assert built(f"{file}:Holder.network")[0][1].eps == 0.25
    network = built("torch.nn:Conv2d(3, 4, kernel_size=(1, 3))")[0]  # a class is called too
    assert network.kernel_size == (1, 3)


def test_a_file_may_have_colons_and_brackets_in_its_name(tmp_path):
    for name in ("a:b.py", "net (1).py"):
        (tmp_path / name).write_text(CODE)
        assert built(f"{tmp_path}/{name}:net(eps=0.5)")[0][1].eps == 0.5


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("torchvision.models:resnet18(num_classes=10)", "resnet18"),
        ("pkg.nets:ResNet.build", "ResNet"),
        ("pkg.nets:ResNet.small(1)", "small"),
        ("nets/port.py:make(a={'b': 1})", "port"),
    ],
)
def test_arguments_are_no_part_of_the_name(target, name):
    assert Model("torch", target).name == name


def test_two_callables_of_one_framework_are_compared_with_their_arguments(file):
    same = run("compare", f"torch:{file}:net(1e-3)", f"torch:{file}:downloads", "--input", "1,3,8,8")
    assert same.returncode == 1
    assert "note: in the candidate, downloads was called with pretrained=False" in same.stdout
    assert "eps" in same.stdout.splitlines()[-1]
    right = run("compare", f"torch:{file}:net(1e-3)", f"torch:{file}:net(eps=1e-3)", "--input", "1,3,8,8", "-q")
    assert (right.returncode, right.stderr) == (0, "")
    broken = run("compare", f"torch:{file}:broken", f"torch:{file}:needs", "--input", "1,3,8,8", "-q")
    assert broken.returncode == 2
    assert len(broken.stderr.splitlines()) == 1


def test_a_file_of_a_package_has_its_relative_imports(tmp_path):
    folder = tmp_path / "zoo" / "nets"
    folder.mkdir(parents=True)
    (tmp_path / "zoo" / "__init__.py").write_text("")
    (tmp_path / "zoo" / "width.py").write_text("WIDTH = 7\n")
    (folder / "made.py").write_text("from ..width import WIDTH\nfrom .parts import conv\nnet = lambda: conv(WIDTH)\n")
    (folder / "parts.py").write_text("from torch import nn\nconv = lambda width: nn.Conv2d(3, width, 1)\n")
    done = run("compare", *[f"torch:{folder}/made.py:net"] * 2, "--input", "1,3,8,8", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    other = tmp_path / "other" / "zoo" / "nets"
    other.mkdir(parents=True)
    (other / "made.py").write_text("from . import gone\n")
    (other.parent / "__init__.py").write_text("")
    code = f"""
from parity.processes.spec import built
assert built("{folder}/made.py:net").source.module == "zoo.nets.made"
built("{other}/made.py:net")
"""
    one = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert one.stderr.splitlines()[-1].endswith("called zoo.nets.made; give the two in two processes")


def test_a_file_finds_what_lies_where_the_program_was_started(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "shared_parts.py").write_text(CODE)
    (tmp_path / "deep" / "made.py").write_text("from shared_parts import net\n")
    code = "from parity.processes.spec import built; built('deep/made.py:net')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
