"""Twins are one text spelt twice: the Paddle file, respelt, is the torch file. EXCEPTIONS holds what truly differs."""

import ast
import difflib
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.core

ROOT = Path(__file__).parent.parent.parent
FILES = sorted(path.name for path in (ROOT / "torch_cnn").glob("*.py"))

# Files without a twin, and why.
ALONE = {
    "pooling.py": "Paddle layers that place torch's windows under ceil_mode: torch's own are the twins",
    "batch_norm.py": "a Paddle layer that keeps torch's running variance: torch's own is the twin",
}

# Paddle's spelling (a pattern) and torch's.
SPELLING = (
    (r"\bpaddle_cnn\b", "torch_cnn"),
    (r"\bpaddle\b", "torch"),
    (r"\bnn\.Layer\b", "nn.Module"),
    (r"\b([A-Z]\w*)2D\b", r"\g<1>2d"),
    (r"\bbias_attr\b", "bias"),
    (r"\bepsilon\b", "eps"),
    (r"\bconcat\b", "cat"),
    (r"\baxis\b", "dim"),
)

# By file: what the respelt Paddle text has in place of torch's text, and why. This list documents the port.
EXCEPTIONS: dict[str, list[tuple[str, str, str]]] = {
    "densenet.py": [
        (
            "from torch.distributed.fleet.utils import recompute\nFROZEN = {'_momentum': 1.0}\n"
            "he_normal = nn.initializer.KaimingNormal()\nones = nn.initializer.Constant(1.0)\n"
            "zeros = nn.initializer.Constant(0.0)",
            "from torch.nn.init import kaiming_normal_ as he_normal\nfrom torch.nn.init import ones_ as ones\n"
            "from torch.nn.init import zeros_ as zeros\nfrom torch.utils.checkpoint import checkpoint as recompute\n"
            "FROZEN = {'momentum': 0.0, 'num_batches_tracked': None}",
            "recomputation and initialisers live elsewhere; Paddle's momentum is the share kept; it counts no batches",
        )
    ],
}


def respelt(text):
    for pattern, to in SPELLING:
        text = re.sub(pattern, to, text)
    return text


def lines(text):
    """Return the code in one layout, without docstrings: those name their own framework."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        if documented and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree).splitlines()


def differences(paddle_text, torch_text, exceptions=()):
    """Return where the respelt Paddle text and torch's text part, the exceptions applied."""
    text = "\n".join(lines(respelt(paddle_text)))
    for ours, theirs, _ in exceptions:
        if ours not in text:
            return [f"an exception that is no longer needed: {ours!r}"]
        text = text.replace(ours, theirs)
    return list(
        difflib.unified_diff(text.splitlines(), lines(respelt(torch_text)), "paddle_cnn", "torch_cnn", lineterm="", n=1)
    )


def test_a_difference_is_found():
    ours = "class A(nn.Layer):\n  'In Paddle.'\n  def forward(self, x):\n    return nn.Conv2D(1, 2, 3, stride=2)(x)\n"
    theirs = ours.replace("Paddle", "PyTorch").replace("Layer", "Module").replace("2D", "2d")
    assert differences(ours, theirs) == []
    assert differences(ours, theirs.replace("stride=2", "stride=1"))
    assert differences(ours, theirs.replace("return", "y ="))


def test_an_exception_that_is_no_longer_needed_is_found():
    assert differences("a = 1", "a = 1", [("b", "c", "why")]) == ["an exception that is no longer needed: 'b'"]


def test_both_packages_hold_the_same_files():
    assert sorted(path.name for path in (ROOT / "paddle_cnn").glob("*.py")) == sorted([*FILES, *ALONE])


@pytest.mark.parametrize("name", FILES)
def test_twins_are_the_same_text(name):
    ours, theirs = (ROOT / package / name for package in ("paddle_cnn", "torch_cnn"))
    found = differences(ours.read_text(), theirs.read_text(), EXCEPTIONS.get(name, ()))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", FILES)
def test_twins_say_the_same_but_for_their_framework(name):
    """Docstrings too: only the framework's own name and the pointer to the twin may differ."""
    documented = []
    for package in ("paddle_cnn", "torch_cnn"):
        nodes = ast.walk(ast.parse(respelt((ROOT / package / name).read_text())))
        texts = [ast.get_docstring(node) or "" for node in nodes if isinstance(node, (ast.Module, ast.ClassDef))]
        documented.append([re.sub(r"PaddlePaddle|PyTorch|\b(paddle|torch)_cnn\b", "*", text) for text in texts])
    assert documented[0] == documented[1]
