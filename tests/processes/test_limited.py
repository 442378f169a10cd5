"""Work in a process of its own: whatever it does, there is an answer or an error, and no process is left."""

import os
import signal
import time

import psutil
import pytest

from parity import ParityError
from parity.limited import limited


def hangs():
    yield 1
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) - {signal.SIGKILL})  # as deaf as a library's loop
    time.sleep(1000)
    yield 2


def dies():
    yield 1
    os.kill(os.getpid(), signal.SIGKILL)


def refuses():
    yield 1
    raise ParityError("a file: no good")


def errs():
    yield 1
    raise KeyError("planted")


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (hangs, "what: no answer within 0.5 s. Allow more with --timeout."),
        (dies, "what: the process that worked on it was killed by SIGKILL: out of memory?"),
        (refuses, "a file: no good"),
        (errs, "what: the process that worked on it ended with exit code 1"),
    ],
)
def test_what_goes_wrong_is_told_and_ended(work, words):
    before, came = set(psutil.Process().children()), []
    with pytest.raises(ParityError) as error:
        came.extend(limited(work, 0.5 if work is hangs else 60, "what"))
    assert (str(error.value), came) == (words, [1])
    assert set(psutil.Process().children()) == before


def test_who_leaves_early_leaves_no_process():
    before = set(psutil.Process().children())
    coming = limited(hangs, 60, "what")
    assert next(coming) == 1
    assert set(psutil.Process().children()) != before
    coming.close()
    assert set(psutil.Process().children()) == before


def test_if_the_parent_is_killed_the_kernel_ends_the_work(monkeypatch):
    """The alarm is set, with the action that needs no Python, before the work starts and again after each answer."""

    def alarm():
        for _ in range(2):
            assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
            yield signal.getitimer(signal.ITIMER_REAL)[0]

    assert all(60 < left <= 65 for left in limited(alarm, 60, "what"))


def test_answers_come_in_order():
    assert list(limited(lambda: iter(range(1000)), 60, "what")) == list(range(1000))
