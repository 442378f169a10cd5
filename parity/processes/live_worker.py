"""A worker that is no process: it does jobs in this one, on a live network."""

from __future__ import annotations

import copy
import os
from types import TracebackType
from typing import Any

from parity.errors import ParityError, said
from parity.processes import jobs
from parity.processes.pool import Options, Workers
from parity.processes.session import Session
from parity.processes.workers import Worker
from parity.weights.state import State


class LiveWorkers(Workers):
    """The only worker of a session is for a live network.

    It works on a copy on the CPU: an exporter changes what it exports.
    """

    def __init__(self, backend: str, network: Any, options: Options):
        super().__init__(options)
        self._workers[backend, 0] = self._stack.enter_context(_LiveWorker(backend, network))


class _LiveSession(Session):
    def __init__(self, name: str, network: Any):
        super().__init__(name, lambda step, done, total: None)
        try:
            self._live = self.backend.place(copy.deepcopy(network), "cpu")
        except Exception as error:  # of the network's own code
            raise ParityError(
                f"{type(network).__name__}: cannot be copied: {type(error).__name__}: {said(error)}"
            ) from error

    def _ready(self, setup: jobs.Setup) -> tuple[State, list[str]]:
        self.network = self._live
        return self.backend.get_state(self.network), []


class _LiveWorker(Worker):
    def __init__(self, backend: str, network: Any):
        self.backend = backend
        self._session = _LiveSession(backend, network)
        self._answers: list[jobs.Message] = []
        self._reading, self._writing = os.pipe()  # a byte for each answer, which a selector can wait for

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._reading)
        os.close(self._writing)

    def submit(self, job: jobs.Job[Any]) -> None:
        try:
            answer: jobs.Message = jobs.Done(self._session.do(job))
        except ParityError as error:
            answer = jobs.Failed(str(error))
        except Exception as error:  # as in a worker's process
            answer = jobs.Failed(f"{type(error).__name__}: {said(error)}")
        self._answers.append(answer)
        _ = os.write(self._writing, b"\n")

    def messages(self) -> list[jobs.Message]:
        _ = os.read(self._reading, 1)
        return [self._answers.pop(0)]

    def fileno(self) -> int:
        return self._reading

    def log(self) -> str:
        return ""

    def full_disk(self) -> str:
        return ""
