"""A worker that dies, hangs or talks is reported, not suffered; and none outlives its owner."""

import dataclasses
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from forked import started_workers
from program import HERE, PROGRAM, environment, run, script

from parity import ParityError, Trace
from parity.processes import jobs
from parity.processes.workers import Worker, answers, wait

PATIENCE = 60


@pytest.fixture(scope="module", autouse=True)
def _started():
    with started_workers():
        yield


def job(folder, spec):
    image = folder / "input.npy"
    np.save(image, np.ones((1, 3, 8, 8), np.float32))
    setup = jobs.Setup("net", jobs.Spec(spec), jobs.OwnWeights(), "cpu", 1)
    return jobs.Trace(setup, (image,), folder / "trace")


def misbehaving(folder, name):
    return job(folder, f"{HERE / 'misbehaving.py'}:{name}")


def answer(worker, work, timeout=PATIENCE):
    worker.submit(work)
    return wait([worker], timeout, lambda *_: None)


def refused(worker, work, timeout=PATIENCE):
    with pytest.raises(ParityError) as error:
        answer(worker, work, timeout)
    return str(error.value)


def children():
    return set(psutil.Process().children(recursive=True))


@pytest.mark.parametrize(
    ("name", "how", "words"),
    [
        ("segfaults", "was killed by SIGSEGV", "Segmentation fault"),
        ("is_killed", "was killed by SIGKILL: out of memory?", "(none)"),
        ("leaves", "ended with exit code 3", "had enough"),
    ],
)
def test_a_worker_that_dies_is_reported_with_its_last_words(tmp_path, name, how, words):
    with Worker("paddle", sys.executable, 1) as worker:
        line = refused(worker, misbehaving(tmp_path, name))
    assert line.startswith(f"paddle worker {how}. Its last words: ")
    assert words in line
    assert "\n" not in line


def test_a_worker_that_hangs_is_reported_and_ended(tmp_path):
    before = children()
    with Worker("paddle", sys.executable, 1) as worker:
        answer(worker, misbehaving(tmp_path, "talks"))
        line = refused(worker, misbehaving(tmp_path, "hangs"), timeout=1)
        (child,) = children() - before
    assert line.startswith("paddle worker: no answer within 1 s. Allow more with --timeout. Its last words: ")
    assert line.endswith("still here")
    assert not child.is_running()


@pytest.fixture(scope="module")
def paddle():
    with Worker("paddle", sys.executable, 1) as worker:
        yield worker


def test_running_out_of_memory_is_said_and_survived(paddle, tmp_path):
    line = refused(paddle, misbehaving(tmp_path, "Greedy"))
    assert line == "paddle worker: out of memory; use a smaller batch or image"
    assert "MemoryError" in refused(paddle, misbehaving(tmp_path, "runs_out_of_memory"))
    assert answer(paddle, misbehaving(tmp_path, "talks")) == [None]


def test_what_a_network_prints_is_no_answer(paddle, tmp_path):
    assert answer(paddle, misbehaving(tmp_path, "talks")) == [None]
    with Trace(tmp_path / "trace") as trace:
        assert [call.kind for call in trace.calls] == ["ReLU", "Sequential"]
    for said in ('{"done": {"planted": true}}', "not json", '{"error": "planted"}', '{"error": "planted from C"}'):
        assert said in paddle.log()


class Chatter(Worker):
    """Always has progress to report, and never an answer."""

    def __init__(self, python):
        super().__init__("paddle", python, 1)
        self.reports = 0

    def messages(self):
        self.reports += 1
        assert self.reports < 10_000_000, "nobody looked at the clock"
        return [jobs.Progress(("float64", 1, 1))]


def test_progress_for_ever_is_no_answer(tmp_path):
    with Chatter(script(tmp_path / "python", "echo; exec sleep 1000")) as worker:
        assert "paddle worker: no answer within 0.5 s" in refused(worker, jobs.Multiply(1), timeout=0.5)
        assert worker.reports


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, r"--paddle-python {path}: cannot start it: No such file or directory"),
        ("exit 0", r"paddle worker ended with exit code 0. Its last words: (none)"),
        ("echo no such environment >&2; exit 1", "exit code 1. Its last words: no such environment"),
        ("echo no such environment; exit 1", "exit code 1. Its last words: no such environment"),
        ("printf '{}\\n[]\\n7\\nno newline'; exit 1", "exit code 1. Its last words: [] | 7 | no newline"),
        ('cat "$2"', "exit code 0. Its last words: "),
        ("kill -SEGV $$", "was killed by SIGSEGV"),
    ],
)
def test_an_interpreter_that_is_none(tmp_path, text, words):
    path = tmp_path / "python" if text is None else script(tmp_path / "python", text)
    with pytest.raises(ParityError) as error, Worker("paddle", str(path), 1) as worker:
        answer(worker, misbehaving(tmp_path, "talks"))
    assert words.replace("{path}", str(path)) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """An interpreter with Paddle where this project is not installed, whose wrapper greets on stdout."""
    site = sysconfig.get_paths()["purelib"]
    text = f'echo welcome\nPYTHONSAFEPATH=1 PYTHONPATH={HERE}:{site} {sys.executable} -S "$@"\nexit $?'
    return script(tmp_path_factory.mktemp("foreign") / "python", text)


def test_the_foreign_interpreter_does_not_have_the_project(foreign):
    done = subprocess.run([foreign, "-c", "import numpy, parity"], cwd="/", capture_output=True, text=True, check=False)
    assert "No module named 'parity'" in done.stderr


def test_a_foreign_interpreter_needs_only_our_folder(foreign, tmp_path, monkeypatch):
    """Its own path stays as it is, its wrapper may talk, and what the wrapper started ends with the worker."""
    monkeypatch.chdir("/")
    before = children()
    with Worker("paddle", foreign, 1) as worker:
        assert answer(worker, job(tmp_path, "paddle_nets:net")) == [None]
        assert worker.log().startswith("welcome\n")
        processes = children() - before
        assert len(processes) == 2
    assert psutil.wait_procs(processes, PATIENCE)[1] == []
    with Trace(tmp_path / "trace") as trace:
        assert trace.manifest["framework"] == "paddle"


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_worker_outlives_its_owner(tmp_path, end):
    marker, trace = tmp_path / "hangs", tmp_path / "trace"
    trace.touch()  # opened when the workers have answered
    with subprocess.Popen(
        [PROGRAM, "compare", f"trace:{trace}", f"paddle:{HERE / 'misbehaving.py'}:hangs", "--input", "1,3,8,8"],
        env=environment(PARITY_TEST_MARKER=str(marker), TMPDIR=str(tmp_path)),
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job is given it ignored
    ) as owner:
        assert owner.stderr is not None
        while not marker.exists():
            assert owner.poll() is None
        workers = psutil.Process(owner.pid).children(recursive=True)
        assert len(workers) == 1
        os.kill(owner.pid, end)
        try:
            assert owner.wait(PATIENCE) == (130 if end == signal.SIGINT else -end)
        finally:
            owner.kill()
        words = owner.stderr.read().decode()
    assert psutil.wait_procs(workers, PATIENCE)[1] == []
    assert words == ("parity: interrupted\n" if end == signal.SIGINT else "")
    left = {path.name for path in tmp_path.iterdir()} - {"hangs", "trace"}
    assert bool(left) == (end == signal.SIGKILL)
    if left:  # the next run takes it away
        assert run("compare", f"trace:{trace}", f"trace:{trace}", TMPDIR=str(tmp_path)).returncode == 2
        assert sorted(path.name for path in tmp_path.iterdir()) == ["hangs", "trace"]


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    """What a worker wants to say when it dies is on the same disk."""
    words = "The disk of temporary files is full"
    for name in ("leaves", "raises_over_three_lines"):
        with Worker("paddle", sys.executable, 1) as worker:
            assert words not in refused(worker, misbehaving(tmp_path, name))
    monkeypatch.setattr(os, "fstatvfs", lambda handle: SimpleNamespace(f_bavail=2, f_frsize=4096))
    for name in ("leaves", "raises_over_three_lines"):
        with Worker("paddle", sys.executable, 1) as worker:
            line = refused(worker, misbehaving(tmp_path, name))
        assert line.endswith(f". {words} ({tempfile.gettempdir()}): set TMPDIR to one with more room.")


def test_a_worker_that_cannot_write_its_log_still_answers(tmp_path, monkeypatch):
    full = Path("/dev/full").open("r+b", buffering=0)  # noqa: SIM115  (the worker closes it)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: full)
    with Worker("paddle", sys.executable, 1) as worker:
        worker.submit(dataclasses.replace(misbehaving(tmp_path, "Greedy"), inputs=(tmp_path / "gone.npy",)))
        with pytest.raises(ParityError, match=r"paddle worker: FileNotFoundError: .*gone.npy"):
            wait([worker], PATIENCE)


def test_what_the_caller_does_between_two_answers_is_not_the_workers_time(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("parity.processes.workers.time", SimpleNamespace(monotonic=lambda: clock.now))
    with Worker("torch", sys.executable, 1) as one, Worker("torch", sys.executable, 1) as other:
        for worker in (one, other):
            worker.submit(jobs.Layers(jobs.Twin("lenet5")))
        came = []
        for worker, found in answers([one, other], PATIENCE):
            assert len(found) > 5
            came.append(worker)
            clock.now += 2 * PATIENCE
    assert set(came) == {one, other}
