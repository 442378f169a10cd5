"""The installed program, run as a user runs it."""

import os
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


def script(path, text):
    """Write a shell script that can stand for an interpreter, and return its path."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def listing(folder):
    """Return the paths of all that a folder holds, relative to it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
