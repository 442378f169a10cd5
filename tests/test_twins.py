"""Twins are one text spelt twice: the Paddle file, respelt, is the torch file. EXCEPTIONS holds what truly differs."""

import ast
import difflib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path.name for path in (ROOT / "torch_cnn").glob("*.py"))

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
EXCEPTIONS: dict[str, list[tuple[str, str, str]]] = {}


def respelt(text):
    for pattern, to in SPELLING:
        text = re.sub(pattern, to, text)
    return text


def lines(text):
    """Return the code's lines in one layout, without docstrings: those name their own framework."""
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
    return list(difflib.unified_diff(text.splitlines(), lines(torch_text), "paddle_cnn", "torch_cnn", lineterm="", n=1))


def test_a_difference_is_found():
    ours = "class A(nn.Layer):\n  'In Paddle.'\n  def forward(self, x):\n    return nn.Conv2D(1, 2, 3, stride=2)(x)\n"
    theirs = ours.replace("Paddle", "PyTorch").replace("Layer", "Module").replace("2D", "2d")
    assert differences(ours, theirs) == []
    assert differences(ours, theirs.replace("stride=2", "stride=1"))
    assert differences(ours, theirs.replace("return", "y ="))


def test_an_exception_that_is_no_longer_needed_is_found():
    assert differences("a = 1", "a = 1", [("b", "c", "why")]) == ["an exception that is no longer needed: 'b'"]


def test_both_packages_hold_the_same_files():
    assert sorted(path.name for path in (ROOT / "paddle_cnn").glob("*.py")) == FILES


@pytest.mark.parametrize("name", FILES)
def test_twins_are_the_same_text(name):
    ours, theirs = (ROOT / package / name for package in ("paddle_cnn", "torch_cnn"))
    found = differences(ours.read_text(), theirs.read_text(), EXCEPTIONS.get(name, ()))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", FILES)
def test_twins_say_the_same_but_for_their_framework(name):
    """Docstrings too: only the framework's own name and the pointer to the twin may differ."""
    ours, theirs = (
        re.sub(
            r"PaddlePaddle|PyTorch|paddle_cnn|torch_cnn|\bpaddle\.[\w.]+|\btorch\.[\w.]+",
            "*",
            respelt(path.read_text()),
        )
        for path in (ROOT / "paddle_cnn" / name, ROOT / "torch_cnn" / name)
    )
    documented = [
        [ast.get_docstring(node) for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Module, ast.ClassDef))]
        for text in (ours, theirs)
    ]
    assert documented[0] == documented[1]
