"""Make text from elsewhere safe for a terminal: names of layers and files, messages of libraries."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    r"""Return text on one line, without anything that moves the cursor or changes a colour.

    Control characters, line ends, marks of writing direction, and bytes of file names that are not text become Python
    escapes, \x1b or \n. Letters, signs and spaces of any language stay.
    """
    return "".join(
        each
        if each.isprintable() or unicodedata.category(each) == "Zs"
        else each.encode("unicode_escape", "surrogatepass").decode()
        for each in text
    )
