"""`compare` for live objects: the networks of a notebook or a test, in this process."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from parity.backends.load import load_backend
from parity.errors import ParityError
from parity.judging.comparison import Comparison
from parity.judging.explain import with_culprits
from parity.judging.judge import judge
from parity.numerics.arrays import Array
from parity.temporary import temporary_folder
from parity.tracing.backend import Backend
from parity.tracing.record import record
from parity.tracing.replay import replay
from parity.tracing.trace import Trace


def backend_of(network: Any) -> Backend:
    """Return the backend of a live network.

    Raises:
        ParityError: If it is neither a torch.nn.Module nor a paddle.nn.Layer.
    """
    for name, kind in (("torch", "Module"), ("paddle", "Layer")):
        framework = sys.modules.get(name)  # imported, if the caller has a network of it
        if framework is not None and isinstance(network, getattr(framework.nn, kind)):
            return load_backend(name)
    raise ParityError(f"{type(network).__name__} is neither a torch.nn.Module nor a paddle.nn.Layer.")


def compare(
    reference: Any,
    candidate: Any,
    inputs: Array | Sequence[Array],
    *,
    transfer: bool = True,
    gradients: bool = False,
    values_only: bool = False,
) -> Comparison:
    """Return whether two live networks compute the same function, layer by layer.

    Mode, dtype, hooks, gradients and weights of both are unchanged afterwards, except that with `transfer` the
    candidate keeps the reference's weights. A network in training mode is compared in evaluation mode; a single layer
    left in training mode within a network in evaluation mode is compared, and reported, as it is.

    Args:
        reference: A torch.nn.Module or paddle.nn.Layer held to be right.
        candidate: Another, of either kind.
        inputs: A numpy array, or one for each positional argument; floating ones are cast to each run's precision.
        transfer: Copy the reference's weights into the candidate first; False takes both as they are.
        gradients: Also compare gradients by layer outputs and parameters.
        values_only: Let layers pass whose settings differ as long as their output on this input does not.

    Raises:
        ParityError: If the inputs are no arrays, the weights do not fit, or a network cannot take the inputs.

    Example:
        >>> from torch import nn
        >>> right = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
        >>> wrong = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=1.1e-5)).eval()
        >>> result = compare(right, wrong, np.random.default_rng(0).random((1, 3, 8, 8)))
        >>> result.ok, result.verdict
        (False, 'different')
        >>> result.first_divergence.layer, [culprit.layer for culprit in result.culprits]
        ('1', ['1'])
    """
    arrays = [
        _array(array, f"inputs[{i}]" if array is not inputs else "inputs")
        for i, array in enumerate(inputs if isinstance(inputs, (list, tuple)) else [inputs])
    ]
    reference_backend, candidate_backend = backend_of(reference), backend_of(candidate)
    told = list[str]()
    if transfer:
        given = reference_backend.get_state(reference)
        told = [f"weights: {note}" for note in candidate_backend.set_state(candidate, given, type(candidate).__name__)]
    with temporary_folder() as folder:
        record(reference_backend, reference, arrays, folder / "reference", gradients=gradients)
        record(candidate_backend, candidate, arrays, folder / "candidate", gradients=gradients)
        with Trace(folder / "reference") as expected, Trace(folder / "candidate") as actual:
            comparison = judge(type(reference).__name__, expected, actual, values_only=values_only)
            if not comparison.ok:
                states = reference_backend.get_state(reference), candidate_backend.get_state(candidate)
                replayed = replay(candidate_backend, candidate, expected)
                comparison = with_culprits(comparison, expected, actual, replayed, states)
            return replace(comparison, notes=(*comparison.notes, *told))


def _array(value: Any, what: str) -> Array:
    try:
        array = np.asarray(value)
    except Exception as error:  # a framework's own, of a tensor on a GPU or one that requires gradients
        raise ParityError(f"{what}: no numpy array can be made of this {type(value).__name__}: {error}") from error
    if array.dtype.kind not in "fiub":
        raise ParityError(
            f"{what}: a {type(value).__name__} (dtype {array.dtype}) is no array of real numbers. "
            "Give a numpy array, or a list of one for each positional argument."
        )
    return array
