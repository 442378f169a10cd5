"""Progress: on a terminal's stderr only, from the first moment to the last, and with what it is about."""

import io
import re
import signal
import subprocess
import time

import pytest
from program import PROGRAM, environment, run
from rich.console import Console

import parity.commands.terminal as module
from parity.commands.terminal import ProgressBars, duration


def shown(text):
    """Return the different lines that a terminal has shown, without escape codes, bars and times."""
    plain = re.sub(r"\x1b\[[\d;?]*[A-Zhl]", "\n", re.sub(r"\x1b\[[\d;]*m", "", text))
    lines = (re.sub(r"\d+:\d\d:\d\d|[━╸╺]| +", " ", line) for line in re.split(r"[\r\n]+", plain))
    return list(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()))


@pytest.fixture
def screen(monkeypatch):
    """A terminal that keeps what it shows; `screen()` returns the lines."""
    text = io.StringIO()
    monkeypatch.setattr(module, "Console", lambda **_: Console(force_terminal=True, width=100, file=text))
    return lambda: shown(text.getvalue())


@pytest.mark.core
def test_the_first_line_is_there_before_any_step_and_quiet_shows_none(screen):
    with ProgressBars("net", quiet=False):
        pass
    assert screen()[0] == "net: starting"
    before = screen()
    with ProgressBars("net", quiet=True) as progress:
        progress.update("torch", "runs", 1, 2)
    assert screen() == before


@pytest.mark.core
def test_the_sweep_says_which_network_of_how_many_and_the_time_left(screen, monkeypatch):
    clock = iter([0.0, 60.0, 120.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with ProgressBars("zoo", quiet=False) as progress:
        names = []
        for name in progress.each(["a", "b", "c"], [10.0, 10.0, 40.0]):
            progress.update("torch", "float64", 3, 4)
            progress._bars.refresh()
            names.append(name)
    assert names == ["a", "b", "c"]
    lines = screen()
    for line in ("a (1 of 3): torch float64 3/4", "b (2 of 3, about 5 min left): torch float64 3/4"):
        assert line in lines
    assert "c (3 of 3, about 4 min left): torch float64 3/4" in lines


@pytest.mark.core
def test_a_time_is_said_as_a_person_says_it():
    assert [duration(each) for each in (0, 89, 90, 700, 5399, 5400, 9000)] == [
        "0 s", "89 s", "2 min", "12 min", "90 min", "2 h", "2 h",
    ]  # fmt: skip


def test_export_and_comparison_show_their_steps_and_finish(screen, tmp_path):
    done = run("export", "lenet5", "--from", "torch", "-o", tmp_path)
    lines = screen()
    assert done.returncode == 0
    assert lines[0] == "lenet5: starting"
    assert any(line.startswith("lenet5: torch exports") for line in lines)
    assert any(line.startswith("lenet5: torch proves the file") for line in lines)
    assert "lenet5: weights: random, seed 0" in done.stdout
    assert run("compare", "lenet5").returncode == 0
    finished = [line for line in screen()[len(lines) :] if line.startswith("lenet5: ") and "float32" in line][-1]
    done, total = re.findall(r"(\d+)/(\d+)", finished)[-1]
    assert done == total


def test_a_benchmark_that_is_ended_ends_what_it_runs_and_leaves_nothing(tmp_path):
    words = [PROGRAM, "bench", "export", "lenet5"]
    with subprocess.Popen(words, env=environment(TMPDIR=str(tmp_path)), stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 60
        while not (children := _children(process.pid)) and time.monotonic() < until:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
    assert process.returncode == -signal.SIGTERM
    assert children
    assert not [each for each in children if _alive(each)]
    assert list(tmp_path.iterdir()) == []


def _children(pid):
    import psutil

    return [each.pid for each in psutil.Process(pid).children(recursive=True)]


def _alive(pid):
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
