"""Text of others made safe for a terminal: names of layers and files, messages of libraries."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    r"""Return text on one line that moves no cursor and changes no colour.

    Control characters, line ends, marks that turn the direction of writing, and bytes of file names that are no text
    become what Python writes for them, \x1b or \n; letters, signs and spaces of any language stay.
    """
    return "".join(
        each
        if each.isprintable() or unicodedata.category(each) == "Zs"
        else each.encode("unicode_escape", "surrogatepass").decode()
        for each in text
    )
