"""ONNX Runtime with strict checks: one-line errors, and never a CPU's result under a GPU's name.

Needs only onnxruntime and numpy: `parity predict` runs without a framework.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parity.errors import ParityError
from parity.numerics.arrays import Array

_LEVELS = {"disable": "DISABLE_ALL", "basic": "ENABLE_BASIC", "extended": "ENABLE_EXTENDED", "all": "ENABLE_ALL"}
LEVELS = tuple(_LEVELS)
_PROVIDERS = {
    "cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider",
}  # fmt: skip
_DTYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16, "tensor(int64)": np.int64,
    "tensor(int32)": np.int32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(bool)": np.bool_,
}  # fmt: skip


def import_onnxruntime() -> Any:
    """Return the module.

    Raises:
        ParityError: If it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ParityError("onnxruntime is missing: pip install onnxruntime, or onnxruntime-gpu for a GPU") from error
    return onnxruntime


def settle(device: str) -> str:
    """Return "cpu", "cuda", "tensorrt" or "auto" for the user's choice; "auto" becomes "cpu" in a build without CUDA.

    Raises:
        ParityError: If this build of ONNX Runtime does not have the provider.
    """
    ort = import_onnxruntime()
    built = ort.get_available_providers()
    if device == "auto":
        return "auto" if _PROVIDERS["cuda"] in built else "cpu"
    device = "cuda" if device == "gpu" else device
    if _PROVIDERS[device] not in built:
        raise ParityError(
            f"--device {device}: onnxruntime {ort.__version__} is a build without {_PROVIDERS[device]}. "
            "Install onnxruntime-gpu in its place, or use --device cpu."
        )
    return device


def open_session(
    model: Path | bytes, name: str, device: str = "cpu", threads: int = 1, level: str = "all", **config: str
) -> Any:
    """Return an onnxruntime.InferenceSession.

    Args:
        model: The file, or a serialised model that holds all its data.
        name: The model's, for messages.
        device: As `settle` names it.
        threads: The number for one operator.
        level: How far ONNX Runtime rewrites the graph, one of LEVELS.
        config: Session configuration entries, dots as "__".

    Raises:
        ParityError: If there is no such file; if the runtime refuses it, with its reason; if another provider than the
            requested one would run: a fallback to the CPU never counts as a GPU's result.
    """
    ort = import_onnxruntime()
    if isinstance(model, Path) and not model.is_file():
        raise ParityError(f"{name}: no such file")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.__members__[f"ORT_{_LEVELS[level]}"]
    for key, value in config.items():
        options.add_session_config_entry(key.replace("__", "."), value)
    chosen = settle(device)
    providers: list[Any] = {
        "cpu": [],
        "tensorrt": [_PROVIDERS["tensorrt"], (_PROVIDERS["cuda"], {"use_tf32": "0"})],
    }.get(chosen, [(_PROVIDERS["cuda"], {"use_tf32": "0"})])
    try:
        # ONNX Runtime reports a fallback on stdout, which is for our own output.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            session = ort.InferenceSession(
                os.fspath(model) if isinstance(model, Path) else model, options, [*providers, _PROVIDERS["cpu"]]
            )
    except Exception as error:  # its errors have no common base class
        raise ParityError(f"{name}: ONNX Runtime {ort.__version__} refuses it: {reason(error)}") from error
    first = session.get_providers()[0]
    if chosen in ("cuda", "tensorrt") and first != _PROVIDERS[chosen]:
        raise ParityError(
            f"--device {device}: ONNX Runtime {ort.__version__} fell back to {first}: it finds no GPU, or not the "
            "driver and libraries it needs. Check nvidia-smi, or use --device cpu."
        )
    return session


def reason(error: Exception) -> str:
    """Return ONNX Runtime's message on one line, without its file names and signatures."""
    message = " ".join(str(error).split())
    message = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", message)
    node = r"^Non-zero status code returned while running (\w+) node\. Name:'([^']*)' Status Message: "
    message = re.sub(node, r"node '\2' (\1): ", message)
    message = re.sub(r"/onnxruntime_src/\S+ .*? was false\. ", "", message)
    message = re.sub(r"/onnxruntime_src/\S+ .*?\) (?=[A-Z])", "", message)
    message = re.sub(r"^Load model from .*? failed: ?", "", message)
    return message[:400] or type(error).__name__


def runs_on(session: Any) -> str:
    """Return "cpu", "cuda" or "tensorrt": the first provider of the session."""
    return next(name for name, provider in _PROVIDERS.items() if provider == session.get_providers()[0])


def feed(session: Any, inputs: Sequence[Array], name: str) -> dict[str, Array]:
    """Return the session's inputs by name, floating ones cast to the file's dtype.

    Raises:
        ParityError: If the number of inputs, or one's rank, size or kind of dtype, differs from the file's.
    """
    slots = session.get_inputs()
    if len(slots) != len(inputs):
        wanted = ", ".join(f"{slot.name} {'x'.join(map(str, slot.shape))}" for slot in slots)
        raise ParityError(f"{name}: takes {len(slots)} inputs ({wanted}), was given {len(inputs)}")
    fed = {}
    for slot, array in zip(slots, inputs, strict=True):
        dtype = dtype_of(slot.type)
        fixed = [length if isinstance(length, int) else None for length in slot.shape]
        shape = "x".join(str(length or "?") for length in fixed)
        if len(fixed) != array.ndim or any(a not in (None, b) for a, b in zip(fixed, array.shape, strict=True)):
            raise ParityError(f"{name}: input {slot.name!r} takes shape {shape}, was given {array.shape}")
        if np.dtype(dtype).kind != array.dtype.kind:
            raise ParityError(f"{name}: input {slot.name!r} takes {np.dtype(dtype)}, was given {array.dtype}")
        fed[slot.name] = np.ascontiguousarray(array, dtype)
    return fed


def dtype_of(kind: str) -> Any:
    """Return the numpy dtype of an ONNX Runtime type, "tensor(float)".

    Raises:
        ParityError: If numpy has none.
    """
    if kind not in _DTYPES:
        raise ParityError(f"an input of type {kind} cannot be given from numpy")
    return _DTYPES[kind]


def run(session: Any, fed: dict[str, Array], name: str) -> list[Array]:
    """Return the session's outputs.

    Raises:
        ParityError: If the runtime cannot run the file on this input.
    """
    try:
        return session.run(None, fed)
    except Exception as error:
        raise ParityError(f"{name}: ONNX Runtime cannot run it on this input: {reason(error)}") from error
