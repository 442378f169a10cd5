"""Gives mutants to readers in forked processes, and counts how each ends."""

import contextlib
import ctypes
import faulthandler
import multiprocessing
import os
import random
import resource
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from fuzz.mutations import damage
from fuzz.readers import ParityError, Reader

FAULTS = ("other exception", "crash", "hang", "code run")  # none of these may be
OUTCOMES = ("clean", "ParityError", *FAULTS)
HEADROOM = 3 << 29  # bytes that a reader may take: 1.5 GB
_HOSTILE = 0.2  # of the mutants, where a format can hold code
_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
_BATCH = 2000  # mutants for one process


@dataclass
class Count:
    """How the mutants of one reader ended.

    Attributes:
        mutants: How many there were.
        outcomes: How many for each of OUTCOMES.
        told: For each fault, what happened and where: the numbers of the mutants.
        memory: Most that one process gained, in bytes.
        slowest: Seconds that the slowest mutant took.
    """

    mutants: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    told: dict[str, list[int]] = field(default_factory=dict)
    memory: int = 0
    slowest: float = 0.0

    @property
    def faults(self) -> int:
        """Return how many mutants ended as none may."""
        return sum(self.outcomes[each] for each in FAULTS)

    def add(self, number: int, outcome: str, words: str) -> None:
        """Count one mutant."""
        self.mutants += 1
        self.outcomes[outcome] += 1
        if outcome in FAULTS:
            self.told.setdefault(f"{outcome}: {words}", []).append(number)


def mutant(reader: Reader, seed: int, number: int) -> bytes:
    """Return the bytes of one mutant: the same for the same seed and number."""
    rng = random.Random(f"{seed} {reader.name} {number}")
    data = rng.choice(reader.hostile if reader.hostile and rng.random() < _HOSTILE else reader.seeds)
    fitting = [each for each in reader.structured if rng.random() < 0.7]
    for change in fitting[:1]:
        data = change(data, rng, reader.seeds)
    return damage(data, rng, reader.seeds) if not fitting or rng.random() < 0.1 else data


def fuzz(reader: Reader, mutants: int, seed: int = 0, seconds: float = 10) -> Count:
    """Return how mutants 0, 1, ... of a reader end.

    Args:
        reader: Gets each in a folder of its own, in a process that may hold 1.5 GB more than at its start.
        mutants: How many.
        seed: Of them all.
        seconds: After which one hangs.
    """
    count = Count()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        while count.mutants < mutants:
            numbers = range(count.mutants, min(mutants, count.mutants + _BATCH))
            for number, outcome, words, memory, took in _batch(reader, numbers, seed, seconds, Path(folder)):
                count.add(number, outcome, words)
                count.memory, count.slowest = max(count.memory, memory), max(count.slowest, took)
    return count


_Answer = tuple[int, str, str, int, float]


def _batch(reader: Reader, numbers: range, seed: int, seconds: float, folder: Path) -> Iterator[_Answer]:
    """Yield how mutants end; the one that ends its process is the last."""
    forking = multiprocessing.get_context("fork")
    answers, sending = forking.Pipe(duplex=False)
    child = forking.Process(target=_serve, args=(reader, numbers, seed, folder, sending))
    child.start()
    sending.close()
    try:
        for number in numbers:
            hung = not answers.poll(seconds)
            try:
                if not hung:
                    yield answers.recv()
                    continue
            except EOFError:
                child.join()
            yield number, *_end(child, seconds if hung else 0, folder, reader)
            return
    finally:
        child.kill()
        child.join()
        answers.close()


def _end(child: BaseProcess, hung: float, folder: Path, reader: Reader) -> tuple[str, str, int, float]:
    """Return how the mutant ended that its process did not survive, or that has hung for a time."""
    child.kill()
    child.join()
    if left := _left(folder, reader):
        return "code run", left, 0, hung
    code = child.exitcode or 0
    words = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return ("hang", f"over {hung:g} s", 0, hung) if hung else ("crash", words, 0, 0.0)


def _serve(reader: Reader, numbers: range, seed: int, folder: Path, sending: Connection) -> None:
    """Send how each mutant ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # if the parent is killed, nobody else ends what hangs
    faulthandler.disable()  # a crash is counted, not shown
    os.chdir(folder)
    with Path(os.devnull).open("r+b") as null:  # what libraries print
        for stream in (0, 1, 2):
            os.dup2(null.fileno(), stream)
    pages = Path("/proc/self/statm").read_text().split()
    base = int(pages[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (base + HEADROOM,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    held = int(pages[1]) * resource.getpagesize()
    path = folder / f"mutant{reader.ending}"
    for number in numbers:
        path.unlink(missing_ok=True)  # a new file: the old one may still be mapped
        path.write_bytes(mutant(reader, seed, number))
        start = time.monotonic()
        outcome, words = _outcome(reader, path)
        took = time.monotonic() - start
        if left := _left(folder, reader):
            outcome, words = "code run", left
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - held
        sending.send((number, outcome, words, max(0, memory), took))


def _outcome(reader: Reader, path: Path) -> tuple[str, str]:
    """Return how the steps end: the worst of them, and where."""
    refused = False
    for step in reader.steps:
        try:
            step(path)
        except ParityError:
            refused = True
        except BaseException as error:  # SystemExit too is none that a reader may raise
            where = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in where if Path(frame.filename).parent.name != "fuzz"] or where
            line = next((f for f in reversed(ours) if "site-packages" not in f.filename), ours[-1])
            words = ascii(" ".join(str(error).split()))[1:-1][:100]  # nothing that a terminal would obey
            return "other exception", f"{type(error).__name__}: {words} ({Path(line.filename).name}:{line.lineno})"
    return ("ParityError" if refused else "clean"), ""


def _left(folder: Path, reader: Reader) -> str:
    """Return what lies beside the mutant, which is its doing, and remove it."""
    others = [each for each in folder.iterdir() if each.name != f"mutant{reader.ending}"]
    for each in others:
        with contextlib.suppress(OSError):
            each.unlink()
    return ", ".join(each.name for each in others)
