"""Conditions on a layer's neutral settings; the tables of traps and of exporter faults select layers with them.

Each is a function of the settings. It returns the setting that matches, as text ("" where there is nothing to show),
or None for a layer that does not match.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Config = Mapping[str, Any]
Condition = Callable[[Config], str | None]

_ABSENT = object()


def always(config: Config) -> str:
    """Match every layer."""
    del config
    return ""


def equals(word: str, *values: Any) -> Condition:
    """Match where a setting is one of these values; an absent setting does not match."""

    def match(config: Config) -> str | None:
        setting = config.get(word, _ABSENT)
        return f"{word}={setting}" if any(setting is value or setting == value for value in values) else None

    return match


def where(word: str, holds: Callable[[Any], bool]) -> Condition:
    """Match where a setting is present and `holds` of its value is true."""
    return lambda config: f"{word}={config[word]}" if word in config and holds(config[word]) else None


def same_padding(word: str) -> Condition:
    """Match where padding is 'same' and another setting, one number for each axis, is above 1 along any axis."""

    def match(config: Config) -> str | None:
        same = str(config["padding"]).lower() == "same"
        return f"padding='same', {word}={config[word]}" if same and max(config[word]) > 1 else None

    return match
