"""docs/port-a-network.md: its commands are run as it says, and print what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from program import environment, run

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "port-a-network.md").read_text(encoding="utf-8")
# What is measured, and differs a little from run to run.
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def code(marker):
    (block,) = [each for each in re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S) if marker in each]
    return block


def printed(section):
    """Return the commands of a section of the page, each with the lines it prints; "..." stands for any."""
    rest = re.sub(r"^```python\n.*?^```$", "", PAGE.split(f"## {section}")[1].split("\n## ")[0], flags=re.M | re.S)
    text = "\n".join(re.findall(r"^```\n(.*?)^```", rest, re.M | re.S))
    return [(each.splitlines()[0], each.splitlines()[1:]) for each in re.split(r"^\$ ", text, flags=re.M)[1:]]


def done_by(command, folder):
    program, *words = command.split()
    if program == "parity":
        return run(*words, cwd=folder)
    paths = environment(PYTHONPATH=str(ROOT), PYTHONWARNINGS="ignore")
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, env=paths, check=False)


def shape(line):
    """Return a line without its measured numbers."""
    return NUMBER.sub("#", line.split("...")[0].rstrip())


def assert_prints(command, lines, folder, code):
    done = done_by(command, folder)
    assert done.returncode == code, done.stderr
    shown = [shape(line) for line in done.stdout.splitlines()]
    for line in lines:
        if line != "...":
            assert any(each.startswith(shape(line)) for each in shown), (line, done.stdout)


def test_the_page_is_true(tmp_path):
    (tmp_path / "original.py").write_text(code("from torch import nn"))
    (tmp_path / "port.py").write_text(code("from paddle import nn"))
    ((command, lines),) = printed("2.")
    assert_prints(command, lines, tmp_path, 0)
    corrections = re.findall(r"becomes `(nn\.\w+)(\(.*?\))`", PAGE)
    comparisons = printed("4.")
    assert len(comparisons) == len(corrections) + 1
    for number, (command, lines) in enumerate(comparisons):
        assert_prints(command, lines, tmp_path, int(number < len(corrections)))
        if number < len(corrections):
            layer, arguments = corrections[number]
            port = (tmp_path / "port.py").read_text()
            changed = re.sub(rf"{re.escape(layer)}\(.*?\)", f"{layer}{arguments}", port)
            assert changed != port
            (tmp_path / "port.py").write_text(changed)
    (tmp_path / "carry.py").write_text(code("compare(model, layer"))
    (tmp_path / "cat.png").write_bytes((ROOT / "parity" / "astronaut.png").read_bytes())
    for command, lines in (*printed("5."), *printed("6.")):
        assert_prints(command, lines, tmp_path, 0)


@pytest.mark.core
@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_both_readmes_lead_to_the_page(page):
    assert "docs/port-a-network.md" in (ROOT / page).read_text(encoding="utf-8")
