"""The examples in docstrings are run, and what users call first has one."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

import parity
from parity.numerics.pooling import Pool
from parity.runs.compare import compare_models

PACKAGE = Path(parity.__file__).parent
FRAMEWORKS = ("import torch", "from torch", "import paddle", "from paddle", "with Workers(")


def modules():
    """Return every module with an example, the ones without a framework marked core."""
    for path in sorted(PACKAGE.rglob("*.py")):
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if hasattr(node, "body")]
        documented = [node for node in nodes if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))]
        text = "\n".join(ast.get_docstring(node) or "" for node in documented)
        if ">>>" in text:
            name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
            yield pytest.param(name, marks=[] if any(word in text for word in FRAMEWORKS) else [pytest.mark.core])


def run(name, globs, subject):
    """Run the examples of a subject's docstrings and return how many were attempted and failed."""
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(subject, name, globs=globs):
        _ = runner.run(test)
    return runner.summarize(verbose=False)


@pytest.mark.core
def test_an_example_that_is_wrong_is_found(capsys):
    def wrong():
        """Return nothing.

        >>> 1 + 1
        3
        """

    assert run("wrong", {}, wrong).failed == 1
    assert "Expected:\n    3" in capsys.readouterr().out


@pytest.mark.parametrize("name", list(modules()))
def test_examples(name):
    module = importlib.import_module(name)
    result = run(name, vars(module).copy(), module)
    assert result.attempted
    assert not result.failed


@pytest.mark.core
@pytest.mark.parametrize("subject", [parity.State, parity.Trace, parity.compare, Pool, compare_models])
def test_what_users_call_first_has_an_example(subject):
    assert ">>> " in subject.__doc__
