"""`compare` for live objects: the networks of a notebook or a test, in this process."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parity.backends.given import explained, taken, unregistered
from parity.backends.load import load_backend
from parity.backends.origin import origin
from parity.errors import ParityError
from parity.judging.comparison import Comparison
from parity.judging.explain import with_culprits
from parity.judging.judge import judge
from parity.judging.structure import check_map, paired_owners
from parity.repro.folder import check_repro, with_repro
from parity.runs.inputs import from_objects
from parity.runs.reasons import with_notes, with_order, with_overwriting
from parity.temporary import temporary_folder
from parity.tracing.backend import Backend
from parity.tracing.inputs import Inputs
from parity.tracing.overwriting import overwriting
from parity.tracing.record import record
from parity.tracing.replay import replay
from parity.tracing.sketch import quick_sketch
from parity.tracing.trace import Trace
from parity.tracing.training import Mode
from parity.weights.carried import carried, fits


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
    inputs: Any,
    *,
    transfer: bool = True,
    gradients: bool = False,
    mode: Mode = "eval",
    values_only: bool = False,
    layers: Mapping[str, str] | None = None,
    repro: str | Path | None = None,
) -> Comparison:
    """Return whether two live networks compute the same function, layer by layer.

    Mode, dtype, hooks, gradients and weights of both are unchanged afterwards, except that with `transfer` the
    candidate keeps the reference's weights. A network in training mode is compared in evaluation mode; a single layer
    left in training mode within a network in evaluation mode is compared, and reported, as it is. With `mode` "train"
    it is the other way round.

    Args:
        reference: A torch.nn.Module or paddle.nn.Layer held to be right, or a callable that returns one. DataParallel,
            DistributedDataParallel, AveragedModel, torch.compile and to_static are taken off, which is noted.
        candidate: Another, of either kind.
        inputs: An array or tensor (N, C, H, W), or its shape, (1, 3, 224, 224), for fixed pseudo-random numbers, or a
            picture's or .npy file's path; a list of them for several positional arguments; a dict for keyword
            arguments, or for one argument that is a dict if `forward` takes no such names. Lists, dicts, numbers and
            None may be nested in it. Floating arrays are cast to each run's precision.
        transfer: Copy the reference's weights into the candidate first; False takes both as they are.
        gradients: Also compare gradients by every call's outputs, parameters and the inputs.
        mode: "eval", or "train": BatchNorm by the batch, its updated statistics, and dropout by the same masks.
        values_only: Let layers pass whose settings differ as long as their output on this input does not.
        repro: A folder, for the input, weights, expected output and a script that shows the first culprit's difference
            with the candidate's framework alone; a new or empty one, or one of an earlier comparison.
        layers: The candidate's layer of a layer of the reference, by name, where the two are of other names and the
            structure does not show it.

    Raises:
        ParityError: If the inputs are none of these, the weights do not fit, or a network cannot take the inputs.

    Example:
        >>> import numpy as np
        >>> from torch import nn
        >>> right = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
        >>> wrong = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=1.1e-5)).eval()
        >>> result = compare(right, wrong, np.random.default_rng(0).random((1, 3, 8, 8)))
        >>> result.ok, result.verdict
        (False, 'different')
        >>> result.first_divergence.layer, [culprit.layer for culprit in result.culprits]
        ('1', ['1'])
    """
    if mode not in ("eval", "train"):
        raise ParityError(f"mode {mode!r}: 'eval' or 'train'")
    if repro is not None:
        check_repro(Path(repro))
    given = from_objects(inputs)
    with contextlib.ExitStack() as stack:
        sides = [stack.enter_context(taken(network)) for network in (reference, candidate)]
        networks = [side.network for side in sides]
        backends = [backend_of(network) for network in networks]
        told = list[str]()
        if transfer:
            with explained(networks[0]), explained(networks[1]):
                told, layers = _transferred(backends, networks, given, layers)
        folder = stack.enter_context(temporary_folder())
        traces = list[Trace]()
        for side, backend, role, notes in zip(sides, backends, ("reference", "candidate"), ([], told), strict=True):
            manifest = {**side.manifest, **({"weights_notes": notes} if notes else {})}
            with explained(side.network):
                record(backend, side.network, given, folder / role, manifest=manifest, gradients=gradients, mode=mode)
            traces.append(stack.enter_context(Trace(folder / role)))
        expected, actual = traces
        comparison = judge(type(networks[0]).__name__, expected, actual, values_only=values_only, layers=layers)
        if comparison.ok:
            return with_notes(comparison)
        states = backends[0].get_state(networks[0]), backends[1].get_state(networks[1])
        replayed = replay(backends[1], networks[1], expected, comparison.partners, mode)
        explanation = with_order(with_culprits(comparison, expected, actual, replayed, states), expected, actual)
        tried = lambda i, limit: overwriting(backends[i], networks[i], given, traces[1 - i], limit, mode)
        comparison = with_notes(with_overwriting(explanation, tried))
        if repro is None:
            return comparison
        find = lambda layer, path: origin(backends[1], networks[1], layer, path, None)
        return with_repro(comparison, expected, actual, find, Path(repro))


def _transferred(
    backends: Sequence[Backend], networks: Sequence[Any], inputs: Inputs, layers: Mapping[str, str] | None
) -> tuple[list[str], Mapping[str, str] | None]:
    """Copy the reference's weights into the candidate, by name, else by structure; return notes and pairs of layers."""
    state = backends[0].get_state(networks[0])
    name, slots = type(networks[1]).__name__, backends[1].slots(networks[1])
    try:
        if layers is None:
            return backends[1].set_state(networks[1], state, name), None
    except ParityError:
        if any(map(unregistered, networks)):  # no structure can show what the framework does not see
            raise
    original, port = (
        quick_sketch(backend, network, inputs) for backend, network in zip(backends, networks, strict=True)
    )
    check_map(layers or {}, original.calls, port.calls)
    owners = paired_owners(original, port, layers or {})
    shapes = {key: array.shape for key, array in state.items()}, {key: slot.shape for key, slot in slots.items()}
    if not owners or (state.keys() == slots.keys() and not fits(*shapes, owners)):
        return backends[1].set_state(networks[1], state, name), layers  # raises what is to be said of names and shapes
    weights, notes = carried(state, backends[0].slots(networks[0]), backends[1].get_state(networks[1]), slots, owners)
    return notes + backends[1].set_state(networks[1], weights, name), owners
