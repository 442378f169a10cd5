"""The folder of a reproduction: the first culprit's input, weights, expected output and script."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from parity.backends.origin import Origin
from parity.errors import ParityError
from parity.functions import is_function
from parity.judging.comparison import PASSES, SAME_OUTPUT, Comparison, Layer
from parity.layers import KINDS
from parity.repro import script
from parity.repro.calls import function_code, layer_code
from parity.temporary import temporary_folder
from parity.tracing.trace import Call, Trace

SCRIPT = "repro.py"
_FILES = re.compile(r"repro\.py|weights\.npz|(?:input|expected)\d+\.npy")
_ROUNDOFF = 2.0**-24
# A trace is recorded with exact operators, docs/contract.md; a script has the frameworks' own float64 kernels, which
# hold settings as float32, and some more. These are allowed for, as far as the difference that was found is larger.
_SETTINGS, _INEXACT = 1e-7, 1e-5
_INEXACT_KINDS = ("Hardsigmoid", "SELU", "Upsample", "UpsamplingBilinear2d")
# Writes the weights of a layer of the candidate to a file and says where the layer comes from; None without a network.
FindOrigin = Callable[[str, Path], Origin] | None


class _NoneError(Exception):
    """Nothing can be written, for this reason."""


def check_repro(folder: Path) -> None:
    """Fail before the work is done if a folder is not to be replaced.

    Raises:
        ParityError: If it exists, and is neither empty nor one that `write` wrote.
    """
    if not folder.exists():
        if not folder.absolute().parent.is_dir():
            raise ParityError(f"--repro {folder}: no folder {folder.absolute().parent}")
        return
    if not folder.is_dir() or folder.is_symlink():
        raise ParityError(f"--repro {folder}: it is not a folder")
    others = sorted(path.name for path in folder.iterdir() if not _FILES.fullmatch(path.name) or not path.is_file())
    started = folder / SCRIPT
    if others or (any(folder.iterdir()) and not (started.is_file() and _is_ours(started))):
        held = f", {others[0]} for one" if others else ""
        raise ParityError(f"--repro {folder}: holds files that --repro did not write{held}; name a new folder")


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(script.MARK)) == script.MARK.encode()


def with_repro(
    comparison: Comparison, reference: Trace, candidate: Trace, find: FindOrigin, folder: Path
) -> Comparison:
    """Write the reproduction of the first culprit, and return the comparison with a note that says so, or why not.

    Args:
        comparison: With its culprits; a pass is returned as it is, and nothing is written.
        reference: The traces that it judged.
        candidate: Likewise.
        find: Asks where a layer of the candidate comes from; None for a recorded trace, which has no weights.
        folder: A new one, an empty one, or one that this function wrote.

    Raises:
        ParityError: If the folder holds something else, or cannot be written.
    """
    if comparison.ok:
        return comparison
    try:
        note = f"{folder / SCRIPT} shows it with {_write(comparison, reference, candidate, find, folder)} alone"
    except _NoneError as reason:
        note = f"--repro: nothing written: {reason}"
    return dataclasses.replace(comparison, notes=(*comparison.notes, note))


def _write(comparison: Comparison, reference: Trace, candidate: Trace, find: FindOrigin, folder: Path) -> str:
    """Write the folder and return the framework's name."""
    check_repro(folder)
    framework = str(comparison.candidate.get("framework"))
    if framework not in ("torch", "paddle"):
        raise _NoneError("the candidate is no network of torch or Paddle; give such a network second")
    layer, said = _first(comparison)
    expected, call = _calls(layer, reference, candidate)
    try:
        with temporary_folder(folder.absolute().parent) as parent:
            made = parent / "made"
            made.mkdir()
            code = _script(_facts(comparison, layer, said, expected, call), call, find, made)
            for word, names in (("input", expected.inputs), ("expected", expected.outputs)):
                for i, name in enumerate(names):
                    np.save(made / f"{word}{i}.npy", reference.tensor(name))
            _ = (made / SCRIPT).write_text(code, encoding="utf-8")
            if folder.exists():
                _ = folder.rename(parent / "old")
            _ = made.rename(folder)
    except OSError as error:
        raise ParityError(f"--repro {folder}: cannot write: {error.strerror or error}") from error
    return framework


def _first(comparison: Comparison) -> tuple[Layer, str]:
    """Return the row of the first culprit whose output differs, and what is said of it."""
    for culprit in comparison.culprits:
        rows = [row for row in comparison.layers if row.layer == culprit.layer and row.verdict not in PASSES]
        rows = [row for row in rows if not row.reason.endswith(SAME_OUTPUT)]
        if rows:
            row = next((row for row in rows if row.inputs_agree), rows[0])
            return row, f"{comparison.network}: {culprit.layer or 'the network'}: {culprit.explanation}"
    raise _NoneError("no culprit has an output that differs")


def _calls(layer: Layer, reference: Trace, candidate: Trace) -> tuple[Call, Call]:
    """Return the two calls that a row judges."""
    expected = next((call for call in reference.calls if call.key == (layer.layer, layer.call)), None)
    call = next((call for call in candidate.calls if call.key == (layer.partner, layer.partner_call)), None)
    if expected is None or call is None:
        raise _NoneError(f"{layer.layer or 'the network'} has no partner in the candidate")
    if len(expected.inputs) != len(call.inputs) or not expected.inputs:
        raise _NoneError(f"{layer.layer}: takes {len(expected.inputs)} tensors, its partner {len(call.inputs)}")
    if not call.replayable and not is_function(call.layer):
        raise _NoneError(f"{call.layer or 'the network'} is called with more than tensors")
    return expected, call


def _facts(comparison: Comparison, layer: Layer, said: str, expected: Call, call: Call) -> script.Facts:
    precise = layer.verdict != "precision"
    floor = min(_INEXACT if call.kind in _INEXACT_KINDS or call.kind not in KINDS else _SETTINGS, layer.distance / 10)
    limit = max(layer.allowance, floor) if precise else layer.bound * _ROUNDOFF
    return script.Facts(
        framework=str(comparison.candidate["framework"]),
        device=str(comparison.candidate.get("device", "cpu")),
        version=str(comparison.candidate.get("version", "")),
        said=said,
        dtype="float64" if precise else "float32",
        training=call.config.get("training") is True,
        inputs=len(expected.inputs),
        outputs=len(expected.outputs),
        limit=float(limit) if math.isfinite(limit) else 0.0,
    )


def _script(facts: script.Facts, call: Call, find: FindOrigin, folder: Path) -> str:
    """Return the script of a call, and write its layer's weights to the folder."""
    if is_function(call.layer):
        code = function_code(facts.framework, call.layer, call.config, facts.inputs)
        if not code:
            raise _NoneError(f"{call.layer}: a trace does not hold all that this function is given")
        return script.of_function(facts, code)
    if find is None:
        raise _NoneError("the candidate is a recorded trace, which holds no weights; give its network")
    path = folder / "weights.npz"
    origin = find(call.layer, path)
    sizes = 0
    if origin.weights:
        with np.load(path, allow_pickle=False) as weights:
            sizes = math.prod(weights[origin.weights[0]].shape)
    else:
        path.unlink()
    code = ""
    if not origin.own:
        code = layer_code(facts.framework, origin.name, call.kind, call.config, origin.weights, sizes)
    if code:
        return script.of_layer(facts, code, bool(origin.weights))
    return script.of_network(facts, call.layer, origin) if origin.network else script.of_class(facts, origin)
