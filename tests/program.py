"""The program: run in this process, or started as a user starts it."""

import contextlib
import os
import pty
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

from parity.commands.program import main

HERE = Path(__file__).parent
PROGRAM = str(Path(sys.executable).with_name("parity"))
TORCH, PADDLE = f"torch:{HERE / 'torch_nets.py'}", f"paddle:{HERE / 'paddle_nets.py'}"
SMALL = ("--input", "2,3,8,8")  # for the networks of those files
_COLOUR = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS")


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if name not in _COLOUR}
    return {**kept, "TERM": "xterm-256color", **more}


def run(*arguments, cwd=None, **more):
    """Run `parity ARGUMENTS` in this process, and return what it did; keywords are environment variables."""
    with (
        mock.patch.dict(os.environ, environment(**more), clear=True),
        mock.patch.object(tempfile, "tempdir", None),  # found anew: TMPDIR may be another
        mock.patch.object(sys, "argv", ["parity", *map(str, arguments)]),
        _in_folder(cwd or "."),
        _captured("stdout") as out,
        _captured("stderr") as err,
    ):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    return subprocess.CompletedProcess(arguments, code, out[0], err[0])


@contextlib.contextmanager
def _in_folder(folder):
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _captured(name):
    """Capture one of our streams, with what is written from C; the text is in the list when the block has ended."""
    text, number = [], {"stdout": 1, "stderr": 2}[name]
    with tempfile.TemporaryFile() as file, os.fdopen(os.dup(file.fileno()), "w", encoding="utf-8") as stream:
        kept = os.dup(number)
        os.dup2(file.fileno(), number)
        try:
            with mock.patch.object(sys, name, stream):
                yield text
        finally:
            stream.flush()
            os.dup2(kept, number)
            os.close(kept)
            file.seek(0)
            text.append(file.read().decode())


def start(*arguments, cwd=None, **more):
    """Run `parity ARGUMENTS` in a process of its own, as a user does, and return what it did."""
    command = [PROGRAM, *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment(**more), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def terminal(*arguments, streams=("stdout", "stderr"), cwd=None, **more):
    """Run with a terminal at some of the streams; return the exit code, what it showed, and what went past it."""
    ours, theirs = pty.openpty()
    ends = {name: theirs if name in streams else subprocess.PIPE for name in ("stdout", "stderr")}
    command = [PROGRAM, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=cwd, env=environment(**more), **ends) as process:
        os.close(theirs)
        shown = b""
        while piece := _read(ours):
            shown += piece
        rest = [stream.read() for stream in (process.stdout, process.stderr) if stream]
    os.close(ours)
    return process.returncode, shown.decode().replace("\r\n", "\n"), b"".join(rest).decode()


def _read(handle):
    try:
        return os.read(handle, 1 << 16)
    except OSError:  # Linux says so when the other end has been closed
        return b""


def script(path, text):
    """Write a shell script that can stand for an interpreter, and return its path."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def listing(folder):
    """Return the paths of all that a folder holds, relative to it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
