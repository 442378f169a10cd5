"""Strict JSON, as every `--json` writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from parity.atomic import atomic
from parity.json_codec import encode


def to_text(data: Any) -> str:
    """Return data as strict JSON; infinity and NaN, which JSON does not have, are the strings "inf", "-inf", "nan"."""
    return json.dumps(encode(data), indent=1, allow_nan=False)


def write_json(path: Path, data: Any) -> None:
    """Write data as strict JSON; the file is complete or not written.

    Raises:
        ParityError: If the file cannot be written.
    """
    write_text(path, to_text(data))


def write_text(path: Path, text: str) -> None:
    """Write a text and a newline; the file is complete or not written.

    Raises:
        ParityError: If the file cannot be written.
    """
    with atomic(path) as part:
        _ = part.write_text(f"{text}\n", encoding="utf-8")
