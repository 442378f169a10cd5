"""The one error the project raises for what its user can mend, and what becomes of another's."""

from __future__ import annotations

import sys
import traceback

# What runs a user's code, or is run by it: a mistake is looked for where the user wrote.
_NOT_THE_USERS = {"parity", "torch", "paddle", "numpy"} | sys.stdlib_module_names


class ParityError(Exception):
    """What a user can mend: one line that says where, what on each side, and what next."""


def in_layer(layer: str, error: Exception) -> ParityError:
    """Return what to raise in place of an error that a layer's own code has met; raise it `from` that.

    Args:
        layer: Dotted path, or the network's class.
        error: As caught around the layer's `forward`.

    Returns:
        One line: the layer, the error's kind and words, file and line of the user's innermost code if there is any.
    """
    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in _NOT_THE_USERS
    ]
    where = f" ({frames[-1][0]}:{frames[-1][1]})" if frames else ""
    words = " ".join(str(error).split())[:400] or "no message"
    if isinstance(error, RecursionError):
        words += f"; the limit is {sys.getrecursionlimit()} calls, sys.setrecursionlimit raises it"
    short = layer if len(layer) <= 100 else f"{layer[:60]}...{layer[-30:]}"
    return ParityError(f"{short}: {type(error).__name__}: {words}{where}")
