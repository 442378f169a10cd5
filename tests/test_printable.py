"""What others have written is shown, never obeyed: names of layers and files, messages of libraries."""

import json
import re
import subprocess

import pytest
from program import HERE, PROGRAM, environment, run
from rich.console import Console
from rich.text import Text

from parity.printable import printable
from parity.reports.tables import Table

EVIL = "l\x1b[31m[red]x\n[/nope]\x9b2J"
SHOWN = r"l\x1b[31m[red]x\n[/nope]\x9b2J"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (EVIL, SHOWN),
        ("\r\t\x00\x7f\x07", r"\r\t\x00\x7f\x07"),
        ("\u202eabc\u2028\u200b", r"\u202eabc\u2028\u200b"),
        ("bad\udcff name", r"bad\udcff name"),
        ("\U000e0001", r"\U000e0001"),
        ("层.0 \u3000é\xa0 [x] \\n", "层.0 \u3000é\xa0 [x] \\n"),
    ],
)
def test_text(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown


def test_cells_are_text():
    table = Table("a", "b", box=None, pad_edge=False)
    table.add_row(EVIL, Text(EVIL, style="green"))
    console = Console(width=200, force_terminal=True, color_system="standard")
    with console.capture() as captured:
        console.print(table)
    lines = captured.get().splitlines()
    assert len(lines) == 2
    assert re.sub(r"\x1b\[[0-9;]*m", "", lines[1]).split() == [SHOWN, SHOWN]
    assert "\x1b[32m" in lines[1]


NETS = f"torch:{HERE / 'torch_nets.py'}:evil_name"


@pytest.mark.parametrize("arguments", [("summary",), ("summary", "--markdown"), ("compare", NETS), ("lint",)])
def test_a_layers_name_reaches_no_terminal_raw(arguments, tmp_path):
    verb, *rest = arguments
    size = ("--input", "1,3,8,8") if verb != "lint" else ()
    done = run(verb, NETS, *rest, *size, *(("--all-layers",) if verb == "compare" else ()), "--json", tmp_path / "j")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    if verb != "lint":
        assert done.stdout.count(SHOWN.replace("|", "\\|")) >= 1
        assert json.dumps(EVIL)[1:-1] in (tmp_path / "j").read_text()  # data stays as it is


def test_a_verdict_quotes_no_name_raw():
    done = run("compare", NETS, f"{NETS}_too", "--weights", "own", "--input", "1,3,8,8")
    assert done.returncode == 1, done.stderr
    assert "\x1b" not in done.stdout
    assert f"culprit: {SHOWN}" in done.stdout


def test_an_error_quotes_no_name_raw(tmp_path):
    for verb, name in (("predict", "a\x1b[2J\nparity: fine"), ("compare", "trace:a\x1b[2J\nb"), ("compare", EVIL)):
        done = run(verb, name, "picture.png", cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("parity: ")
        assert "\x1b" not in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_file_name_that_is_no_text_is_an_error_in_words(tmp_path):
    command = [PROGRAM, "predict", b"\xff.onnx", "picture.png"]
    (tmp_path / "picture.png").touch()
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "parity: \\udcff.onnx: no such file\n")
