"""How `parity compare` looks: in a terminal, in a narrow one, in a pipe."""

import re

import pytest
from program import PADDLE, SMALL, run, terminal

ESCAPE = "\x1b"
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-9]|9[0-7])(?:;\d+)*m")


def test_quiet_prints_one_line(traces):
    done = run("compare", *traces, "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert ": rounding: 6 layers are the same function" in done.stdout


def test_what_is_piped_has_no_escape_codes_and_is_not_cut(zoo, own):
    report = zoo[1].stdout + own[1].stdout
    assert ESCAPE not in report
    assert "…" not in report


def test_a_terminal_has_colour_and_the_whole_table(traces, own):
    code, shown, _ = terminal("compare", *traces, streams=("stdout",), COLUMNS="200")
    assert code == 0
    assert COLOUR.search(shown)
    assert "…" not in shown
    table = [line.rstrip() for line in own[1].stdout.splitlines()[:-1]]
    assert [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()[:-1]] == table


@pytest.mark.parametrize(("columns", "left_out"), [(200, set()), (72, {"kind"}), (60, {"kind", "output"})])
def test_a_narrow_terminal_shows_fewer_columns_and_whole_rows(traces, columns, left_out):
    code, shown, _ = terminal("compare", *traces, streams=("stdout",), COLUMNS=str(columns), NO_COLOR="1")
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in shown.splitlines()][:-1]
    heading, *rows = [line for line in lines if not line.startswith("note: ")]  # which may be longer: they are text
    assert code == 0
    assert max(map(len, (heading, *rows))) <= columns
    everything = ["stage", "kind", "output", "float64", "allowed", "torch", "paddle", "bound", "verdict"]
    assert heading.split() == [word for word in everything if word not in left_out]
    assert all(row.rstrip().endswith(("rounding", "exact")) for row in rows)


def test_no_color_is_honoured_on_a_terminal(traces):
    code, shown, _ = terminal("compare", *traces, streams=("stdout",), NO_COLOR="1")
    assert code == 0
    assert "rounding" in shown
    assert not COLOUR.search(shown)


def test_progress_is_shown_on_stderr_and_the_report_on_stdout(recorded):
    code, shown, report = terminal("compare", recorded[0], f"{PADDLE}:net", *SMALL, streams=("stderr",))
    assert code == 0
    assert "net: paddle float" in shown
    assert "exact: 6 layers" not in shown
    assert ESCAPE not in report
    assert report.splitlines()[-1].startswith("net: exact: 6 layers")
