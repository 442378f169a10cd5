"""A comparison as HTML for a notebook: self-contained, every text escaped, for dark and light themes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from parity.printable import printable

# White text on these is readable, whatever the page's own colours are; all other text keeps the page's colour.
_COLOURS = {
    "exact": "#1a7f37",
    "rounding": "#1a7f37",
    "precision": "#9a6700",
    "different": "#cf222e",
    "invalid": "#8250df",
}
_CELL = "text-align:left;padding:1px 10px 1px 0;background:transparent;color:inherit"


def page(verdict: str, summary: str, reasons: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the verdict, the reasons and a table, one row a layer call; those that fail come first.

    Args:
        verdict: One of VERDICTS.
        summary: The verdict and its main reason, in one line.
        reasons: Further lines.
        rows: Cells by heading; "verdict" is one of them. Anything may be in them: they come from users' files.
    """
    failing = [row for row in rows if row["verdict"] not in ("exact", "rounding")]
    passing = [row for row in rows if row["verdict"] in ("exact", "rounding")]
    parts = [
        f"<p><strong>{_badge(verdict)} {_text(summary)}</strong></p>",
        "".join(f'<div style="white-space:pre-wrap">{_text(reason)}</div>' for reason in reasons),
        _table(failing),
    ]
    if passing:
        calls = f"{len(passing)} call{'s' if len(passing) > 1 else ''} that agree{'' if len(passing) > 1 else 's'}"
        parts.append(f"<details><summary>{calls}</summary>{_table(passing)}</details>")
    return f'<div style="color:inherit">{"".join(parts)}</div>'


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    heads = "".join(f'<th style="{_CELL}">{_text(word)}</th>' for word in rows[0])
    lines = "".join(f"<tr>{''.join(_cell(word, value) for word, value in row.items())}</tr>" for row in rows)
    table = f'<table style="border-collapse:collapse;color:inherit"><tr>{heads}</tr>{lines}</table>'
    return f'<div style="max-height:30em;overflow:auto">{table}</div>'


def _cell(word: str, value: Any) -> str:
    if word == "verdict":
        content = _badge(str(value))
    elif isinstance(value, float):
        content = f"{value:.2g}"
    else:
        content = _text("x".join(map(str, value)) if isinstance(value, tuple) else str(value))
    return f'<td style="{_CELL}">{content}</td>'


def _badge(verdict: str) -> str:
    colour = _COLOURS.get(verdict, "#57606a")  # another word is from a file
    style = f"background:{colour};color:#fff;padding:0 6px;border-radius:3px"
    return f'<span style="{style}">{_text(verdict)}</span>'


def _text(text: str) -> str:
    return escape(printable(text))
