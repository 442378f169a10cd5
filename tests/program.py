"""The installed program, run as a user runs it."""

import os
import pty
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PROGRAM = str(Path(sys.executable).with_name("parity"))
TORCH, PADDLE = f"torch:{HERE / 'torch_nets.py'}", f"paddle:{HERE / 'paddle_nets.py'}"
SMALL = ("--input", "2,3,8,8")  # for the networks of those files
_COLOUR = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS")


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if name not in _COLOUR}
    return {**kept, "TERM": "xterm-256color", **more}


def run(*arguments, cwd=None, **more):
    """Run `parity ARGUMENTS` and return what it did; keywords are environment variables."""
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
