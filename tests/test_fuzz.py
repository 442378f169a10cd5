"""A few hundred mutants for every reader, each run the same; `make fuzz` gives them a hundred thousand."""

import contextlib
import dataclasses
import io
import json
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import psutil
import pytest
import torch
from fuzz import structures
from fuzz.harness import FAULTS, fuzz, mutant
from fuzz.mutations import DAMAGES, edit_json
from fuzz.readers import ParityError, Reader, readers
from fuzz.run import table

MUTANTS = 300
RUN = Path(__file__).parent / "fuzz" / "run.py"


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    return readers(tmp_path_factory.mktemp("seeds"))


# The harness can fail


def indexes(path):
    return [][len(path.read_bytes())]


def leaves(_):
    raise SystemExit(0)


def hangs(_):
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))  # as deaf as a library's loop
    while True:
        pass


def crashes(_):
    os.kill(os.getpid(), signal.SIGSEGV)


def exits(_):
    os._exit(0)


def runs_code(path):
    pickle.loads(path.read_bytes())


def runs_code_and_dies(path):
    runs_code(path)
    crashes(path)


def runs_code_and_hangs(path):
    runs_code(path)
    hangs(path)


def fills_memory(_):
    bytearray(1 << 31)


def refuses(_):
    raise ParityError("a file: no good")


def reader(*steps, hostile=()):
    return Reader("planted", ".bin", [b"right"], (), steps, 1, hostile)


@pytest.mark.parametrize(
    ("steps", "outcome", "words"),
    [
        ([indexes], "other exception", "IndexError: list index out of range (test_fuzz.py:"),
        ([leaves], "other exception", "SystemExit: 0 (test_fuzz.py:"),
        ([fills_memory], "other exception", "MemoryError:  (test_fuzz.py:"),
        ([refuses, indexes], "other exception", "IndexError"),
        ([hangs], "hang", "over 0.3 s"),
        ([crashes], "crash", "SIGSEGV"),
        ([exits], "crash", "exit code 0"),
    ],
)
def test_a_reader_that_fails_is_told(steps, outcome, words):
    count = fuzz(reader(*steps), 3, seconds=0.3 if hangs in steps else 60)
    assert (count.mutants, count.outcomes, count.faults) == (3, {outcome: 3}, 3)
    ((told, numbers),) = count.told.items()
    assert told.startswith(f"{outcome}: {words}")
    assert numbers == [0, 1, 2]


@pytest.mark.parametrize("program", structures.payloads())
def test_code_that_is_run_is_told(monkeypatch, program):
    monkeypatch.setattr("fuzz.harness.mutant", lambda *_: program)
    for step in (runs_code, runs_code_and_dies):
        count = fuzz(reader(step), 2)
        assert (count.outcomes, count.told) == ({"code run": 2}, {"code run: canary": [0, 1]})


def test_code_that_hangs_is_told_once(monkeypatch):
    """What it left is not the next mutant's."""
    programs = [structures.payloads()[3], pickle.dumps(1)]
    monkeypatch.setattr("fuzz.harness.mutant", lambda reader, seed, number: programs[number])
    count = fuzz(reader(lambda path: runs_code_and_hangs(path) if len(path.read_bytes()) > 20 else None), 2, seconds=2)
    assert (count.outcomes, count.told) == ({"code run": 1, "clean": 1}, {"code run: canary": [0]})


def test_every_hostile_file_runs_code_where_a_reader_lets_it(monkeypatch, known):
    """Else nothing would be shown by a count of 0."""

    def careless(path):
        content = path.read_bytes()
        if content.startswith(b"\x93NUMPY"):
            return pickle.loads(content[10 + int.from_bytes(content[8:10], "little") :])
        return (
            torch.load(path, weights_only=False)
            if b"\x8a\nl\xfc\x9c" in content or content[:2] == b"PK"
            else runs_code(path)
        )

    hostile = [(each.name, program) for each in known for program in each.hostile]
    assert len(hostile) > 20
    for name, program in hostile:
        monkeypatch.setattr("fuzz.harness.mutant", lambda *_, program=program: program)
        assert fuzz(reader(careless), 1).outcomes == {"code run": 1}, name


def test_planted_instructions_run_code_too():
    """Damage of a right pickle: Python's own reader runs what is planted in it."""
    pickles = Reader("pickles", ".pkl", [pickle.dumps({"a": 1.5})], (structures.instructions,), (runs_code,), 1)
    assert fuzz(pickles, 200).outcomes["code run"] > 10


def test_a_reader_that_refuses_or_reads_is_no_fault():
    count = fuzz(reader(lambda path: refuses(path) if len(path.read_bytes()) % 2 else None), 50)
    assert count.outcomes.keys() == {"clean", "ParityError"}
    assert (count.faults, count.told) == (0, {})


def test_a_crash_costs_one_mutant_and_no_other():
    def fatal(content):
        return zlib.crc32(content) % 5 == 0

    count = fuzz(reader(lambda path: crashes(path) if fatal(path.read_bytes()) else refuses(path)), 40)
    crashed = [number for number in range(40) if fatal(mutant(reader(), 0, number))]
    assert len(crashed) > 3
    assert count.told == {"crash: SIGSEGV": crashed}
    assert count.outcomes == {"crash": len(crashed), "ParityError": 40 - len(crashed)}


def test_if_the_parent_is_killed_nothing_is_left():
    forking = multiprocessing.get_context("fork")
    told, sending = forking.Pipe(duplex=False)

    def tells_and_hangs(path):
        sending.send(os.getpid())
        hangs(path)

    parent = forking.Process(target=fuzz, args=(reader(tells_and_hangs), 1))
    parent.start()
    child = psutil.Process(told.recv())
    parent.kill()
    parent.join()
    with contextlib.suppress(psutil.NoSuchProcess):
        child.wait(60)


def test_the_table_has_a_row_for_each_reader_and_a_sum():
    counts = [("a", fuzz(reader(refuses), 3)), ("b", fuzz(reader(indexes), 2))]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table(counts).splitlines()]
    assert [row[:8] for row in rows if not row[0].startswith("-")] == [
        ["reader", "mutants", "clean", "ParityError", *FAULTS],
        ["a", "3", "0", "3", "0", "0", "0", "0"],
        ["b", "2", "0", "0", "2", "0", "0", "0"],
        ["all", "5", "0", "3", "2", "0", "0", "0"],
    ]


def test_the_program_prints_the_table_and_ends_well():
    done = subprocess.run(
        [sys.executable, RUN, "--reader", "bmp", "--mutants", "20"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "| bmp " in done.stdout


def test_the_program_ends_with_1_where_there_is_a_fault(monkeypatch, capsys, tmp_path):
    from fuzz import run

    monkeypatch.setattr(run, "readers", lambda _: [reader(refuses), dataclasses.replace(reader(indexes), name="bad")])
    monkeypatch.setattr(sys, "argv", ["run.py", "--mutants", "4", "--keep", str(tmp_path)])
    assert run.main() == 1
    assert "bad: other exception: IndexError" in capsys.readouterr().out
    assert (tmp_path / "bad-0.bin").read_bytes() == mutant(dataclasses.replace(reader(), name="bad"), 0, 0)


# The mutants


def test_mutants_are_the_same_each_time_and_differ(known):
    for each in known:
        made = [mutant(each, 0, number) for number in range(30)]
        assert made == [mutant(each, 0, number) for number in range(30)]
        assert len(set(made)) > 15
        assert made != [mutant(each, 1, number) for number in range(30)]


def test_every_damage_changes_a_file():
    rng, data = random.Random(0), bytes(range(256))
    for change in DAMAGES:
        assert sum(change(data, rng, [data[::-1]]) != data for _ in range(50)) > 40, change.__name__
        for short in (b"", b"x"):
            change(short, rng, [b""])


def test_edits_of_json_change_one_place_and_not_the_original():
    rng, document = random.Random(0), {"a": [1, 2.5, {"b": "c"}], "d": None}
    before = json.dumps(document)
    made = [json.dumps(edit_json(document, rng)) for _ in range(100)]
    assert json.dumps(document) == before
    assert len(set(made)) > 50
    assert isinstance(json.dumps([edit_json(empty, rng) for empty in ([], {})]), str)


def test_an_edited_archive_has_right_sums(known):
    data, rng = known[0].seeds[0], random.Random(0)
    for _ in range(50):
        with zipfile.ZipFile(io.BytesIO(structures.archive(data, rng, [data]))) as archive:
            assert archive.testzip() is None


# The readers


def test_right_files_are_read(tmp_path, known):
    """Else every mutant would be refused for what its seed has."""
    for each in known:
        for data in each.seeds:
            path = tmp_path / f"right{each.ending}"
            path.write_bytes(data)
            for step in each.steps:
                step(path)


def test_no_mutant_is_worse_than_a_parity_error(known):
    total = sum(each.share for each in known)
    for each in known:
        count = fuzz(each, -(-MUTANTS * each.share // total))
        assert count.told == {}, each.name
        assert count.outcomes["ParityError"], each.name
