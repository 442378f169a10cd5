"""The child process of one framework: it reads jobs, one line of JSON each, and answers each with a line.

Any interpreter that has the framework, numpy and safetensors can run this script; the package itself need not be
installed there.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
    _ = sys.path.pop(0)  # this folder: its file names must not hide those of the standard library

import contextlib
import gc
import importlib.util
import json
import os
import queue
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class _Finder:
    """Finds our packages beside this file, and nothing else in that folder."""

    _ROOT = Path(__file__).resolve().parent.parent.parent

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in ("parity", "paddle_cnn", "torch_cnn"):
            return None
        folder = self._ROOT / name
        return importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )


def _lines() -> Iterator[bytes]:
    """Yield the lines with jobs as they arrive; end the process when its owner has ended, even during a job."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        with open(0, "rb", buffering=0, closefd=False) as stdin:  # unbuffered: holds no lock at exit
            for line in stdin:
                lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield lines.get()


def main() -> None:
    """Answer jobs until the owner has ended."""
    sys.meta_path.insert(0, _Finder())
    # What a framework prints, from C too, goes to the log; only answers go to the real output.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    _ = os.dup2(2, 1)
    name = sys.argv[1]
    gc.disable()  # an import makes a million objects that stay: to look for garbage among them takes a second in all
    try:
        from parity.errors import ParityError, UserCodeError, place, said
        from parity.json_codec import encode
        from parity.processes import jobs
        from parity.processes.session import Session

        def send(message: jobs.Message) -> None:
            _ = answers.write(json.dumps(encode(message, strict=False)) + "\n")

        def failed(reason: str, error: BaseException) -> None:
            with contextlib.suppress(OSError):  # a full disk must not keep the answer back
                traceback.print_exception(error)
            send(jobs.Failed(f"{reason}. --verbose shows the traceback"))

        session = Session(name, lambda *progress: send(jobs.Progress(progress)))
    except ImportError as error:
        reason = " ".join(str(error).split())
        line = f"{sys.executable} cannot import the {name} backend: {type(error).__name__}: {reason}"
        _ = answers.write(json.dumps({"error": line}) + "\n")
        return
    gc.freeze()
    gc.enable()
    for line in _lines():
        try:
            send(jobs.Done(session.do(jobs.from_line(line))))
        except MemoryError:
            send(jobs.Failed(f"{name} worker: out of memory; use a smaller batch or image"))
        except UserCodeError as error:
            failed(str(error), error.__cause__ or error)
        except ParityError as error:
            send(jobs.Failed(str(error)))
        except (Exception, SystemExit) as error:  # a user's code may end the process, too
            failed(f"{name} worker: {type(error).__name__}: {said(error)}{place(error)}", error)


if __name__ == "__main__":
    main()
