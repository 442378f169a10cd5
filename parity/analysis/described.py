"""Describe a network to the lint: its layers, and the functions that it calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.functions import is_function
from parity.tracing.backend import Backend
from parity.tracing.sketch import sketch


def described(backend: Backend, network: Any, shape: Sequence[int] = ()) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the dotted name, neutral kind and configuration of each layer.

    Nothing is run, unless `shape` is given: then an input of that shape, and the calls of functions follow the layers.

    Raises:
        ParityError: If the network cannot take the input.
    """
    layers = [(name, *backend.describe(layer)) for name, layer in backend.layers(network)]
    if shape:
        calls = sketch(backend, network, [np.zeros(tuple(shape), np.float32)]).calls
        layers += [(call.layer, call.kind, dict(call.config)) for call in calls if is_function(call.layer)]
    return layers
