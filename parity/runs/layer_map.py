"""A map of layers as a YAML file: the candidate's layer of each layer of the reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from parity.errors import ParityError
from parity.functions import is_function


def read_map(path: Path) -> dict[str, str]:
    """Return the map in a file.

    Raises:
        ParityError: If it cannot be read, or is no mapping of names to names.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ParityError(f"{path}: {' '.join(str(error).split())}") from error
    pairs = content if isinstance(content, dict) else {None: None}
    layers = {str(layer): str(partner) for layer, partner in pairs.items()}
    if None in pairs or not all(isinstance(partner, (str, int)) for partner in pairs.values()):
        raise ParityError(f"{path}: lines of 'reference layer: candidate layer' are wanted; --print-map writes them")
    if len(set(layers.values())) < len(layers):
        raise ParityError(f"{path}: two layers of the reference have one partner")
    return layers


def written_map(partners: Mapping[str, str]) -> str:
    """Return a map as YAML, without functions and the networks themselves."""
    layers = {a: b for a, b in partners.items() if a and b and not is_function(a) and not is_function(b)}
    return yaml.safe_dump(layers, sort_keys=False, allow_unicode=True)
