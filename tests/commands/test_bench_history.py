"""`parity bench history`: it tells what became worse by more than its spread, and refuses a damaged file."""

import json

import pytest
from program import run

pytestmark = pytest.mark.core


def append(folder, values, name="time_ratio", bench="verify", model="resnet50"):
    """Append runs of one ratio, one after another; return how the last one ended."""
    ends = []
    for value in values:
        row = {"model": model, "batch": 1, "rounds": 5, "seconds": {"floor": 1.0}, name: value}
        (folder / "run.json").write_text(json.dumps({"schema": 1, "bench": bench, "rows": [row]}))
        ends.append(run("bench", "history", folder / "history.jsonl", folder / "run.json"))
    return ends[-1]


@pytest.mark.parametrize(
    "name, earlier, told, untold",
    [
        ("time_ratio", (0.90, 0.94, 0.92), 0.97, 0.95),  # the median is 0.92, the spread 0.04
        ("memory_ratio", (1.3, 1.3, 1.3), 1.31, 1.3),
        ("speed_ratio", (0.70, 0.66, 0.62), 0.57, 0.59),  # more is better
        ("speed_ratio_proper", (0.70, 0.66, 0.62), 0.57, 0.90),
        ("time_ratio", (0.90, 0.94, 0.92), 2.0, 0.5),
    ],
)
def test_a_ratio_is_worse_beyond_its_spread_alone(tmp_path, name, earlier, told, untold):
    assert append(tmp_path, earlier, name).returncode == 0
    before = (tmp_path / "history.jsonl").read_bytes()
    done = append(tmp_path, [untold], name)
    assert (done.returncode, done.stderr) == (0, "")
    assert "worse:" not in done.stdout and "1 ratios appended" in done.stdout and "0 worse" in done.stdout
    (tmp_path / "history.jsonl").write_bytes(before)
    done = append(tmp_path, [told], name)
    assert done.returncode == 1
    assert done.stdout.startswith(f"worse: verify resnet50 batch=1: {name}: {told:.3g}; the median of 3 runs is ")
    assert (tmp_path / "history.jsonl").read_bytes().startswith(before)  # and is appended all the same
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 4


def test_two_earlier_runs_have_no_spread_yet(tmp_path):
    done = append(tmp_path, (0.9, 0.9, 2.0))
    assert done.returncode == 0
    assert done.stdout.endswith("1 ratios appended to " + str(tmp_path / "history.jsonl") + ", 0 worse; "
                                "1 have fewer than 3 earlier runs, and are not judged\n")  # fmt: skip


def test_only_the_last_ten_runs_count(tmp_path):
    assert append(tmp_path, [5.0, *[1.0] * 10, 1.1]).returncode == 1


def test_runs_of_another_verb_network_or_machine_do_not_count(tmp_path):
    _ = append(tmp_path, (0.9, 0.9, 0.9))
    assert append(tmp_path, [2.0], bench="export").returncode == 0
    assert append(tmp_path, [2.0], model="resnet18").returncode == 0
    file = tmp_path / "history.jsonl"
    mine = json.loads(file.read_text().splitlines()[0])["machine"]
    file.write_text(file.read_text().replace(mine, "another"))
    assert append(tmp_path, [2.0]).returncode == 0


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "",
        "[]",
        "3",
        '{"schema": 2, "machine": "m", "ratios": {}}',
        '{"schema": 1, "machine": "m", "ratios": {"a": NaN}}',
        '{"schema": 1, "machine": "m", "ratios": {"a": "1"}}',
        '{"schema": 1, "machine": "m", "ratios": [1]}',
        '{"schema": 1, "ratios": {}}',
        "\x00\x85",
        "[" * 100_000,
    ],
)
def test_a_damaged_line_is_one_clear_message_and_nothing_is_appended(tmp_path, line):
    _ = append(tmp_path, (0.9,))
    file = tmp_path / "history.jsonl"
    damaged = file.read_bytes() + line.encode("latin-1") + b"\n"
    file.write_bytes(damaged)
    done = append(tmp_path, [0.9])
    assert (done.returncode, done.stdout) == (2, "")
    words = f"parity: {file}: line 2 is damaged: no entry of `parity bench history`. Remove that line.\n"
    assert done.stderr == words
    assert file.read_bytes() == damaged


def test_a_line_that_was_cut_short_is_damaged_and_not_continued(tmp_path):
    _ = append(tmp_path, (0.9, 0.9))
    file = tmp_path / "history.jsonl"
    file.write_bytes(file.read_bytes()[:-1])
    assert append(tmp_path, [0.9]).stderr.startswith(f"parity: {file}: line 2 is damaged: ")


@pytest.mark.parametrize(
    "content, words",
    [
        (None, "cannot read: No such file or directory."),
        ("{", "not what a verb of `parity bench` writes with --json. Write it anew."),
        (
            '{"schema": 1, "rows": [{"time_ratio": 1.0}]}',
            "not what a verb of `parity bench` writes with --json. Write it anew.",
        ),
        ('{"bench": "verify", "rows": [{"time_ratio": "nan"}]}', "not what a verb of `parity bench` writes"),
        ('{"bench": "verdict", "rows": [{"kind": "eps", "pairs": 3}]}', "it has no ratios; "),
    ],
)
def test_a_run_that_is_none_is_refused_before_the_history_is_made(tmp_path, content, words):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    done = run("bench", "history", tmp_path / "history.jsonl", tmp_path / "run.json")
    assert done.returncode == 2
    assert done.stderr.startswith(f"parity: {tmp_path / 'run.json'}: {words}") and done.stderr.count("\n") == 1
    assert not (tmp_path / "history.jsonl").exists()


def test_a_history_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "run.json").write_text('{"bench": "verify", "rows": [{"model": "lenet5", "time_ratio": 1.0}]}')
    for file, words in ((tmp_path, "cannot read: Is a directory."), (tmp_path / "no" / "h.jsonl", "cannot write: No")):
        done = run("bench", "history", file, tmp_path / "run.json")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert done.stderr.startswith(f"parity: {file}: {words}")
