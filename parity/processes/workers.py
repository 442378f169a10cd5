"""Start the worker processes, give them jobs and read their answers: one process for each framework."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from parity.errors import ParityError
from parity.processes import jobs
from parity.processes.jobs import Answer, Job

_LAST_WORDS = 1 << 16  # bytes that a dying process may still write
OnProgress = Callable[["Worker", str, int, int], None]


class Worker:
    """One framework in its own process; use it in a `with` block, so that it never outlives its owner."""

    def __init__(self, backend: str, python: str, threads: int):
        """Start the process; it imports its framework while the caller continues.

        Args:
            backend: "torch", "paddle" or "onnx".
            python: The interpreter; it needs that framework, numpy and safetensors.
            threads: Number of threads that its operators may use.
        """
        self.backend = backend
        # "-u" and a log file: the last lines of a process that dies must not be lost in a buffer.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (it has no name, so nothing can remain of it)
        script = Path(__file__).with_name("worker.py")
        try:
            self._process = subprocess.Popen(
                [python, "-u", str(script), backend],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                bufsize=0,  # nothing to flush into a dead process's pipe
                env={**os.environ, **_environment(threads)},
            )
        except OSError as error:
            self._log.close()
            raise ParityError(f"--{backend}-python {python}: cannot start it: {error.strerror}") from error
        self._buffer = b""
        self._job: Job[Any] = Job()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        _ = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._log.close()

    def submit(self, job: Job[Any]) -> None:
        """Give the worker its next job; `wait` for the answer."""
        assert self._process.stdin is not None
        self._job = job
        with contextlib.suppress(BrokenPipeError):  # it is dead or did not start: `wait` reads the reason
            _ = self._process.stdin.write(jobs.to_line(job))

    def log(self) -> str:
        """Return what the process has printed."""
        length = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), length, 0).decode(errors="replace")  # pread moves no file position

    def fileno(self) -> int:
        """Return the file descriptor of its answers, for a selector."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def messages(self) -> list[jobs.Message]:
        """Return the messages that have arrived; an answer has the type that its job states.

        Raises:
            ParityError: If the process has died (how, and its last words), or an answer has another type.
        """
        content = os.read(self.fileno(), 1 << 16)
        if not content:
            _ = os.write(self._log.fileno(), self._buffer)
            raise ParityError(self._obituary(self._process.wait()))
        *lines, self._buffer = (self._buffer + content).split(b"\n")
        return [message for line in lines if (message := self._message(line))]

    def _message(self, line: bytes) -> jobs.Message | None:
        """Return a message; None for a line that a wrapper around the interpreter prints, which goes to the log."""
        try:
            message = jobs.message(line)
        except ValueError:
            _ = os.write(self._log.fileno(), line + b"\n")
            return None
        return jobs.Done(jobs.answer(self._job, message.done)) if isinstance(message, jobs.Done) else message

    def last_words(self) -> str:
        """Return the end of what the process has printed, on one line."""
        lines = [line.strip() for line in self.log().splitlines() if line.strip()]
        return f"Its last words: {' | '.join(lines[-3:])[-600:] or '(none)'}"

    def _obituary(self, code: int) -> str:
        if code < 0:
            name = signal.Signals(-code).name
            how = f"was killed by {name}" + (": out of memory?" if name == "SIGKILL" else "")
        else:
            how = f"ended with exit code {code}"
        return f"{self.backend} worker {how}. {self.last_words()}{self.full_disk()}"

    def full_disk(self) -> str:
        """Return the advice for a full disk of temporary files; "" if it has room."""
        disk = os.fstatvfs(self._log.fileno())
        if disk.f_bavail * disk.f_frsize >= _LAST_WORDS:
            return ""
        return f". The disk of temporary files is full ({tempfile.gettempdir()}): set TMPDIR to one with more room."


def _environment(threads: int) -> dict[str, str]:
    count = str(threads)
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        # Read once, when the CUDA libraries are loaded: float32 means float32.
        "NVIDIA_TF32_OVERRIDE": "0",
        # glibc returns large freed blocks to the system, and a run allocates and frees them layer by layer. Reused,
        # they need not be fetched and zeroed again (a quarter of the page faults, measured).
        "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
        "GLOG_minloglevel": "3",
        "PYTHONWARNINGS": "ignore",
    }


def wait(workers: list[Worker], timeout: float, on_progress: OnProgress | None = None) -> list[Any]:
    """Return each worker's answer to its job, in order.

    Raises:
        ParityError: As soon as one of them fails in its job or dies, or all together take longer than `timeout`
            seconds.
    """
    by_worker = dict(answers(workers, timeout, on_progress))
    return [by_worker[worker] for worker in workers]


def ask(worker: Worker, job: Job[Answer], timeout: float, on_progress: OnProgress | None = None) -> Answer:
    """Give one worker a job and return its answer.

    Raises:
        ParityError: As `wait` does.
    """
    worker.submit(job)
    (answer,) = wait([worker], timeout, on_progress)
    return answer


def answers(
    workers: list[Worker], timeout: float, on_progress: OnProgress | None = None
) -> Iterator[tuple[Worker, Any]]:
    """Yield each worker with its answer, as they arrive; the time the caller uses in between is not counted.

    Raises:
        ParityError: As `wait` does.
    """
    waiting = list(workers)
    deadline = time.monotonic() + timeout
    steps = dict[Worker, tuple[str, int, int]]()
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            _ = selector.register(worker, selectors.EVENT_READ)
        while waiting:
            remaining = deadline - time.monotonic()
            ready = selector.select(remaining) if remaining > 0 else []  # endless progress ends in time too
            if not ready:
                names = " and ".join(worker.backend for worker in waiting)
                raise ParityError(
                    f"{names} worker: no answer within {timeout:g} s. "
                    f"Allow more with --timeout. {waiting[0].last_words()}"
                )
            for key, _ in ready:
                worker: Worker = key.fileobj  # pyright: ignore[reportAssignmentType]
                for message in worker.messages():
                    if isinstance(message, jobs.Failed):
                        raise ParityError(f"{message.error}{worker.full_disk()}")
                    if isinstance(message, jobs.Done):
                        if on_progress is not None and worker in steps:  # the last layers have no step of their own
                            step, _, total = steps[worker]
                            on_progress(worker, step, total, total)
                        waiting.remove(worker)
                        _ = selector.unregister(worker)
                        paused = time.monotonic()
                        yield worker, message.done
                        deadline += time.monotonic() - paused
                    elif on_progress is not None:
                        steps[worker] = message.progress
                        on_progress(worker, *message.progress)
