"""Workers forked from one process that has imported the frameworks: the seconds of an import are spent once.

What is tested of a worker's own start, environment and end needs `started_workers`.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from multiprocessing import util
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from parity.processes import worker, workers

_CONTEXT = multiprocessing.get_context("forkserver")
_TEMPORARY = tempfile.gettempdir()
_BACKENDS = [f"parity.backends.{name}_backend" for name in ("torch", "paddle", "onnx")]
_CONTEXT.set_forkserver_preload(["parity.processes.session", *_BACKENDS, "torchvision", "onnxscript"])


def _work(backend, folder, environment, *pipes):
    for ours, pipe in enumerate(pipes):
        os.dup2(pipe.fileno(), ours)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # found anew, as TMPDIR says
    sys.path.remove(str(Path(__file__).parent))  # pytest's: a user's module is not found there
    sys.argv = ["worker.py", backend]
    worker.main()


class _Forked:
    """What a `Worker` uses of `subprocess.Popen`."""

    def __init__(self, backend, log, environment):
        (their_in, ours_in), (ours_out, their_out) = os.pipe(), os.pipe()
        self.stdin, self.stdout = os.fdopen(ours_in, "wb", 0), os.fdopen(ours_out, "rb", 0)
        theirs = [Connection(their_in, writable=False), Connection(their_out, readable=False), Connection(os.dup(log))]
        self._process = _CONTEXT.Process(target=_work, args=(backend, Path.cwd(), environment, *theirs), daemon=True)
        # Of the process that they are forked from: it outlives the test that starts it.
        with mock.patch.dict(os.environ, {**workers._environment(1), "TMPDIR": _TEMPORARY}):
            self._process.start()
        for pipe in theirs:
            pipe.close()

    def kill(self):
        self._process.kill()

    def wait(self):
        self._process.join()
        return self._process.exitcode


def _popen(command, stderr, env, **settings):
    if command[0] == sys.executable:
        return _Forked(command[-1], stderr.fileno(), env)
    return subprocess.Popen(command, stderr=stderr, env=env, **settings)


def forked_workers():
    """Return a context in which workers of this interpreter are forked."""
    _ = util.get_temp_dir()  # of the server's socket; likewise
    return mock.patch.object(workers, "subprocess", SimpleNamespace(Popen=_popen, PIPE=subprocess.PIPE))


def started_workers():
    """Return a context in which workers are started as users have them."""
    return mock.patch.object(workers, "subprocess", subprocess)
