"""Strict JSON, as every `--json` writes it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parity.atomic import atomic


def to_text(data: Any) -> str:
    """Return data as strict JSON; infinity and NaN, which JSON does not have, are the strings "inf", "-inf", "nan"."""
    return json.dumps(_strict(data), indent=1, allow_nan=False)


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


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    return [_strict(item) for item in value] if isinstance(value, (list, tuple)) else value
