"""The one error that the project raises for what its user can fix, and how it reports errors of a user's code."""

from __future__ import annotations

import re
import sys
import sysconfig
import traceback
from pathlib import Path

# Packages that call a user's code, or are called by it: an error is located in the user's own code.
_NOT_THE_USERS = {"parity", "torch", "paddle", "numpy"}
_OURS = f"{Path(__file__).parent}/"  # a worker's main file has another module's name
_STANDARD = tuple(f"{sysconfig.get_path(each)}/" for each in ("stdlib", "platstdlib"))
_INSTALLED = ("/site-packages/", "/dist-packages/")
_NOTEBOOK = ("<ipython-input", "<stdin>")  # what a user typed; any other "<...>" is code that was generated


class ParityError(Exception):
    """An error that a user can fix: one line that states where, what on each side, and what next."""


class UserCodeError(ParityError):
    """An error that a user's own code raised: its `__cause__` has the traceback."""


def in_layer(layer: str, error: BaseException) -> UserCodeError:
    """Return the error to raise, `from` the original, in place of one raised by a layer's own code.

    Args:
        layer: Dotted path, or the network's class.
        error: As caught around the network's call.

    Returns:
        One line: the layer, the error's class and message, file and line of the user's innermost code if there is any.
    """
    message = said(error)
    if isinstance(error, RecursionError):
        message += f"; the limit is {sys.getrecursionlimit()} calls, sys.setrecursionlimit raises it"
    short = layer if len(layer) <= 100 else f"{layer[:60]}...{layer[-30:]}"
    return UserCodeError(f"{short}: {type(error).__name__}: {message}{place(error)}")


def place(error: BaseException) -> str:
    """Return " (FILE:LINE)" of the user's innermost code in an error's traceback; "" if there is none.

    It is neither a framework's, nor ours, nor Python's; an installed package's only where no other is there.
    """
    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in _NOT_THE_USERS
        and not _generated(frame.f_code.co_filename)
    ]
    own = [frame for frame in frames if not any(folder in frame[0] for folder in _INSTALLED)]
    where = (own or frames)[-1:]
    return "".join(f" ({file}:{line})" for file, line in where)


def _generated(file: str) -> bool:
    """Return whether no user has written the file: ours, Python's own, or code that was made while running."""
    if file.startswith(_OURS):
        return True
    if any(folder in file for folder in _INSTALLED):
        return False
    return file.startswith(_STANDARD) or (file.startswith("<") and not file.startswith(_NOTEBOOK))


def said(error: BaseException) -> str:
    """Return an error's message on one line, without the stack of C++ that a framework prints around it."""
    message = str(error).strip()
    message = re.split(r"Error Message Summary:\s*-*\s", message)[-1]  # Paddle: a box around each part
    message = re.split(r"\n(?:Exception raised from |frame #0: |C\+\+ Traceback|C\+\+ CapturedTraceback)", message)[0]
    message = re.split(r"\s*\[Hint: Expected ", message)[0]  # the condition in C++ that failed
    message = re.sub(r"\s*\(at /\S+:\d+\)|\s*\[operator < \S+ > error\]", "", message)  # places in Paddle's C++
    return " ".join(message.split())[:400] or "no message"
