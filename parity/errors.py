"""The one error that the project raises for what its user can fix, and how it reports errors of a user's code."""

from __future__ import annotations

import sys
import traceback

# Packages that call a user's code, or are called by it: an error is located in the user's own code.
_NOT_THE_USERS = {"parity", "torch", "paddle", "numpy"} | sys.stdlib_module_names


class ParityError(Exception):
    """An error that a user can fix: one line that states where, what on each side, and what next."""


def in_layer(layer: str, error: Exception) -> ParityError:
    """Return the error to raise, `from` the original, in place of one raised by a layer's own code.

    Args:
        layer: Dotted path, or the network's class.
        error: As caught around the layer's `forward`.

    Returns:
        One line: the layer, the error's class and message, file and line of the user's innermost code if there is any.
    """
    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in _NOT_THE_USERS
    ]
    where = f" ({frames[-1][0]}:{frames[-1][1]})" if frames else ""
    message = " ".join(str(error).split())[:400] or "no message"
    if isinstance(error, RecursionError):
        message += f"; the limit is {sys.getrecursionlimit()} calls, sys.setrecursionlimit raises it"
    short = layer if len(layer) <= 100 else f"{layer[:60]}...{layer[-30:]}"
    return ParityError(f"{short}: {type(error).__name__}: {message}{where}")
