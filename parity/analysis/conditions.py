"""Conditions on a layer's neutral settings, by which the tables of traps and of exporter faults pick their layers.

Each is a function of the settings that returns the one that gives the layer away, as text ("" where there is nothing
to show), or None for a layer it is not about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Config = Mapping[str, Any]
Condition = Callable[[Config], str | None]

_ABSENT = object()


def always(config: Config) -> str:
    """Hold for every layer."""
    del config
    return ""


def equals(word: str, *values: Any) -> Condition:
    """Hold where a setting is one of these values; one that is absent is none of them."""

    def seen(config: Config) -> str | None:
        found = config.get(word, _ABSENT)
        return f"{word}={found}" if any(found is value or found == value for value in values) else None

    return seen


def where(word: str, holds: Callable[[Any], bool]) -> Condition:
    """Hold where a setting is there and `holds` says so of its value."""
    return lambda config: f"{word}={config[word]}" if word in config and holds(config[word]) else None


def same_padding(word: str) -> Condition:
    """Hold where padding is 'same' and another setting, of a number for each axis, is above 1 along any."""

    def seen(config: Config) -> str | None:
        same = str(config["padding"]).lower() == "same"
        return f"padding='same', {word}={config[word]}" if same and max(config[word]) > 1 else None

    return seen
