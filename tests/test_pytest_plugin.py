"""The pytest plugin, as another project's tests meet it: each suite runs in a pytest of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

NETS = """
import torch
from torch import nn

def net(eps=1e-5):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=eps)).eval()
"""


def suite(folder, code, *words, **more):
    """Run a file of tests, and return what pytest printed, and its exit code."""
    (folder / "nets.py").write_text(NETS)
    (folder / "test_it.py").write_text(code)
    # Where the package is installed, its entry point would register the plugin a second time.
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment |= more
    command = [sys.executable, "-m", "pytest", "-p", "parity.pytest_plugin", "-p", "no:cacheprovider", "-rs", *words]
    done = subprocess.run(
        [*command, "test_it.py"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr, done.returncode


def test_a_difference_fails_with_the_verdict_first_and_without_our_own_code(tmp_path):
    code = """
from nets import net

def test_port(assert_parity):
    assert_parity(net(), net(eps=1e-3), (1, 3, 8, 8))
"""
    shown, status = suite(tmp_path, code)
    assert status == 1
    errors = [line for line in shown.splitlines() if line.startswith("E  ")]
    assert (
        errors[0].split(None, 1)[1].startswith("AssertionError: Sequential: different: 1: eps differs: reference=1e-05")
    )
    assert any("first divergence: inside 1" in line for line in errors)
    assert any("culprit: 1: eps differs" in line for line in errors)
    assert "test_it.py:5" in shown
    assert "pytest_plugin.py" not in shown
    assert "parity/runs" not in shown


def test_an_error_that_the_user_can_fix_fails_in_one_line(tmp_path):
    code = """
from nets import net

def test_port(assert_parity):
    assert_parity(net(), net(), (1, 5, 8, 8))
"""
    shown, status = suite(tmp_path, code)
    assert status == 1
    (line,) = [line for line in shown.splitlines() if line.startswith("E  ")]
    assert line.split(None, 1)[1] == "AssertionError: 0: Conv2d takes 3 channels, its input's shape is (1, 5, 8, 8)."
    assert "parity/" not in shown


def test_what_agrees_passes_and_is_returned_with_options_and_as_text(tmp_path):
    code = """
from nets import net

def test_port(assert_parity):
    result = assert_parity(net(), net(), (1, 3, 8, 8), gradients=True)
    assert result.ok and result.verdict in ("exact", "rounding")

def test_option(assert_parity):
    one, other = net(), net()
    import pytest
    with pytest.raises(AssertionError, match="^Sequential: different: 0: weight"):
        assert_parity(one, other, (1, 3, 8, 8), transfer=False)

def test_text(assert_parity):
    assert_parity("torch:nets:net(eps=1e-3)", net(eps=1e-3), (1, 3, 8, 8))
    assert_parity("torch:lenet5", "torch:lenet5", (1, 1, 28, 28))
"""
    shown, status = suite(tmp_path, code)
    assert status == 0, shown
    assert "3 passed" in shown


def test_a_framework_that_is_absent_skips_with_the_reason_and_other_modules_do_not(tmp_path):
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "paddle.py").write_text("raise ModuleNotFoundError('no', name='paddle')\n")
    code = """
import pytest
from nets import net

def port():
    import paddle
    return paddle.nn.Conv2D(3, 4, 3)

def broken():
    import gone_for_good

def test_text(assert_parity):
    assert_parity(net(), "paddle:lenet5", (1, 3, 8, 8))

def test_callable(assert_parity):
    assert_parity(net(), port, (1, 3, 8, 8))

def test_broken(assert_parity):
    with pytest.raises(AssertionError, match="gone_for_good"):
        assert_parity(net(), broken, (1, 3, 8, 8))
"""
    path = f"{tmp_path / 'absent'}{os.pathsep}{ROOT}{os.pathsep}{tmp_path}"
    shown, status = suite(tmp_path, code, PYTHONPATH=path)
    assert status == 0, shown
    assert shown.count("paddle is not installed") == 2
    assert "1 passed, 2 skipped" in shown


@pytest.mark.parametrize("words", [(), ("--collect-only",)])
def test_nothing_heavy_is_loaded_where_nobody_asks(tmp_path, words):
    code = """
import sys

HEAVY = {"numpy", "torch", "paddle", "safetensors", "rich", "typer"}
LOADED = HEAVY & set(sys.modules)
print("loaded at collection:", sorted(LOADED))

def test_start(request):
    assert LOADED == set()
    assert request.config.pluginmanager.has_plugin("parity.pytest_plugin")
"""
    shown, status = suite(tmp_path, code, "-s", *words)
    assert status == 0, shown
    assert "loaded at collection: []" in shown


@pytest.mark.core
def test_the_plugin_is_an_entry_point_of_the_package():
    assert '[project.entry-points.pytest11]\nparity = "parity.pytest_plugin"\n' in (ROOT / "pyproject.toml").read_text()
